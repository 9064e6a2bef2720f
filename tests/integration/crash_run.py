"""A real server, real clients and real trainers, killed over and over while jobs train.

    server, three clients, their trainers      told at each start at which named point to die (crash_victims.py)
    random moments                             kill -9 of any of them
    jobs                                       always two running; the next is submitted when one has finished
    courier                                    uploads in two halves that go on after a kill
    newcomers                                  `attach`, killed while it writes its state, then repeated

Everything random comes from one seed. The moments are real ones, so a seed repeats the plan, not the interleaving.
crash_checks.py compares at the end.
"""

import http.client
import random
import signal
import struct
import time
import urllib.error

import crash_victims
import harness
from crash_courier import Courier

CLIENTS = 3
SLOTS = 2
RESTART_SECONDS_MAX = 0.2
# A short run hits each point soon; a long one has time for late passages and more random moments.
SHORT_KILLS_MAX = 100
SHORT = {"passage_max": 3, "strike_seconds_max": 4.0}
LONG = {"passage_max": 12, "strike_seconds_max": 1.2}
# Nothing moves for so long: something hangs.
STALL_SECONDS_MAX = 120
END_SECONDS_MAX = 180

JOB = """
name: {name}
dataset: stripes
seed: 3
model: {model}
loss: cross_entropy
training: {{steps: {steps}, batch: 64, shard: 8, micro_batch: 8}}
optimizer: {optimizer}
evaluation: {{split: test, every_steps: 20}}
"""
# The large one's files are of a size that the blob store uses again; the small one's are not.
JOBS = {
    "large": JOB.format(name="large", steps=60, model="{preset: mlp, hidden: [64]}",
                        optimizer="{kind: adamw, learning_rate: 0.002}"),
    "small": JOB.format(name="small", steps=100, model="{layers: [flatten, {linear: {}}]}",
                        optimizer="{kind: sgd, learning_rate: 0.1, momentum: 0.9}"),
}


def idx(shape, payload):
    return bytes([0, 0, 8, len(shape)]) + b"".join(struct.pack(">I", size) for size in shape) + payload


