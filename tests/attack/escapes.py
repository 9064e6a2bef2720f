#!/usr/bin/env python3
"""What a hostile trainer can do on a volunteer's computer: each attempt, with each layer of the sandbox taken away.

    escapes.py table [--markdown FILE]     every attempt with all layers, with none, with all but one, with one alone
    escapes.py try [--layers LIST] NAME…   some attempts

The attempts are in hostile_trainer (tests/attack/hostile_*.cpp), which runs in the sandbox that manyhands-sandbox makes,
as the daemon starts it. A "victim" stands for the daemon: a process of the same user with a secret in its environment,
memory, shared memory and files, and sockets of every kind listening. An attempt has succeeded if it says so; one that
ended the process that made it, or that was never answered, has not. Exit status 1 if any attempt succeeds with all layers.
"""
import argparse
import os
import pathlib
import platform
import shutil
import socket
import stat
import subprocess
import sys
import tempfile

REPO = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MANYHANDS_BIN", REPO / "build" / "release" / "bin"))
HOSTILE = BIN.parent / "attack" / "hostile_trainer"
MARKER = b"\n#TARGETS#\n"
LAYERS = ("privileges", "user", "mount", "pid", "ipc", "uts", "net", "landlock", "seccomp", "limits", "environment")
MEMORY_BYTES = 128 << 20
NAMESPACES = ("user", "mount", "pid", "ipc", "uts", "net")
FILE_BYTES = 16 << 20
# The exit code of programs that an attempt runs in its own place.
RAN_ANOTHER_PROGRAM = 88
ATTEMPT_SECONDS = 30

VICTIM = r"""
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
secret = ctypes.create_string_buffer(b"secret-1")
libc.prctl(0x59616d61, -1, 0, 0, 0)   # where Yama guards ptrace, this victim does without
shm = libc.shmget(0, 4096, 0o1600 | 0o1000)
libc.shmat.restype = ctypes.c_void_p
libc.shmat(shm, None, 0)
libc.shmctl(shm, 0, None)             # gone with this process
print(ctypes.addressof(secret), shm, flush=True)
sys.stdin.read()
"""


