#!/usr/bin/env bash
# The main job, for real, on this machine: a server, Fashion-MNIST, four volunteers, two of the programs
# killed on the way. Prints each command before it runs it. Called by `make demo` after the build.
#
#   scripts/demo.sh [--keep] [--job FILE]
#
# --keep leaves the folder (server, volunteers, model) for a look; otherwise it is removed at the end.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
name_of_demo=demo.sh
# shellcheck source=scripts/demo_common.sh
source "$repo/scripts/demo_common.sh"

kill_hard() { show "kill -9 <$1>"; kill -KILL "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null || true; }

demo_options "$@"
demo_begin

say "4. Three volunteers; the trusted one also does the evaluations"
for name in ada blaise carl; do join "$name"; done
step manyhands host trust 1
step manyhands host list

say "5. Training, with accidents on the way; nobody repairs anything"
steps=$(job_number stepCount)
(
  set +e
  wait_for_step $((steps / 5)) && say "6a. One volunteer is killed with kill -9" && kill_hard carl
  wait_for_step $((steps * 2 / 5)) && say "6b. A fourth volunteer joins late" && join dora
  echo "${pid[dora]:-}" >"$work/dora.pid"
  wait_for_step $((steps * 3 / 5)) && say "6c. The server is killed with kill -9, and started again" && kill_hard server
  sleep 1
  start_server "$port"
  echo "${pid[server]}" >"$work/server.pid"
) &
accidents=$!
step manyhands job watch "$job"
wait "$accidents" || true
[[ -s $work/dora.pid ]] && pid[dora]=$(<"$work/dora.pid")
[[ -s $work/server.pid ]] && pid[server]=$(<"$work/server.pid")
unset 'pid[carl]'

say "7. Who did what, and the proof that every sample was counted once"
step manyhands job summary "$job"
step manyhands model download "$job" --output "$work/model.safetensors"
show "manyhands dataset import fashion-mnist … --to-dir data      (the images again, for the trainer alone)"
manyhands dataset import fashion-mnist --to-dir "$work/data" "${image_files[@]}" >/dev/null
step manyhands-trainer predict "$work/model.safetensors" --data "$work/data" --split test --count 10

show "ps -o rss= server (kB)"
ps -o rss= -p "${pid[server]}" || true

read_outcome
say "Test accuracy $accuracy after $seconds s of training (wanted: at least 0.90 in at most 180 s)"
python3 -c "import sys; sys.exit(0 if float('$accuracy') >= 0.90 and float('$seconds') <= 180 else 1)" || give_up "the demo missed its mark"
