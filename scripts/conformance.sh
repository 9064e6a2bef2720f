#!/usr/bin/env bash
# Runs the official Connect conformance suite against our server and our client (tests/conformance), with and without TLS.
# The pinned runner is fetched once, with the suite's .proto files, into
# ${XDG_CACHE_HOME:-$HOME/.cache}/manyhands/conformance-VERSION; that needs Go and the network, later runs need neither.
#
#   scripts/conformance.sh [OPTION OF connectconformance...]      for example: --run '**/timeouts/**' --trace
#
# Exit status: 0 every case passed, 1 one did not or the build failed, 2 there is no Go to fetch the runner with.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly module=connectrpc.com/conformance version=v1.0.7
readonly sum='h1:9Sqx8vEeRJyKoIAiYdEuABrlPKRoNxVHSbJ0CVil7xg='
# What unary calls of the Connect protocol over HTTP/1.1 come to in this version.
readonly server_cases=344 client_cases=368
# Older ones cannot fetch the Go that the runner asks for.
readonly go_minor_min=25

[[ ${1:-} != -h && ${1:-} != --help ]] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/manyhands
suite=$cache/conformance-${version#v}
bin=$PWD/build/release/bin

say() { printf 'conformance: %s\n' "$*"; }
fail() { printf 'conformance.sh: %s\n' "$2" >&2; exit "$1"; }

check_go() {
  local advice="install Go 1.$go_minor_min or newer (https://go.dev/dl), put it on the PATH, run this again"
  local found
  command -v go >/dev/null || fail 2 "there is no Go here, and the suite's runner is a Go program: $advice"
  found=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
  [[ $found =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge $go_minor_min ]] ||
    fail 2 "Go here is ${found:-broken}, the suite's runner needs more: $advice"
}

# Runner and .proto files come to their place together, by a rename, or not at all.
install_suite() {
  local described folder
  say "fetching $module $version"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/conformance.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  export GOTOOLCHAIN=auto GOBIN=$work/new
  described=$(cd "$work" && go mod download -json "$module@$version") || fail 1 "the module could not be fetched: $described"
  [[ $described == *"\"Sum\": \"$sum\""* ]] || fail 1 "$module $version is not what was pinned: $described"
  folder=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$described")
  (cd "$work" && go install "$module/cmd/connectconformance@$version") || fail 1 "the runner could not be built"
  cp -r --no-preserve=mode "$folder/proto" "$work/new/proto"
  if ! mv -T "$work/new" "$suite" 2>/dev/null && [[ ! -x $suite/connectconformance ]]; then
    fail 1 "cannot write to $suite"
  fi
}

build_programs() {
  local log=build/release/conformance-configure.log
  mkdir -p build/release
  cmake --preset release -DMANYHANDS_CONFORMANCE_PROTOS="$suite/proto" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
  scripts/build.sh release conformance_server conformance_client
}

# run_mode MODE CASES PROGRAM [OPTION...]: shows failures and the runner's last lines.
run_mode() {
  local mode=$1 cases=$2 program=$3 status=0 output
  shift 3
  output=$("$suite/connectconformance" --conf tests/conformance/config.yaml --mode "$mode" "$@" -- "$program" 2>&1) || status=$?
  sed "s/^/conformance: $mode: /" <<<"$output"
  # A suite that lost its cases must not look like one that passed.
  if ((status == 0 && $# == 0)) && [[ $output != *"Total cases: $cases"$'\n'"$cases passed, 0 failed"* ]]; then
    say "$mode: expected $cases cases"
    status=1
  fi
  return "$status"
}

if [[ ! -x $suite/connectconformance ]]; then
  check_go
  install_suite
fi
build_programs
status=0
run_mode server "$server_cases" "$bin/conformance_server" "$@" || status=1
run_mode client "$client_cases" "$bin/conformance_client" "$@" || status=1
exit "$status"