class Range:
    """A home with secrets, a client's folders, a victim, listening sockets; use as a context manager."""

    def __enter__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="manyhands-escape-"))
        self.sockets = []
        self.loose_ends = []
        self.make_folders()
        self.start_victim()
        self.write_targets()
        return self

    def __exit__(self, *_):
        self.victim.stdin.close()
        self.victim.wait(timeout=10)
        self.victim.stdout.close()
        for one in self.sockets:
            one.close()
        for path in self.loose_ends:
            pathlib.Path(path).unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def make_folders(self):
        self.home, self.client = self.root / "home", self.root / "home" / "client"
        for folder in (self.home, self.client, self.root / "other"):
            folder.mkdir()
        for folder in ("cache", "out", "work"):
            (self.client / folder).mkdir(mode=0o700)
        for path in (self.home / "secret", self.client / "state.json", self.root / "other" / "state.json",
                     self.client / "cache" / "blob", self.client / "work" / "1.update"):
            path.write_text("secret-1\n")
            path.chmod(0o600)
        self.out_file = self.client / "out" / "7.update"

    def start_victim(self):
        self.victim = subprocess.Popen([sys.executable, "-c", VICTIM], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True, env={**os.environ, "MANYHANDS_TEST_SECRET": "secret-1"})
        self.address, self.shm = self.victim.stdout.readline().split()

    def listen(self, family, kind, address):
        try:
            one = socket.socket(family, kind)
            one.bind(address)
            if kind == socket.SOCK_STREAM:
                one.listen(64)
        except OSError:
            return 0
        self.sockets.append(one)
        return one.getsockname()[1] if family in (socket.AF_INET, socket.AF_INET6) else address

    def write_targets(self):
        name = f"manyhands-escape-{os.getpid()}"
        unix_path = str(self.client / "control.sock")
        abstract = f"{name}"
        self.listen(socket.AF_UNIX, socket.SOCK_STREAM, unix_path)
        self.listen(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + abstract)
        self.loose_ends = [f"/tmp/{name}", f"/dev/shm/{name}"]
        self.program = self.root / "hostile"
        self.targets = {
            "home": self.home, "home_secret": self.home / "secret", "home_new": self.home / "new",
            "own_state": self.client / "state.json", "other_state": self.root / "other" / "state.json",
            "work": self.client / "work", "cache": self.client / "cache", "cached": self.client / "cache" / "blob",
            "out": self.client / "out", "out_file": self.out_file, "program": self.program,
            "tmp_new": self.loose_ends[0], "shm_new": self.loose_ends[1],
            "victim_pid": self.victim.pid, "victim_address": self.address, "victim_shm": self.shm,
            "tcp_port": self.listen(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "tcp6_port": self.listen(socket.AF_INET6, socket.SOCK_STREAM, ("::1", 0)),
            "udp_port": self.listen(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "unix_path": unix_path, "abstract_name": abstract, "host_name": platform.node(),
            "block_device": block_device(),
            "library": library_of(HOSTILE),
        }
        arm(self.program, self.targets)

    def refresh(self):
        """What an attempt that succeeded may have spoilt."""
        for path in (self.client / "out").iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        for path in (*map(pathlib.Path, self.loose_ends), self.home / "new", self.client / "cache" / "new"):
            path.unlink(missing_ok=True)
        self.out_file.touch(mode=0o600)

    def attempt(self, name, layers):
        """(succeeded, detail)"""
        self.refresh()
        command = [BIN / "manyhands-sandbox", "run", "--layers", ",".join(layers) or "none",
                   "--input", self.client / "cache", "--output", self.client / "out",
                   "--memory-bytes", MEMORY_BYTES, "--mapped-bytes", 64 << 20, "--file-bytes", FILE_BYTES,
                   "--threads", 1, "--", self.program, "try", name]
        try:
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True, errors="replace",
                                  stdin=subprocess.DEVNULL, timeout=ATTEMPT_SECONDS, start_new_session=True,
                                  env={**os.environ, "MANYHANDS_TEST_SECRET": "secret-1"})
        except subprocess.TimeoutExpired:
            return False, "no answer"
        word, _, detail = done.stdout.strip().partition(" ")
        if done.returncode == RAN_ANOTHER_PROGRAM or word == "SUCCEEDED":
            return True, ""
        if word == "stopped":
            return False, detail
        if done.returncode == 125:
            raise RuntimeError(f"the sandbox itself failed: {done.stderr}")
        if done.returncode == 0 and name.startswith("run a"):
            return True, "ran"
        return False, f"ended by signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"


def arm(program, targets):
    """A hostile trainer that knows what to aim at: its targets stand behind its own code."""
    lines = "".join(f"{key}={value}\n" for key, value in targets.items())
    program.write_bytes(HOSTILE.read_bytes() + MARKER + lines.encode())
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IRUSR)


def library_of(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, timeout=10).stdout
    return next(line.split()[2] for line in out.splitlines() if "libstdc++" in line)


def block_device():
    for path in sorted(pathlib.Path("/dev").iterdir()):
        try:
            if path.is_block_device() and os.access(path, os.R_OK):
                return path
        except OSError:
            pass
    return "/dev/none"


