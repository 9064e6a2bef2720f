#!/usr/bin/env bash
# Configures and builds one preset in build/PRESET; the programs are then in build/PRESET/bin.
#
#   scripts/build.sh PRESET [TARGET...]      PRESET: release, debug, asan, tsan
#
# On a terminal ninja shows its own progress; elsewhere a line for each tenth, and whatever the compiler says.
# JOBS=N sets the number of compilers at once; without it, one a core and at most one for 2 GB of free memory.
# MANYHANDS_REQUIRE_TORCH=ON stops when LibTorch is not found, instead of leaving the trainer out.
set -euo pipefail
export LC_ALL=C.UTF-8

[[ $# -ge 1 && $1 != -* ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
preset=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in cmake ninja g++; do
  command -v "$tool" >/dev/null || { echo "build.sh: no $tool here: run scripts/setup.sh first" >&2; exit 1; }
done

jobs=${JOBS:-$(awk -v cores="$(nproc)" '/^MemAvailable:/ {
  most = int($2 / 2000000); if (most < 1) most = 1; print (cores < most ? cores : most) }' /proc/meminfo)}

log=build/$preset/configure.log
mkdir -p "build/$preset"
echo "build: configuring build/$preset"
if ! cmake --preset "$preset" -DMANYHANDS_REQUIRE_TORCH="${MANYHANDS_REQUIRE_TORCH:-OFF}" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
grep -E 'LibTorch' "$log" | sed 's/^-- /build: /' || true

# ninja without its step lines but one for each tenth; everything else it prints passes.
show_progress() {
  awk 'match($0, /^\[[0-9]+\/[0-9]+\]/) {
         split(substr($0, 2, RLENGTH - 2), step, "/"); tenth = int(10 * step[1] / step[2])
         if (tenth > shown) { shown = tenth; printf "build: %d of %d\n", step[1], step[2] }
         fflush(); next }
       { print; fflush() }'
}

start=$SECONDS
if [[ -t 1 ]]; then
  ninja -C "build/$preset" -j "$jobs" "$@"
else
  ninja -C "build/$preset" -j "$jobs" "$@" | show_progress
fi
echo "build: build/$preset is ready ($((SECONDS - start)) s)"