def write_stripes(directory, count=400):
    """16×16 images whose bright rows are their class."""
    images, labels = bytearray(), bytearray()
    for index in range(count):
        label = index % 4
        labels.append(label)
        for row in range(16):
            images += bytes((200 if row // 4 == label else 0) + (index * 7 + row * column) % 50
                            for column in range(16))
    (directory / "x.idx").write_bytes(idx((count, 16, 16), bytes(images)))
    (directory / "y.idx").write_bytes(idx((count,), bytes(labels)))
    return ["--train-inputs", str(directory / "x.idx"), "--train-targets", str(directory / "y.idx"),
            "--split", "test=0.2"]


class CrashRun:
    """One run: `kills` deaths at least, and each named point once."""

    def __init__(self, cluster, kills, seed, tell=lambda text: None):
        self.cluster = cluster
        self.kills = kills
        self.random = random.Random(seed)
        self.tell = tell
        self.deaths = {}
        self.finished = []
        self.slots = [None] * SLOTS
        self.submitted = 0
        self.restarts = []
        self.newcomers = []
        self.is_ending = False
        self.pace = SHORT if kills <= SHORT_KILLS_MAX else LONG
        leave_out = {"manyhands-client": crash_victims.OF_ATTACH}
        self.decks = {program: crash_victims.Deck(program, self.random, self.pace["passage_max"],
                                                  leave_out.get(program, ()))
                      for program in crash_victims.PROGRAMS}

    @property
    def kill_count(self):
        return sum(self.deaths.values())

    # --- before and after -----------------------------------------------------------------------

    def set_up(self):
        cluster = self.cluster
        cluster.start()
        cluster.cli("dataset", "import", "stripes", *write_stripes(cluster.directory), as_json=False)
        # Few: a job is short, and its updates must come to be given up while things still die.
        cluster.server_options += ["--keep-steps", "3"]
        self.server = crash_victims.Server(cluster, self.decks["manyhands-server"])
        self.clients, self.trainers = [], []
        for index in range(CLIENTS):
            volunteer = harness.Volunteer(cluster, f"volunteer-{index}", [])
            self.trainers.append(crash_victims.Trainer(volunteer, self.decks["manyhands-trainer"]))
            volunteer.run_options = ["--device", "cpu", "--threads", "1", "--verbose"]
            harness.run(harness.BIN / "manyhands-client", "attach", cluster.join_url(), "--dir",
                        volunteer.directory, "--name", volunteer.name, "--yes", env=cluster.environment)
            cluster.volunteers[volunteer.name] = volunteer
            if index < 2:
                cluster.cli("host", "trust", cluster.host(volunteer.name)["id"])
            self.clients.append(crash_victims.Client(volunteer, self.decks["manyhands-client"]))
        # Points of the trainer are dealt to one volunteer: a workunit must not fail on every host.
        self.named_trainer = self.trainers[-1]
        self.courier = Courier(cluster, self.random)
        self.newcomer_points = list(crash_victims.OF_ATTACH)
        self.deal(self.named_trainer)
        for client in self.clients:
            self.deal(client)
            client.start()

    def run(self):
        self.set_up()
        self.next_strike = time.monotonic() + 1
        self.moved_at = time.monotonic()
        while self.kill_count < self.kills or not all(deck.is_done() for deck in self.decks.values()):
            self.turn()
        self.end()

    def turn(self):
        for victim in [self.server, *self.clients]:
            self.tend(victim)
        for trainer in self.trainers:
            self.tend_trainer(trainer)
        self.start_again()
        self.keep_jobs_running()
        if not self.is_ending:
            self.strike()
            self.bring_newcomer()
            self.courier.step()
        if time.monotonic() - self.moved_at > STALL_SECONDS_MAX:
            raise AssertionError(f"no step and no kill for {STALL_SECONDS_MAX} s")
        time.sleep(0.005)

    def end(self):
        """No more kills: what was told to die does so once more, then the jobs are finished."""
        self.is_ending = True
        for victim in [self.server, *self.clients]:
            if victim.point and victim.is_alive():
                victim.strike()
        if self.named_trainer.point:
            self.named_trainer.file.unlink(missing_ok=True)
            self.named_trainer.strike()
        deadline = time.monotonic() + END_SECONDS_MAX
        while any(self.slots) or self.restarts:
            self.turn()
            if time.monotonic() > deadline:
                raise AssertionError(f"jobs {self.slots} are not finished {END_SECONDS_MAX} s after the last kill")

    # --- victims --------------------------------------------------------------------------------

    def deal(self, victim):
        victim.arm(None if self.is_ending else victim.deck.deal())

    def count(self, victim, cause):
        kind = victim.name.split()[0].split("-")[0]
        kind = {"trainer": "trainer", "volunteer": "client"}.get(kind, kind)
        self.deaths[kind] = self.deaths.get(kind, 0) + 1
        self.moved_at = time.monotonic()
        self.tell(f"kill {self.kill_count}: {victim.name} by {cause}")

    def tend(self, victim):
        if any(waiting is victim for _, waiting in self.restarts):
            return
        if victim.is_alive():
            victim.check_patience()
            return
        code = victim.exit_code()
        if code != -signal.SIGKILL:
            raise AssertionError(f"{victim.name} ended by itself: exit code {code}\n" + self.cluster.describe_logs())
        self.count(victim, victim.settle_point())
        self.restarts.append((time.monotonic() + self.random.uniform(0, RESTART_SECONDS_MAX), victim))

    def tend_trainer(self, trainer):
        if not trainer.look():
            return
        is_of_next = trainer.point and not trainer.is_point_taken()
        self.count(trainer, "kill -9" if is_of_next else trainer.settle_point())
        if trainer is self.named_trainer and not is_of_next:
            self.deal(trainer)

    def start_again(self):
        now = time.monotonic()
        for item in [item for item in self.restarts if item[0] <= now]:
            self.restarts.remove(item)
            self.deal(item[1])
            item[1].start()

    def strike(self):
        if time.monotonic() < self.next_strike:
            return
        self.next_strike = time.monotonic() + self.random.uniform(0, self.pace["strike_seconds_max"])
        victim = self.random.choice([self.server, self.server, *self.clients, *self.trainers])
        # What was told to die gets its chance three times out of four.
        if victim.is_alive() and (not victim.point or self.random.random() < 0.25):
            victim.strike()

    def bring_newcomer(self):
        """Attaches one more host; the first try is killed while it writes its state."""
        if not self.newcomer_points or not self.server.is_alive():
            return
        point = self.newcomer_points[0]
        name = f"newcomer-{len(self.newcomers)}"
        command = [harness.BIN / "manyhands-client", "attach", self.cluster.join_url(), "--dir",
                   self.cluster.directory / name, "--name", name, "--yes"]
        passage = self.random.randint(1, 2)
        environment = {**self.cluster.environment, "MANYHANDS_KILL_POINT": f"{point}:{passage}"}
        try:
            harness.run(*command, env=environment, expect=-signal.SIGKILL)
        except harness.CommandFailed:
            return  # The server was down.
        self.newcomer_points.pop(0)
        self.newcomers.append(name)
        self.deaths["client"] = self.deaths.get("client", 0) + 1
        self.tell(f"kill {self.kill_count}: attach of {name} by {point}:{passage}")
        harness.wait_until(lambda: self.attach_again(command), 60, f"{name} attaches after a kill")

    def attach_again(self, command):
        self.tend(self.server)
        self.start_again()
        try:
            harness.run(*command, env=self.cluster.environment)
            return True
        except harness.CommandFailed:
            return False

    # --- jobs -----------------------------------------------------------------------------------

    def try_call(self, method, message):
        """The reply, or None: the server is down, or died while it answered."""
        try:
            return self.cluster.call(method, message, timeout=10)
        except (urllib.error.URLError, http.client.HTTPException, OSError):
            return None

    def keep_jobs_running(self):
        for index, slot in enumerate(self.slots):
            if slot is None and self.is_ending:
                continue
            if slot is None:
                kind = sorted(JOBS)[index % len(JOBS)]
                slot = self.slots[index] = {"kind": kind, "request": f"job-{self.submitted}", "id": None,
                                            "step": 0, "look_at": 0.0}
                self.submitted += 1
            if time.monotonic() >= slot["look_at"]:
                slot["look_at"] = time.monotonic() + 0.1
                self.look_after(index, slot)

    def look_after(self, index, slot):
        if slot["id"] is None:
            # Safe to repeat: the same request makes no second job.
            reply = self.try_call("JobService/SubmitJob", {"yaml": JOBS[slot["kind"]], "requestId": slot["request"]})
            slot["id"] = int(reply["job"]["id"]) if reply else None
            return
        reply = self.try_call("JobService/GetJob", {"id": slot["id"]})
        if not reply:
            return
        job = reply["job"]
        if int(job.get("step", 0)) < slot["step"]:
            raise AssertionError(f"job {slot['id']} went back from step {slot['step']} to {job.get('step', 0)}")
        if int(job.get("step", 0)) > slot["step"]:
            slot["step"] = int(job["step"])
            self.moved_at = time.monotonic()
        if job["state"] == "JOB_STATE_FINISHED":
            self.finished.append(slot)
            self.slots[index] = None
        elif job["state"] != "JOB_STATE_RUNNING":
            raise AssertionError(f"job {slot['id']} is {job['state']}: {job.get('stateReason')}")
