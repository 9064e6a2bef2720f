#!/usr/bin/env bash
# Every source file is as clang-format 14 writes it. `make format` makes it so. Exit status 77: clang-format 14 is not
# installed (scripts/setup.sh installs it), ctest counts that as skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v clang-format-14 >/dev/null || { echo "format_lint: no clang-format-14 here: skipped"; exit 77; }
if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  mapfile -t files < <(git ls-files --cached --others --exclude-standard '*.h' '*.cpp')
else
  mapfile -t files < <(find proto scheduler trainer server client tests -name '*.h' -o -name '*.cpp' | sort)
fi
existing=()
for file in "${files[@]}"; do if [[ -f $file ]]; then existing+=("$file"); fi; done
((${#existing[@]})) || { echo "format_lint: no source files found" >&2; exit 1; }

# It must be able to fail.
printf 'int  a ;\n' >"${TMPDIR:-/tmp}/manyhands-format-lint.$$.cpp"
trap 'rm -f "${TMPDIR:-/tmp}/manyhands-format-lint.$$.cpp"' EXIT
if clang-format-14 --style=file:.clang-format --dry-run -Werror "${TMPDIR:-/tmp}/manyhands-format-lint.$$.cpp" 2>/dev/null; then
  echo "format_lint: clang-format-14 accepts anything" >&2
  exit 1
fi
printf '%s\0' "${existing[@]}" | xargs -0 -n 16 -P "$(nproc)" clang-format-14 --style=file --dry-run -Werror ||
  { echo "format_lint: run 'make format'" >&2; exit 1; }
echo "format_lint: ${#existing[@]} files are formatted"
