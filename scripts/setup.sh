#!/usr/bin/env bash
# Installs what Manyhands needs to be built and tested: Debian 12 packages and LibTorch 2.11.0. Safe to run again:
# does only what is missing. As an ordinary user it asks sudo for the packages, and for nothing else.
#
#   scripts/setup.sh                 install what is missing
#   scripts/setup.sh --check         say what is missing, install nothing (exit 1 if anything is)
#   scripts/setup.sh --server-only   without LibTorch: server, client and command line, no trainer
#   scripts/setup.sh --cuda          LibTorch with the CUDA libraries too (2.4 GB more)
#   scripts/setup.sh --quiet         say nothing when nothing is missing
#
# Packages: scripts/debian-packages.txt. Wheels, with hashes: scripts/torch-wheels.txt. LibTorch is unpacked once
# to ${XDG_CACHE_HOME:-$HOME/.cache}/manyhands/, which checkouts share. MANYHANDS_TORCH=DIR takes an existing
# site-packages folder that has torch 2.11 instead. Exit status: 0 done, 1 something is missing or failed, 2 usage.
set -euo pipefail
export LC_ALL=C.UTF-8

readonly torch_version=2.11.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/manyhands
torch=$cache/torch-$torch_version
python=/usr/bin/python3
check=no server_only=no cuda=no quiet=no

for option in "$@"; do
  case $option in
    --check) check=yes ;;
    --server-only) server_only=yes ;;
    --cuda) cuda=yes ;;
    --quiet) quiet=yes ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "setup.sh: unknown option '$option' (known: --check, --server-only, --cuda, --quiet, --help)" >&2; exit 2 ;;
  esac
done
if [[ $server_only == yes && $cuda == yes ]]; then
  echo "setup.sh: --server-only leaves LibTorch out, --cuda adds to it: choose one" >&2
  exit 2
fi

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }

# Runs a command with its output in a file; shows the end of it only if the command fails.
quietly() {
  local log status=0
  log=$(mktemp "${TMPDIR:-/tmp}/manyhands-setup.XXXXXX")
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if ((status)); then tail -n 30 "$log" >&2; fi
  rm -f "$log"
  return $status
}

# --- Debian packages ---------------------------------------------------------------------------------------------

wanted_packages() {
  local sets='server|torch'
  [[ $server_only == no ]] || sets='server'
  # With a LibTorch of the user's own, pip is not needed.
  awk -v sets="^($sets)\$" -v own="${MANYHANDS_TORCH:-}" \
    '!/^#/ && NF && $2 ~ sets && !(own != "" && $1 == "python3-pip") { print $1 }' "$here/debian-packages.txt"
}

missing_packages() {
  local wanted
  mapfile -t wanted < <(wanted_packages)
  { dpkg-query -W -f '${binary:Package} ${Status}\n' "${wanted[@]}" 2>/dev/null || true; } |
    awk -v wanted="${wanted[*]}" '
      / install ok installed$/ { sub(/:.*/, "", $1); have[$1] = 1 }
      END { n = split(wanted, name, " "); for (i = 1; i <= n; ++i) if (!have[name[i]]) print name[i] }'
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    env DEBIAN_FRONTEND=noninteractive "$@"
  else
    sudo DEBIAN_FRONTEND=noninteractive "$@"
  fi
}

