#!/usr/bin/env bash
# The main job, for real, on this machine: a server, Fashion-MNIST, four volunteers, two of the programs
# killed on the way. Prints each command before it runs it. Called by `make demo` after the build.
#
#   scripts/demo.sh [--keep] [--job FILE]
#
# --keep leaves the folder (server, volunteers, model) for a look; otherwise it is removed at the end.
set -euo pipefail

repo=$(cd "$(dirname "$0")/.." && pwd)
bin=${MANYHANDS_BIN:-$repo/build/release/bin}
images=${MANYHANDS_FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
job_file=$repo/docs/examples/fashion-mnist.yaml
keep=no
while (($#)); do
  case $1 in
    --keep) keep=yes ;;
    --job) job_file=${2:?--job needs a file}; shift ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "demo.sh: unknown option '$1' (known: --keep, --job FILE)" >&2; exit 2 ;;
  esac
  shift
done
[[ -x $bin/manyhands-trainer ]] || { echo "demo.sh: no programs in $bin: run 'make build' first" >&2; exit 2; }
[[ -r $images/train-images-idx3-ubyte.gz ]] || {
  echo "demo.sh: no Fashion-MNIST in $images: run 'scripts/setup.sh' (Debian package dataset-fashion-mnist)" >&2
  exit 2
}

PATH=$bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/manyhands-demo.XXXXXX")
export XDG_CONFIG_HOME=$work/config
unset MANYHANDS_SERVER MANYHANDS_TOKEN MANYHANDS_CLIENT_DIR
declare -A pid=()

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; }
# Shows a command with the demo's folder shortened, then runs it.
step() { show "${*//$work\//}"; "$@"; }

stop_all() {
  local name
  for name in "${!pid[@]}"; do kill -TERM "${pid[$name]}" 2>/dev/null || true; done
  for name in "${!pid[@]}"; do
    for _ in {1..100}; do kill -0 "${pid[$name]}" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "${pid[$name]}" 2>/dev/null || true
  done
  if [[ $keep == yes ]]; then echo "kept: $work"; else rm -rf "$work"; fi
}
trap stop_all EXIT
trap 'exit 130' INT TERM

start_server() {
  rm -f "$work/port"
  show "manyhands-server run server --listen 127.0.0.1:$1 --port-file port &"
  manyhands-server run "$work/server" --listen "127.0.0.1:$1" --port-file "$work/port" \
    >>"$work/server.out" 2>>"$work/server.log" &
  pid[server]=$!
  for _ in {1..200}; do [[ -s $work/port ]] && break; sleep 0.05; done
  [[ -s $work/port ]] || { tail -n 20 "$work/server.log" >&2; echo "demo.sh: the server did not start" >&2; exit 1; }
  port=$(<"$work/port"); port=${port##*:}
}

start_volunteer() {
  show "manyhands-client run --dir $1 --device cpu --threads 1 &"
  manyhands-client run --dir "$work/$1" --device cpu --threads 1 >>"$work/$1.log" 2>&1 &
  pid[$1]=$!
}

join() {
  step manyhands-client attach "$join_url" --dir "$work/$1" --name "$1" --yes
  start_volunteer "$1"
}

kill_hard() { show "kill -9 <$1>"; kill -KILL "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null || true; }

# The current step of the job, straight from the server as JSON; 0 while the server is away.
current_step() {
  manyhands job show "$job" --json 2>/dev/null | sed -n 's/^.*"step": *"\{0,1\}\([0-9]*\).*$/\1/p' | head -n 1
}
wait_for_step() {
  local now
  for _ in {1..1200}; do
    now=$(current_step); [[ ${now:-0} -ge $1 ]] && return 0
    sleep 0.25
  done
  echo "demo.sh: step $1 was not reached in 5 minutes" >&2; return 1
}

say "1. A server, in a fresh directory"
step manyhands-server init "$work/server"
start_server 0
cat "$work/server.out"
join_url=$(sed -n "s/^.*manyhands-client attach '\([^']*\)'.*$/\1/p" "$work/server.out" | head -n 1)
step manyhands login "http://127.0.0.1:$port" --token-file "$work/server/admin.token"

say "2. A data set: Fashion-MNIST, 60,000 + 10,000 images"
step manyhands dataset import fashion-mnist \
  --train-inputs "$images/train-images-idx3-ubyte.gz" --train-targets "$images/train-labels-idx1-ubyte.gz" \
  --test-inputs "$images/t10k-images-idx3-ubyte.gz" --test-targets "$images/t10k-labels-idx1-ubyte.gz" \
  --class-names "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
step manyhands dataset show fashion-mnist

say "3. A job"
step manyhands job check "$job_file"
step manyhands job submit "$job_file"
job=1

say "4. Three volunteers; the trusted one also does the evaluations"
for name in ada blaise carl; do join "$name"; done
step manyhands host trust 1
step manyhands host list

say "5. Training, with accidents on the way; nobody repairs anything"
steps=$(manyhands job show "$job" --json | sed -n 's/^.*"stepCount": *"\{0,1\}\([0-9]*\).*$/\1/p' | head -n 1)
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
manyhands dataset import fashion-mnist --to-dir "$work/data" \
  --train-inputs "$images/train-images-idx3-ubyte.gz" --train-targets "$images/train-labels-idx1-ubyte.gz" \
  --test-inputs "$images/t10k-images-idx3-ubyte.gz" --test-targets "$images/t10k-labels-idx1-ubyte.gz" \
  --class-names "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot" >/dev/null
step manyhands-trainer predict "$work/model.safetensors" --data "$work/data" --split test --count 10

show "ps -o rss= server (kB)"
ps -o rss= -p "${pid[server]}" || true

accuracy=$(manyhands job show "$job" --json | python3 -c \
  'import json,sys; j=json.load(sys.stdin)["job"]; print(j["lastEvaluation"]["accuracy"], (int(j["finishedMs"])-int(j["startedMs"]))/1000)')
read -r accuracy seconds <<<"$accuracy"
say "Test accuracy $accuracy after $seconds s of training (wanted: at least 0.90 in at most 180 s)"
python3 -c "import sys; sys.exit(0 if float('$accuracy') >= 0.90 and float('$seconds') <= 180 else 1)" ||
  { echo "demo.sh: the demo missed its mark" >&2; exit 1; }
