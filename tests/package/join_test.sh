#!/usr/bin/env bash
# From packages to credit on a fresh Debian 12, and back to nothing: a server from its package, then as a volunteer two
# commands (install the package, type the join line), then detach and purge, and a comparison of every file.
#
#   tests/package/join_test.sh [FOLDER WITH THE .deb FILES]        default: build/package
#
# Changes the machine it runs on, so only a fresh one will do (docs/testing.md); root, or a user with sudo; no systemd
# needed. Standard input of the volunteer is a terminal (script(1)): the answers are typed as a person would.
set -euo pipefail
export LC_ALL=C.UTF-8

debs=$(realpath "${1:-build/package}")
work=$(mktemp -d)
patience=300
declare -A pid=()

say() { printf '\n== %s\n' "$*"; }
show() { printf '$ %s\n' "$*"; }
give_up() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }
root() { if [[ $(id -u) == 0 ]]; then "$@"; else sudo -n "$@"; fi; }
as() { local user=$1; shift; if [[ $(id -u) == 0 ]]; then setpriv --reuid "$user" --regid "$user" --init-groups "$@"; else sudo -n -u "$user" "$@"; fi; }
apt() { root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 "$@" >>"$work/apt.log" 2>&1 || { tail -n 20 "$work/apt.log" >&2; give_up "apt-get $*"; }; }
finish() {
  local status=$?
  if ((status)); then tail -n 20 "$work"/*.log >&2 || true; fi
  for name in "${!pid[@]}"; do root bash -c "kill ${pid[$name]}" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT

wait_for() {  # wait_for WHAT COMMAND...
  local what=$1 end=$((SECONDS + patience))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || give_up "waited $patience s in vain for: $what"
    sleep 0.5
  done
}

# Every path and account, without what apt keeps of its own work.
snapshot() {  # snapshot [WITHOUT]
  {
    root find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /tmp -o -path /run -o -path /var/cache -o -path /var/log \
      -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path "$work" -o -path "$PWD" -o -path "${1:-/none}" \) -prune -o -print
    getent passwd; getent group
  } | grep -vE '/etc/(passwd|group|shadow|gshadow|subuid|subgid)-$|/etc/\.pwd\.lock$|/etc/ld\.so\.cache$|\.config/manyhands' | sort
}

for name in server client cli; do
  ! dpkg -s "manyhands-$name" >/dev/null 2>&1 || give_up "manyhands-$name is installed here: this is no fresh machine"
  compgen -G "$debs/manyhands-${name}_*.deb" >/dev/null || give_up "no manyhands-${name}_*.deb in $debs: 'make package' makes them"
done

say "The project's side: server and command line from their packages"
apt update
before=$(snapshot)
apt install "$debs"/manyhands-server_*.deb "$debs"/manyhands-cli_*.deb
srv=/var/lib/manyhands-server/data
# What the unit does, where systemd is the first process.
as manyhands-server /usr/bin/manyhands-server init $srv
as manyhands-server /usr/bin/manyhands-server run $srv --listen 127.0.0.1:0 --port-file $srv/port >"$work/server.log" 2>&1 &
pid[server]=$!
wait_for "the server" root test -s $srv/port
wait_for "the join line" grep -q 'manyhands-client attach' "$work/server.log"
root cat $srv/admin.token >"$work/token"
login=$(sed -n "s/.*manyhands login '\([^']*\)'.*/\1/p" "$work/server.log")
join=$(sed -n "s/.*manyhands-client attach '\([^']*\)'.*/\1/p" "$work/server.log")
manyhands login "$login" --token-file "$work/token"

# 400 bright or dark images of 8 by 8, as IDX.
perl -e 'open my $x, ">", "$ARGV[0]/x.idx"; open my $y, ">", "$ARGV[0]/y.idx"; binmode $_ for $x, $y; srand 7;
  print $x pack "N4", 0x803, 400, 8, 8; print $y pack "N2", 0x801, 400;
  for my $i (0..399) { my $c = $i % 2; print $x pack "C64", map { 120 * $c + int rand 120 } 1..64; print $y pack "C", $c }' "$work"
manyhands dataset import shades --train-inputs "$work/x.idx" --train-targets "$work/y.idx" --split test=0.2
cat >"$work/job.yaml" <<'JOB'
name: shades
dataset: shades
model: {preset: mlp, hidden: [16]}
loss: cross_entropy
training: {passes: 5, batch: 64}
optimizer: {kind: adamw, learning_rate: 0.01}
evaluation: {split: test}
JOB
manyhands job submit "$work/job.yaml"

say "The volunteer's side: two commands"
before_client=$(snapshot /var/lib/manyhands-server)
show "apt install ./manyhands-client_*.deb      ($(du -h --apparent-size "$debs"/manyhands-client_*.deb | cut -f1))"
start=$SECONDS
apt install "$debs"/manyhands-client_*.deb
echo "installed in $((SECONDS - start)) s"
show "manyhands-client attach '…'               (answers: y, y)"
mkfifo "$work/keyboard"
script -qefc "manyhands-client attach '$join' --name volunteer" "$work/terminal.log" <"$work/keyboard" >/dev/null 2>&1 &
pid[volunteer]=$!
exec 5>"$work/keyboard"
printf 'y\ny\n' >&5
wait_for "the volunteer to join" bash -c 'manyhands host list --json | grep -q "\"name\": \"volunteer\""'
manyhands host trust volunteer
start=$SECONDS
manyhands job wait shades --timeout $patience
echo "the job is done after $((SECONDS - start)) s of the volunteer's work"
tr -d '\r' <"$work/terminal.log" | sed "s|#mhi_[^@]*@|#mhi_…@|" | head -40
manyhands-client status
manyhands host list
manyhands job show shades | head -20
manyhands host list --json | grep -q '"validCount": "[1-9]' || give_up "no result of the volunteer counted"

say "A second one, for the whole machine: what the system service does"
as manyhands manyhands-client attach --yes --dir /var/lib/manyhands-client --name machine "$join"
root test -s /var/lib/manyhands-client/state.json || give_up "the system folder has no state"

say "Leaving"
show "manyhands-client detach; apt purge manyhands-client; apt autoremove --purge"
manyhands-client detach
wait "${pid[volunteer]}" || true
unset 'pid[volunteer]'
[[ ! -e $HOME/.local/share/manyhands-client ]] || give_up "detach left $HOME/.local/share/manyhands-client"
apt purge manyhands-client
apt autoremove --purge
# An empty folder that XDG programs share is nobody's trace.
find "$HOME/.local" -type d -empty -delete 2>/dev/null || true
left=$(diff <(echo "$before_client") <(snapshot /var/lib/manyhands-server) | grep '^[<>]' || true)
[[ -z $left ]] || give_up $'purging the client left a difference:\n'"$left"
echo "no file, user or group is left of it"

say "The server, too"
manyhands logout >/dev/null 2>&1 || true
root bash -c "kill ${pid[server]}"
wait "${pid[server]}" 2>/dev/null || true
unset 'pid[server]'
apt purge manyhands-server manyhands-cli
apt autoremove --purge
left=$(diff <(echo "$before") <(snapshot) | grep '^[<>]' || true)
[[ -z $left ]] || give_up $'purging the server left a difference:\n'"$left"
echo "no file, user or group is left of it"
say "PASSED"
