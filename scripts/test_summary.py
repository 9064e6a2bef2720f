#!/usr/bin/env python3
"""Counts the cases inside the test programs of one ctest run and prints "N passed, N failed" (", N skipped").

    test_summary.py REPORT.xml        what `ctest --output-junit` wrote

Exit status 1 if anything failed or nothing passed.
"""
import re
import sys
import xml.etree.ElementTree as xml


def count(output, program_passed):
    """(passed, failed, skipped) of one program's output; a program without known output is one case."""
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M))
    failed = len(re.findall(r"^\[  FAILED  \] \S+ \(\d+ ms\)$|^\[  FAILED  \] .*, where .*\(\d+ ms\)$", output, re.M))
    skipped = len(re.findall(r"^\[  SKIPPED \] \S+ \(\d+ ms\)$", output, re.M))
    for ran in re.finditer(r"^Ran (\d+) tests? in .*\n+(OK|FAILED)(?: \((.*)\))?", output, re.M):
        words = dict(re.findall(r"(failures|errors|skipped|expected failures)=(\d+)", ran.group(3) or ""))
        bad = int(words.get("failures", 0)) + int(words.get("errors", 0))
        left = int(words.get("skipped", 0))
        passed, failed, skipped = passed + int(ran.group(1)) - bad - left, failed + bad, skipped + left
    if not program_passed and failed == 0:
        failed = 1  # it crashed, ran out of time, or never got as far as a case
    if passed + failed + skipped == 0:
        passed = 1
    return passed, failed, skipped


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    total = [0, 0, 0]
    try:
        programs = xml.parse(sys.argv[1]).getroot().iter("testcase")
    except (OSError, xml.ParseError) as error:
        print(f"test_summary: {sys.argv[1]}: {error}", file=sys.stderr)
        programs = []
    for program in programs:
        output = program.findtext("system-out") or ""
        if program.get("status") in ("disabled", "notrun") and program.find("skipped") is not None:
            total[2] += 1
            continue
        for i, n in enumerate(count(output, program.get("status") == "run")):
            total[i] += n
    print(f"{total[0]} passed, {total[1]} failed" + (f", {total[2]} skipped" if total[2] else ""))
    sys.exit(1 if total[1] or not total[0] else 0)


if __name__ == "__main__":
    main()
