# What demo.sh and demo-attack.sh share: a server, volunteers and their ends in a folder of their own. Sourced, not run.
# The script that sources it has set `repo` and `name_of_demo`, and calls `demo_options "$@"`, then `demo_begin`.
bin=${MANYHANDS_BIN:-$repo/build/release/bin}
images=${MANYHANDS_FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
job_file=$repo/docs/examples/fashion-mnist.yaml
keep=no
job=1
image_files=(
  --train-inputs "$images/train-images-idx3-ubyte.gz" --train-targets "$images/train-labels-idx1-ubyte.gz"
  --test-inputs "$images/t10k-images-idx3-ubyte.gz" --test-targets "$images/t10k-labels-idx1-ubyte.gz"
  --class-names "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
)
declare -A pid=()

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '\033[36m$ %s\033[0m\n' "$*"; }
# Shows a command with the demo's folder shortened, then runs it.
step() { show "${*//$work\//}"; "$@"; }
give_up() { echo "$name_of_demo: $1" >&2; exit "${2:-1}"; }

# Prints the comment at the top of the script that was run.
usage() { sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"; }

demo_options() {
  while (($#)); do
    case $1 in
      --keep) keep=yes ;;
      --job) job_file=${2:?--job needs a file}; shift ;;
      -h | --help) usage; exit 0 ;;
      *) give_up "unknown option '$1' (known: --keep, --job FILE)" 2 ;;
    esac
    shift
  done
}

stop_all() {
  local name
  for name in "${!pid[@]}"; do kill -TERM "${pid[$name]}" 2>/dev/null || true; done
  for name in "${!pid[@]}"; do
    for _ in {1..100}; do kill -0 "${pid[$name]}" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "${pid[$name]}" 2>/dev/null || true
  done
  if [[ $keep == yes ]]; then echo "kept: $work"; else rm -rf "$work"; fi
}

start_server() {
  rm -f "$work/port"
  show "manyhands-server run server --listen 127.0.0.1:$1 --port-file port &"
  manyhands-server run "$work/server" --listen "127.0.0.1:$1" --port-file "$work/port" \
    >>"$work/server.out" 2>>"$work/server.log" &
  pid[server]=$!
  for _ in {1..200}; do [[ -s $work/port ]] && break; sleep 0.05; done
  [[ -s $work/port ]] || { tail -n 20 "$work/server.log" >&2; give_up "the server did not start"; }
  port=$(<"$work/port"); port=${port##*:}
}

attach() { step manyhands-client attach "$join_url" --dir "$work/$1" --name "$1" --yes; }

start_volunteer() {
  show "manyhands-client run --dir $1 --device cpu --threads 1 &"
  manyhands-client run --dir "$work/$1" --device cpu --threads 1 >>"$work/$1.log" 2>&1 &
  pid[$1]=$!
}

join() { attach "$1"; start_volunteer "$1"; }

# A field of the job, straight from the server; nothing while the server is away.
job_number() {
  manyhands job show "$job" --json 2>/dev/null | sed -n 's/^.*"'"$1"'": *"\{0,1\}\([0-9]*\).*$/\1/p' | head -n 1
}
wait_for_step() {
  local now
  for _ in {1..1200}; do
    now=$(job_number step); [[ ${now:-0} -ge $1 ]] && return 0
    sleep 0.25
  done
  echo "$name_of_demo: step $1 was not reached in 5 minutes" >&2; return 1
}

# A server in a fresh folder, the images, the job: steps 1 to 3 of a demo.
demo_begin() {
  [[ -x $bin/manyhands-trainer ]] || give_up "no programs in $bin: run 'make build' first" 2
  [[ -r $images/train-images-idx3-ubyte.gz ]] ||
    give_up "no Fashion-MNIST in $images: run 'scripts/setup.sh' (Debian package dataset-fashion-mnist)" 2
  PATH=$bin:$PATH
  work=$(mktemp -d "${TMPDIR:-/tmp}/manyhands-demo.XXXXXX")
  export XDG_CONFIG_HOME=$work/config
  unset MANYHANDS_SERVER MANYHANDS_TOKEN MANYHANDS_CLIENT_DIR
  trap stop_all EXIT
  trap 'exit 130' INT TERM

  say "1. A server, in a fresh directory"
  step manyhands-server init "$work/server"
  start_server 0
  cat "$work/server.out"
  join_url=$(sed -n "s/^.*manyhands-client attach '\([^']*\)'.*$/\1/p" "$work/server.out" | head -n 1)
  login_url=$(sed -n "s/^.*manyhands login '\([^']*\)'.*$/\1/p" "$work/server.out" | head -n 1)
  step manyhands login "$login_url" --token-file "$work/server/admin.token"

  say "2. A data set: Fashion-MNIST, 60,000 + 10,000 images"
  step manyhands dataset import fashion-mnist "${image_files[@]}"
  step manyhands dataset show fashion-mnist

  say "3. A job"
  step manyhands job check "$job_file"
  step manyhands job submit "$job_file"
}

# Sets `accuracy` and `seconds` of the finished job.
read_outcome() {
  read -r accuracy seconds < <(manyhands job show "$job" --json | python3 -c \
    'import json,sys; j=json.load(sys.stdin)["job"]; print(j["lastEvaluation"]["accuracy"], (int(j["finishedMs"])-int(j["startedMs"]))/1000)')
}
