#!/usr/bin/env python3
"""Checks the whole source tree in a second: layering, confinement, sizes, words, banned calls, traps.

    lint.py [--root FOLDER]

One line a finding, `path:line: [rule] message`; exit status 1 if there is any. A line, or the one above it, may carry
`lint: allow RULE, because ...` for the rules co_await, banned-call and leftover. lint_test.py plants a violation of each rule.
"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layering  # noqa: E402
import wording  # noqa: E402
from source import read_tree  # noqa: E402

RULES = layering.RULES + wording.RULES


def findings(tree):
    return sorted({str(finding): finding for rule in RULES for finding in rule(tree)}.values(),
                  key=lambda f: (f.path, f.line, f.rule, f.message))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
    tree = read_tree(parser.parse_args().root)
    if not any(file.is_code for file in tree):
        sys.exit("lint: no source files found")
    found = findings(tree)
    for finding in found:
        print(finding)
    print(f"lint: {len(tree)} files, {len(RULES)} rules, {len(found)} findings")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
