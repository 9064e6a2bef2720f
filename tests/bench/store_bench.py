#!/usr/bin/env python3
"""What a long history costs: exchanges/s of coordinator and database with 100,000 hosts and 1,000,000 finished
workunits against an empty database, in turns; then the restart.

  tests/bench/store_bench.py [--hosts N] [--workunits M] [--turns T] [--folder DIR]

Makes its folders with fill_store (some minutes) in a temporary folder, or once in --folder DIR. No network: the whole
server under load is the business of the load generator.
"""

import argparse
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

BENCH = harness.BIN.parent / "bench"
OUTSTANDING = ("1", "16", "256")
LIVE = 65536


def fill(folder, hosts, workunits):
    if not folder.exists():
        subprocess.run([str(BENCH / "fill_store"), str(folder), "--hosts", str(hosts), "--workunits", str(workunits),
                        "--live", str(LIVE)], check=True)
    return folder


def exchanges_per_second(folder, seconds):
    """{outstanding: exchanges/s}, and what was printed."""
    done = subprocess.run([str(BENCH / "store_bench"), str(folder), "--seconds", str(seconds), "--outstanding",
                           ",".join(OUTSTANDING)], check=True, capture_output=True, text=True)
    rates = {row.group(1): float(row.group(2))
             for row in re.finditer(r"^ *(\d+) +(\d+) +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$", done.stdout, re.M)}
    return rates, done.stdout


def measure(empty, full, turns, seconds):
    ratios = {outstanding: [] for outstanding in OUTSTANDING}
    for turn in range(turns):
        rates_empty, text_empty = exchanges_per_second(empty, seconds)
        rates_full, text_full = exchanges_per_second(full, seconds)
        if turn == 0:
            print(text_empty + text_full, end="", flush=True)
        for outstanding in OUTSTANDING:
            ratios[outstanding].append(rates_full[outstanding] / rates_empty[outstanding])
    for outstanding, values in ratios.items():
        print(f"full / empty, {outstanding} outstanding: {statistics.median(values):.2f} "
              f"({min(values):.2f} to {max(values):.2f} in {turns} turns)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=100_000)
    parser.add_argument("--workunits", type=int, default=1_000_000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--folder", type=pathlib.Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = options.folder or pathlib.Path(directory)
        place.mkdir(parents=True, exist_ok=True)
        empty = fill(place / "empty", 256, 0)
        full = fill(place / "full", options.hosts, options.workunits)
        measure(empty, full, options.turns, options.seconds)
        subprocess.run([sys.executable, str(pathlib.Path(__file__).with_name("restart_bench.py")), str(full)],
                       check=True)


if __name__ == "__main__":
    main()
