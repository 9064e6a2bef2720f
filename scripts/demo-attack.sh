#!/usr/bin/env bash
# The job of `make demo` with six volunteers, two of whom cheat: mallory computes and sends the gradient with its sign
# turned round, freddie computes nothing and sends an old update with fresh noise, for credit. Shows that the model comes
# out as if they had not been there, and what is known of them at the end. Called by `make demo-attack` after the build.
#
#   scripts/demo-attack.sh [--keep] [--job FILE]
#
# --keep leaves the folder (server, volunteers, model) for a look; otherwise it is removed at the end.
# The cheats are tests/attack/cheating_volunteer.py, which speaks the real protocol; the product has no switch for them.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
name_of_demo=demo-attack.sh
# shellcheck source=scripts/demo_common.sh
source "$repo/scripts/demo_common.sh"

start_cheat() {
  show "tests/attack/cheating_volunteer.py --cheat $2 --dir $1 -- --device cpu --threads 1 &"
  MANYHANDS_BIN=$bin "$repo/tests/attack/cheating_volunteer.py" --cheat "$2" --dir "$work/$1" -- \
    --device cpu --threads 1 >>"$work/$1.log" 2>&1 &
  pid[$1]=$!
}

demo_options "$@"
demo_begin

say "4. Six volunteers: ada is trusted and does the evaluations too, mallory and freddie cheat"
join ada
step manyhands host trust 1
for name in blaise carl dora; do join "$name"; done
attach mallory
start_cheat mallory sign-flip
attach freddie
start_cheat freddie stale-noise

say "5. Training"
step manyhands job watch "$job"

say "6. Who did what"
step manyhands job summary "$job"
step manyhands host list
for name in mallory freddie; do step manyhands host show "$name"; done

say "7. Were both found, and nobody else?"
read_outcome
manyhands host list --json | python3 -B "$repo/scripts/demo_attack_verdict.py" --accuracy "$accuracy" --cheats mallory,freddie ||
  give_up "the demo missed its mark"
say "Test accuracy $accuracy after $seconds s of training (wanted: at least 0.90, as without the two)"