def attempts():
    return subprocess.run([HOSTILE, "list"], capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()


def available_layers():
    """(layers, {missing layer: why}, notes)"""
    out = subprocess.run([BIN / "manyhands-sandbox", "probe"], capture_output=True, text=True, check=True,
                         timeout=60).stdout
    layers, missing, notes = [], {}, []
    for line in out.splitlines():
        word, _, rest = line.partition(" ")
        if word == "note":
            notes.append(rest)
        elif rest == "yes":
            layers.append(word)
        else:
            missing[word] = rest.removeprefix("no: ")
    return [layer for layer in LAYERS if layer in layers], missing, notes


def alone(layer, have):
    """One layer alone; an ordinary user's namespaces need the user namespace with them."""
    is_namespace = layer in NAMESPACES
    needs_user = is_namespace and layer != "user" and os.geteuid() != 0
    return [one for one in have if one == layer or (needs_user and one == "user")]


def without(layer, have):
    if layer == "user" and os.geteuid() != 0:
        return [one for one in have if one not in NAMESPACES]
    return [one for one in have if one != layer]


def table(have):
    """{attempt: {column: (succeeded, detail)}}"""
    columns = {"none": [], "all": have}
    columns.update({f"-{layer}": without(layer, have) for layer in have})
    columns.update({f"+{layer}": alone(layer, have) for layer in have})
    rows = {}
    with Range() as field:
        for name in attempts():
            rows[name] = {column: field.attempt(name, layers) for column, layers in columns.items()}
            print(row_text(name, rows[name], have), flush=True)
    return rows


def stoppers(row, have):
    """The layers each of which stops it alone."""
    return [layer for layer in have if not row[f"+{layer}"][0]]


def holes(row, have):
    """The layers without which it succeeds although all others are there."""
    return [layer for layer in have if row[f"-{layer}"][0]]


def row_text(name, row, have):
    if not row["none"][0]:
        outcome = f"refused without any layer ({row['none'][1]})"
    else:
        outcome = "stopped by " + (", ".join(stoppers(row, have)) or "no single layer")
    if row["all"][0]:
        outcome = "SUCCEEDED WITH ALL LAYERS; " + outcome
    alone_there = holes(row, have)
    return f"{name}: {outcome}" + (f"; succeeds without {', '.join(alone_there)}" if alone_there else "")


def markdown(rows, have, missing, notes):
    lines = ["| attempt | " + " | ".join(have) + " | without any | with all | succeeds with all but |",
             "|---|" + ":-:|" * len(have) + "---|---|---|"]
    for name, row in rows.items():
        is_real = row["none"][0]
        cells = ["■" if is_real and not row[f"+{layer}"][0] else "·" for layer in have]
        cells.append("succeeds" if is_real else row["none"][1])
        cells.append("**SUCCEEDS**" if row["all"][0] else row["all"][1])
        cells.append(", ".join(holes(row, have)) or "none")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    user = "root" if os.geteuid() == 0 else "an ordinary user"
    told = ", ".join(notes) + f", as {user}"
    if missing:
        told += "; missing here: " + ", ".join(f"{layer} ({why})" for layer, why in missing.items())
    counts = (f"{len(rows)} attempts: {sum(row['none'][0] for row in rows.values())} succeed without a sandbox, "
              f"{sum(row['all'][0] for row in rows.values())} with all layers.")
    return f"{told}. {counts}\n\n" + "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    table_verb = verbs.add_parser("table")
    table_verb.add_argument("--markdown", help="write the table to this file, too")
    try_verb = verbs.add_parser("try")
    try_verb.add_argument("--layers", default=",".join(LAYERS))
    try_verb.add_argument("names", nargs="*")
    options = parser.parse_args()
    have, missing, notes = available_layers()
    if options.verb == "try":
        layers = [layer for layer in options.layers.split(",") if layer != "none"]
        with Range() as field:
            for name in options.names or attempts():
                succeeded, detail = field.attempt(name, layers)
                print(f"{name}: {'SUCCEEDED' if succeeded else 'stopped'} {detail}", flush=True)
        return 0
    for layer, why in missing.items():
        print(f"MISSING HERE: {layer}: {why}")
    rows = table(have)
    succeeded = [name for name, row in rows.items() if row["all"][0]]
    control = sum(row["none"][0] for row in rows.values())
    print(f"{len(rows)} attempts, {control} succeed without a sandbox, {len(succeeded)} with all layers; "
          f"{sum(bool(holes(row, have)) for row in rows.values())} depend on a single layer")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(markdown(rows, have, missing, notes))
    return 1 if succeeded else 0


if __name__ == "__main__":
    sys.exit(main())
