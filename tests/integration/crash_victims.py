"""What the crash tests kill: server, clients and trainers, each told at its start at which named point to die.

A program's points (proto/base/kill_point.h) are dealt out like cards: a victim that has died is started again with the
next one. A victim that ends in any other way than by SIGKILL is a failure of the test.
"""

import os
import pathlib
import signal
import time

import harness

PROGRAMS = ("manyhands-server", "manyhands-client", "manyhands-trainer")

# Points that a program contains but does not pass while it serves, and why.
NOT_PASSED = {
    "manyhands-server": {name: "only rewinds pass it, and rewind_test.py kills there" for name in
                         ("rewind.before_decision", "rewind.after_decision")},
    "manyhands-trainer": {name: "only `reference` and downloads of models write files this way" for name in
                          ("file.before_fsync", "file.before_rename", "file.after_rename")},
}
# Points of the client that `attach` passes, not the daemon.
OF_ATTACH = ("file.before_fsync", "file.before_rename", "file.after_rename")
# These are passed once at a start, or only by what the test does itself now and then: killed at the first passage.
AT_FIRST_PASSAGE = ("file.", "upload.before_keep", "upload.after_keep", "upload.before_fsync")
# A victim that was told to die and has not passed its point by then: the point is not on the way.
ARMED_SECONDS_MAX = 90


def kill_points(program):
    """Names of the points that the program has and passes while it serves."""
    out, _ = harness.run(harness.BIN / program, env={**os.environ, "MANYHANDS_KILL_POINT": "list"})
    return [name for name in out.split() if name not in NOT_PASSED.get(program, {})]


class Deck:
    """The points of one program, each dealt once before any comes again."""

    def __init__(self, program, random, passage_max, leave_out=()):
        self.passage_max = passage_max
        self.points = [name for name in kill_points(program) if name not in leave_out]
        self.random = random
        self.waiting = []
        self.done = set()

    def is_done(self):
        return self.done.issuperset(self.points)

    def deal(self):
        """The next "name:N"."""
        if not self.waiting:
            self.waiting = list(self.points)
            self.random.shuffle(self.waiting)
        name = self.waiting.pop()
        count = 1 if name.startswith(AT_FIRST_PASSAGE) else self.random.randint(1, self.passage_max)
        return f"{name}:{count}"

    def take_back(self, point):
        """It was not this point that killed."""
        self.waiting.append(point.split(":")[0])

    def hit(self, point):
        self.done.add(point.split(":")[0])


class Victim:
    """A process that is killed and started again. `run` (crash_run.CrashRun) counts and deals."""

    def __init__(self, name, deck):
        self.name = name
        self.deck = deck
        self.point = None
        self.armed_at = 0.0
        self.was_struck = False

    def arm(self, point):
        self.point = point
        self.armed_at = time.monotonic()
        self.was_struck = False

    def settle_point(self):
        """After a death: was it the point? Returns what killed, for the log."""
        point, self.point = self.point, None
        if point is None or self.was_struck:
            if point is not None:
                self.deck.take_back(point)
            return "kill -9"
        self.deck.hit(point)
        return point

    def check_patience(self):
        if self.point and self.is_alive() and time.monotonic() - self.armed_at > ARMED_SECONDS_MAX:
            raise AssertionError(f"{self.name} has not passed {self.point} for {ARMED_SECONDS_MAX} s")

    def environment(self):
        return {"MANYHANDS_KILL_POINT": self.point or ""}


class Server(Victim):
    def __init__(self, cluster, deck):
        super().__init__("server", deck)
        self.cluster = cluster

    def is_alive(self):
        return self.cluster.server.poll() is None

    def exit_code(self):
        return self.cluster.server.returncode

    def strike(self):
        self.was_struck = True
        self.cluster.server.kill()

    def start(self):
        self.cluster.spawn_server(self.environment())


class Client(Victim):
    def __init__(self, volunteer, deck):
        super().__init__(volunteer.name, deck)
        self.volunteer = volunteer

    def is_alive(self):
        return self.volunteer.process.poll() is None

    def exit_code(self):
        return self.volunteer.process.returncode

    def strike(self):
        self.was_struck = True
        self.volunteer.process.kill()

    def start(self):
        self.volunteer.start({**self.environment(), "MANYHANDS_SANDBOX": str(sandbox_script(self.volunteer))})


# In the place of manyhands-sandbox, which the client starts and which lets this variable pass to the trainer.
TRAINER_SCRIPT = """#!/bin/sh
# Starts the trainer; the first one to find the file gets the point that is in it.
if [ "$1" = run ] && mv "{file}" "{file}.taken" 2>/dev/null; then MANYHANDS_KILL_POINT=$(cat "{file}.taken"); fi
export MANYHANDS_KILL_POINT
exec "{program}" "$@"
"""


def sandbox_script(volunteer):
    return pathlib.Path(volunteer.cluster.directory) / f"{volunteer.name}.sandbox"


class Trainer(Victim):
    """The trainer of one volunteer: the client starts it, so its point waits in a file. What dies is its sandbox's
    outermost process; the others must end with it."""

    def __init__(self, volunteer, deck):
        super().__init__(f"trainer of {volunteer.name}", deck)
        self.volunteer = volunteer
        self.file = pathlib.Path(volunteer.cluster.directory) / f"{volunteer.name}.point"
        self.script = sandbox_script(volunteer)
        self.script.write_text(TRAINER_SCRIPT.format(file=self.file,
                                                     program=harness.BIN / "manyhands-sandbox"))
        self.script.chmod(0o755)
        self.pid = None
        self.owner = None

    def find_pid(self):
        client = self.volunteer.process
        if client is None or client.poll() is not None:
            return None
        try:
            children = pathlib.Path(f"/proc/{client.pid}/task/{client.pid}/children").read_text().split()
        except OSError:
            return None
        for child in children:
            try:
                # Not what only tries which layers there are.
                if b"\0run\0" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
            except OSError:
                pass
        return None

    def is_alive(self):
        return self.find_pid() is not None

    def arm(self, point):
        super().arm(point)
        if point:
            self.file.write_text(point)

    def is_point_taken(self):
        return not self.file.exists()

    def look(self):
        """True once for each trainer that died while its client lived on."""
        pid, owner = self.find_pid(), self.volunteer.process
        died = self.pid is not None and pid != self.pid and owner is self.owner and owner.poll() is None
        taken_down = self.pid is not None and pid != self.pid and not died
        self.pid, self.owner = pid, owner
        if taken_down and self.point and self.is_point_taken():
            # It died with its client, not at its point.
            self.arm(self.point)
        return died

    def strike(self):
        pid = self.find_pid()
        if pid is None:
            return False
        self.was_struck = self.is_point_taken()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True
