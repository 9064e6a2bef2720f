#!/usr/bin/env bash
# Runs the tests of a build folder and ends with one line: "N passed, N failed" (GoogleTest cases, Python
# test methods, lints; a program that dies counts as one failure).
#
#   scripts/test.sh PRESET [CTEST OPTION...]      for example: scripts/test.sh release -L unit
set -euo pipefail
export LC_ALL=C.UTF-8

[[ $# -ge 1 && $1 != -* ]] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
preset=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ -f build/$preset/CTestTestfile.cmake ]] || { echo "test.sh: build/$preset is not built: make build" >&2; exit 1; }

report=build/$preset/tests.xml
rm -f "$report"
status=0
ctest --test-dir "build/$preset" --output-on-failure --no-tests=error --output-junit "$PWD/$report" \
  --test-output-size-passed 16000000 --test-output-size-failed 16000000 "$@" || status=$?
# The summary is printed last whatever happened; it fails too when nothing was counted.
python3 scripts/test_summary.py "$report" || status=1
exit "$status"