install_packages() {
  command -v apt-get >/dev/null || fail "no apt-get here. Install by your own means: $*"
  if ! grep -qs '^VERSION_ID="12"' /etc/os-release; then
    say "this is not Debian 12: versions will differ from those Manyhands is tested with"
  fi
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null || fail "neither root nor sudo. As root: apt-get install $*"
    sudo -v || fail "sudo was refused. As root: apt-get install $*"
  fi
  say "installing $# Debian packages: $*"
  local options=(-q -y -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
  quietly as_root apt-get "${options[@]}" update || fail "apt-get update failed (see above)"
  quietly as_root apt-get "${options[@]}" --no-install-recommends install "$@" || fail "apt-get install failed (see above)"
}

# --- LibTorch ----------------------------------------------------------------------------------------------------

# wheels SECTION: its lines of torch-wheels.txt.
wheels() { awk -v section="$1" '/^# section:/ { on = $3 == section } on && /^[a-z]/' "$here/torch-wheels.txt"; }

torch_sections() { if [[ $cuda == yes ]]; then echo cpu cuda; else echo cpu; fi; }

# Prints what is missing in the cache; nothing if LibTorch is there as pinned. The list of what was unpacked is
# written last, inside the folder that is then renamed: a folder with a list is whole.
missing_sections() {
  local section line
  for section in $(torch_sections); do
    while read -r line; do
      if ! grep -qsxF -- "$line" "$torch/manyhands-wheels.txt"; then echo "$section"; break; fi
    done < <(wheels "$section")
  done
}

check_own_torch() {
  local found
  [[ -e $MANYHANDS_TORCH/torch/lib/libtorch_cpu.so ]] ||
    fail "MANYHANDS_TORCH is '$MANYHANDS_TORCH': no torch/lib/libtorch_cpu.so in it. Give a site-packages folder with torch ${torch_version%.*}"
  found=$(sed -n "s/^__version__ = ['\"]\([0-9.]*\).*/\1/p" "$MANYHANDS_TORCH/torch/version.py" 2>/dev/null || true)
  [[ $found == "${torch_version%.*}".* ]] ||
    fail "MANYHANDS_TORCH is '$MANYHANDS_TORCH': torch ${found:-of unknown version} in it, ${torch_version%.*} is needed"
  [[ $quiet == yes ]] || say "LibTorch $found of MANYHANDS_TORCH: $MANYHANDS_TORCH"
}

download_wheels() {  # download_wheels FOLDER SECTION...
  local folder=$1 section platforms=() minor
  shift
  for section in "$@"; do wheels "$section"; done >"$folder/wheels.txt"
  # pip compares platform names literally: each manylinux that a wheel may be named for must be listed.
  for minor in 5 12 {17..28}; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
  for minor in 1 2010 2014; do platforms+=(--platform "manylinux${minor}_x86_64"); done
  quietly "$python" -m pip download --disable-pip-version-check --no-cache-dir --progress-bar off --retries 5 --no-deps --only-binary :all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi none "${platforms[@]}" \
    --require-hashes -r "$folder/wheels.txt" -d "$folder/wheels" ||
    fail "the LibTorch wheels could not be fetched (see above). Nothing was changed; run setup.sh again"
}

# Fetches and unpacks beside the final place, on the same file system, then renames. Interrupted at any
# point it leaves the old state, and a folder of its own that the trap removes.
install_torch() {
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  if ! flock -n 9; then
    say "another setup.sh is installing LibTorch: waiting for it"
    flock 9
  fi
  rm -rf "$cache"/setup.??????  # of a run that was killed: the lock is ours, so nobody uses them
  local sections needed_gb=4 size="543 MB"
  mapfile -t sections < <(missing_sections)
  ((${#sections[@]})) || return 0
  [[ ${sections[*]} == cpu ]] || { needed_gb=10; size="about 3 GB"; }
  [[ ${sections[*]} != cuda ]] || size="about 2.4 GB"
  [[ $(uname -m) == x86_64 ]] || fail "LibTorch wheels are for x86_64, this is $(uname -m): use --server-only or MANYHANDS_TORCH=DIR"
  local free_gb
  free_gb=$(($(stat -f -c '%a * %S' "$cache") / 1000000000))
  ((free_gb >= needed_gb)) || fail "$cache has $free_gb GB free, LibTorch needs $needed_gb GB while it is unpacked"

  work=$(mktemp -d "$cache/setup.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  say "fetching LibTorch $torch_version (${sections[*]}): $size"
  download_wheels "$work" "${sections[@]}"
  say "unpacking LibTorch to $torch"
  mkdir -p "$work/new"
  if [[ ${sections[*]} == cuda ]]; then cp -al "$torch/." "$work/new/"; fi
  quietly "$python" "$here/unpack_wheels.py" "$work/new" "$work"/wheels/*.whl || fail "unpacking failed (see above)"
  rm -rf "$work/wheels"
  { if [[ ${sections[*]} == cuda ]]; then cat "$torch/manyhands-wheels.txt"; fi; cat "$work/wheels.txt"; } >"$work/list"
  mv -f "$work/list" "$work/new/manyhands-wheels.txt"
  chmod 755 "$work/new"
  sync -f "$work/new"
  if [[ -e $torch ]]; then mv -T "$torch" "$work/old"; fi
  mv -T "$work/new" "$torch"
}

# --- what is missing, then install it ----------------------------------------------------------------------------

mapfile -t packages < <(missing_packages)
torch_missing=()
if [[ $server_only == no ]]; then
  if [[ -n ${MANYHANDS_TORCH:-} ]]; then
    check_own_torch
  else
    mapfile -t torch_missing < <(missing_sections)
  fi
fi

if [[ $check == yes ]]; then
  for package in "${packages[@]}"; do say "missing: Debian package $package"; done
  for section in "${torch_missing[@]}"; do say "missing: LibTorch $torch_version ($section) in $torch"; done
  ((${#packages[@]} + ${#torch_missing[@]})) && exit 1
  say "nothing is missing"
  exit 0
fi

if ((${#packages[@]})); then install_packages "${packages[@]}"; fi
if ((${#torch_missing[@]})); then install_torch; fi
if ((${#packages[@]} + ${#torch_missing[@]})); then
  say "done"
elif [[ $quiet == no ]]; then
  say "nothing is missing"
fi
