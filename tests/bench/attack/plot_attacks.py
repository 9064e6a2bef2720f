#!/usr/bin/env python3
"""Draws what attack_bench measured: one row an attack, three panels, as SVG. Standard library only.

    attack_bench --out default.json; attack_bench --defence none --out none.json
    plot_attacks.py --with default.json --without none.json --out attacks.svg
"""
import argparse
import html
import json
import math
import pathlib

ROW, TOP, LEFT, BOTTOM = 24, 84, 112, 46
PANEL, GAP, RIGHT = 250, 34, 20
INK, FAINT, GRID = "#1c2733", "#5b6875", "#dfe4e8"
WITH, WITHOUT, LIMIT = "#1f6fb2", "#e08a3c", "#b3261e"
# Points lost of the limit that the default has to keep.
MUST = 2.0
# Up to here the scale of points lost is linear, beyond it logarithmic.
LINEAR = 2.0


class Panel:
    def __init__(self, index, title, ticks, scale, limit=None):
        self.left = LEFT + index * (PANEL + GAP)
        self.title, self.ticks, self.scale, self.limit = title, ticks, scale, limit

    def x(self, value):
        return self.left + PANEL * min(1.0, max(0.0, self.scale(value)))


def bent(value):
    """-1 … 100 points to 0 … 1: linear around 0, logarithmic beyond LINEAR."""
    def bend(points):
        size = abs(points)
        bent_size = size / LINEAR if size <= LINEAR else 1 + math.log(size / LINEAR, 10) * 1.6
        return math.copysign(bent_size, points)
    low, high = bend(-1), bend(100)
    return (bend(value) - low) / (high - low)


def text(x, y, content, size=12, anchor="start", color=INK, weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{color}" '
            f'font-weight="{weight}">{html.escape(content)}</text>')


def line(x1, y1, x2, y2, color, width=1.0, dash=""):
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width}"{dashes}/>')


def mark(x, y, is_iid, color):
    """A disc for iid, a ring for non-iid, so that both can be seen on one spot."""
    fill = color if is_iid else "none"
    radius = 3.4 if is_iid else 5.2
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{color}" stroke-width="1.6"/>'


class Chart:
    def __init__(self, attacks, step_count):
        self.attacks = attacks
        self.height = TOP + ROW * len(attacks) + BOTTOM
        self.width = LEFT + 3 * PANEL + 2 * GAP + RIGHT
        self.step_count = step_count
        nice = max(1, step_count // 3)
        self.panels = [
            Panel(0, "Points of test accuracy lost", [-1, 0, 1, 2, 5, 10, 25, 75], bent, MUST),
            Panel(1, "Bad updates that got in, %", [0, 25, 50, 75, 100], lambda value: value / 100),
            Panel(2, "Steps until an attacker is out", [nice * i for i in range(4)], lambda value: value / step_count),
        ]
        self.parts = []

    def y(self, attack):
        return TOP + ROW * (self.attacks.index(attack) + 0.5)

    def frame(self):
        bottom = TOP + ROW * len(self.attacks)
        for index, attack in enumerate(self.attacks):
            if index % 2 == 0:
                self.parts.append(f'<rect x="0" y="{TOP + ROW * index}" width="{self.width}" height="{ROW}" fill="#f5f7f9"/>')
            self.parts.append(text(LEFT - 12, self.y(attack) + 4, attack.replace("_", " "), anchor="end"))
        for panel in self.panels:
            self.parts.append(text(panel.left, TOP - 12, panel.title, size=13, weight="bold"))
            for tick in panel.ticks:
                x = panel.x(tick)
                self.parts.append(line(x, TOP, x, bottom, GRID))
                self.parts.append(text(x, bottom + 16, f"{tick:g}", size=11, anchor="middle", color=FAINT))
            if panel.limit is not None:
                x = panel.x(panel.limit)
                self.parts.append(line(x, TOP, x, bottom, LIMIT, 1.4, "5 3"))
                self.parts.append(text(x, bottom + 32, "limit", size=11, anchor="middle", color=LIMIT))
        self.parts.append(text(self.panels[2].left + PANEL, bottom + 32, "right edge: never", size=11, anchor="end", color=FAINT))

    def legend(self):
        entries = [(WITH, True, "checks, iid"), (WITH, False, "checks, non-iid"),
                   (WITHOUT, True, "no checks, iid"), (WITHOUT, False, "no checks, non-iid")]
        for index, (color, is_iid, label) in enumerate(entries):
            x = LEFT + index * 190
            self.parts.append(mark(x + 6, 44, is_iid, color))
            self.parts.append(text(x + 18, 48, label))

    def line_of(self, row, color):
        is_iid, y = row["distribution"] == "iid", self.y(row["attack"])
        lost = self.panels[0]
        # To the worst seed.
        self.parts.append(line(lost.x(row["lost_points"]), y, lost.x(row["lost_points_worst"]), y, color, 1.2))
        self.parts.append(mark(lost.x(row["lost_points"]), y, is_iid, color))
        if color == WITHOUT:
            return
        if row["bad_share"] is not None:
            self.parts.append(mark(self.panels[1].x(100 * row["bad_share"]), y, is_iid, color))
        out = self.step_count if row["out_after"] is None else row["out_after"]
        self.parts.append(mark(self.panels[2].x(out), y, is_iid, color))

    def svg(self, heading):
        body = "\n".join([text(LEFT, 22, heading, size=15, weight="bold"), *self.parts])
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
                f'height="{self.height}" font-family="Helvetica, Arial, sans-serif">\n'
                f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>\n{body}\n</svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="checked", required=True, help="results under the default")
    parser.add_argument("--without", help="results under --defence none")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    checked = json.loads(pathlib.Path(options.checked).read_text())
    attacks = [row["attack"] for row in checked["lines"] if row["distribution"] == "iid" and row["attack"] != "none"]
    chart = Chart(attacks, max(run["steps_done"] for run in checked["runs"]))
    chart.frame()
    chart.legend()
    for path, color in ((options.without, WITHOUT), (options.checked, WITH)):
        if path is None:
            continue
        for row in json.loads(pathlib.Path(path).read_text())["lines"]:
            if row["attack"] in attacks:
                chart.line_of(row, color)
    hosts = checked["runs"][0]["hosts"]
    attackers = checked["lines"][1]["attacker_count"] // max(1, len({run["seed"] for run in checked["runs"]}))
    pathlib.Path(options.out).write_text(chart.svg(f"{attackers} of {len(hosts)} hosts attack a job of {chart.step_count} steps"))


if __name__ == "__main__":
    main()
