"""The trainer's sandbox: nothing gets out of it, the daemon survives what comes out, the work goes on.

The whole table of attempts and layers is `make escapes`; here each attempt is made with all layers, by the launcher and by
a daemon. What this machine cannot give is said once, loudly, and left out.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import harness
from transfers_test import write_noise

sys.path.insert(0, str(harness.REPO / "tests" / "attack"))
import escapes  # noqa: E402

JOB = """
name: sandboxed
dataset: noise
model: {layers: [flatten, {linear: {out: 64}}, relu, {linear: {}}]}
loss: cross_entropy
training: {steps: 100000, batch: 512, shard: 512, micro_batch: 64}
optimizer: {kind: sgd, learning_rate: 0.01}
validation: {mode: none}
"""


def children_of(pid):
    found = []
    for task in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = task.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(task.parent.name))
    return found


def family_of(pid):
    """All living descendants."""
    family = []
    waiting = [pid]
    while waiting:
        for child in children_of(waiting.pop()):
            family.append(child)
            waiting.append(child)
    return family


def is_alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def stoppers():
    """{attempt: layers each of which stops it}, as docs/sandbox.md has it. What is refused without a sandbox: all."""
    rows = [[cell.strip() for cell in line.strip("| \n").split("|")]
            for line in (harness.REPO / "docs" / "sandbox.md").read_text().splitlines() if line.startswith("| ")]
    head = next(row for row in rows if row[0] == "attempt")
    plain = head.index("without any")
    return {row[0]: {layer for layer, cell in zip(head, row) if cell == "■" or row[plain] != "succeeds"}
            for row in rows if len(row) == len(head)}


def may_succeed(name, known, have, missing):
    """Where a layer is missing, what no layer that is there stops by itself is not to be judged."""
    return bool(missing) and not known[name].intersection(have)


class Layers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.have, cls.missing, cls.notes = escapes.available_layers()
        for layer, why in cls.missing.items():
            print(f"SANDBOX LAYER MISSING ON THIS MACHINE, NOT TESTED: {layer}: {why}", file=sys.stderr)

    def test_no_attempt_succeeds(self):
        """One process an attempt, all layers that there are."""
        known = stoppers()
        self.assertEqual(set(known) - {"attempt"}, set(escapes.attempts()), "docs/sandbox.md knows each attempt")
        succeeded = []
        with escapes.Range() as field:
            for name in escapes.attempts():
                if may_succeed(name, known, self.have, self.missing):
                    print(f"NOT TRIED, ITS LAYERS ARE MISSING HERE: {name}", file=sys.stderr)
                elif field.attempt(name, self.have)[0]:
                    succeeded.append(name)
        self.assertEqual(succeeded, [])

    def test_the_attempts_would_succeed_without(self):
        """So that the test above is not passed by attempts that can do nothing."""
        with escapes.Range() as field:
            for name in ("read a file in $HOME", "write into $HOME", "read a secret in the environment",
                         "signal the daemon", "connect by TCP", "connect to an abstract socket", "become two processes",
                         "make a link there to a secret", "huge sparse output", "run a shell"):
                self.assertTrue(field.attempt(name, [])[0], name)

    def test_each_layer_alone_lets_a_program_run(self):
        with escapes.Range() as field:
            for layer in self.have:
                field.attempt("read a file in $HOME", escapes.alone(layer, self.have))


class Launcher(unittest.TestCase):
    def run_in(self, *command, layers="all", **options):
        have, _, _ = escapes.available_layers()
        return subprocess.run([harness.BIN / "manyhands-sandbox", "run", "--layers",
                               ",".join(have) if layers == "all" else layers, "--", *command],
                              capture_output=True, text=True, timeout=60, **options)

    def test_it_ends_as_the_program_did(self):
        with escapes.Range() as field:
            self.assertEqual(self.run_in(field.program, "nonsense").returncode, 2)
            done = self.run_in(field.program, "try", "call as a 32-bit program")
            if "seccomp" in escapes.available_layers()[0]:
                self.assertEqual(done.returncode, -signal.SIGSYS)

    def test_a_script_is_no_trainer(self):
        done = self.run_in("/usr/bin/ldd")
        self.assertEqual(done.returncode, 125)
        self.assertIn("no ELF program", done.stderr)

    def test_an_unknown_layer_is_wrong_usage(self):
        done = self.run_in("/bin/true", layers="walls")
        self.assertEqual(done.returncode, 2)
        self.assertIn("landlock", done.stderr)

    def test_all_of_it_ends_whichever_part_is_killed(self):
        for victim in range(3):
            process = subprocess.Popen([harness.BIN / "manyhands-sandbox", "run", "--layers",
                                        ",".join(escapes.available_layers()[0]), "--",
                                        harness.BIN / "manyhands-trainer", "serve", "--device", "cpu"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            process.stdout.read(4)
            family = [process.pid, *family_of(process.pid)]
            self.assertEqual(len(family), 3, "launcher, first process, trainer")
            os.kill(family[victim], signal.SIGKILL)
            process.wait(timeout=10)
            harness.wait_until(lambda: not any(map(is_alive, family)), 10, "the end of all three")
            process.stdin.close()
            process.stdout.close()


class Daemon(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster()
        cls.cluster.start()
        cls.cluster.cli("dataset", "import", "noise", *write_noise(cls.cluster.directory), as_json=False)
        cls.field = escapes.Range().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.field.__exit__()
        if os.environ.get("MANYHANDS_SHOW_LOGS"):
            print(cls.cluster.describe_logs())
        cls.cluster.close()

    def setUp(self):
        # A job of its own: the hostile ones make workunits fail on every host.
        self.job = self.cluster.submit(JOB)

    def tearDown(self):
        for volunteer in self.cluster.volunteers.values():
            volunteer.stop()
        self.cluster.cli("job", "cancel", self.job, as_json=False)

    def volunteer(self, name, *options, program=None):
        more = ["--trainer", str(program)] if program else []
        return self.cluster.add_volunteer(name, run_options=["--device", "cpu", "--threads", "1", *options, *more])

    def hostile(self, name, mode, volunteer_options=()):
        """A volunteer whose trainer is hostile."""
        program = self.cluster.directory / f"hostile-{name}"
        own = self.cluster.directory / name
        escapes.arm(program, {**self.field.targets, "mode": mode, "program": program, "own_state": own / "state.json",
                              "work": own / "work", "cache": own / "cache", "out": own / "out",
                              "unix_path": own / "control.sock"})
        return self.volunteer(name, *volunteer_options, program=program)

    def test_a_hostile_trainer_under_a_real_daemon_gets_nowhere(self):
        have, missing, _ = escapes.available_layers()
        self.field.refresh()
        volunteer = self.hostile("burglar", "attempts")
        harness.wait_until(lambda: "trainer is ready" in volunteer.log_text(), 60, "all attempts made")
        told = re.findall(r"attempt\|([^|]*)\|([^|]*)\|", volunteer.log_text())
        self.assertGreater(len(told), 70)
        known = stoppers()
        self.assertEqual([name for name, outcome in told if outcome != "stopped" and
                          not may_succeed(name, known, have, missing)], [])
        self.assertEqual(volunteer.stop(), 0)

    def test_the_daemon_survives_what_a_trainer_sends(self):
        for mode, words in (("oversized", "a frame of 2147483647 bytes"), ("garbage", "the trainer sent a frame of"),
                            ("nested", "no JSON object"), ("wrong-types", "is not a whole number"),
                            ("flood", "more messages than it was asked for"),
                            ("flood-ready", "more messages than it was asked for"),
                            ("flood-done", "more messages than it was asked for"),
                            ("close-output", "the trainer ended"), ("flood-text", "says too much"),
                            ("endless-frame", "client started"), ("never-asked", "trainer is ready"),
                            ("lying-size", "the most for these parameters"), ("no-file", "has 0 bytes")):
            with self.subTest(mode):
                volunteer = self.hostile(mode, mode)
                harness.wait_until(lambda: words in volunteer.log_text(), 30, f"'{words}' in the log")
                begin = time.monotonic()
                self.assertEqual(volunteer.status()["pid"], volunteer.process.pid)
                self.assertLess(time.monotonic() - begin, 5)
                log_bytes = (self.cluster.directory / f"{mode}.log").stat().st_size
                self.assertLess(log_bytes, 200_000, "the log is no place to fill the disk")
                self.assertEqual(volunteer.stop(), 0)

    def test_an_output_has_room_for_one_update_and_no_more(self):
        volunteer = self.hostile("hoarder", "disk-bomb")
        harness.wait_until(lambda: "File size limit exceeded" in volunteer.log_text(), 60, "it is ended")
        self.assertNotIn("disk bomb:", volunteer.log_text())
        self.assertEqual(volunteer.stop(), 0)

    def test_a_trainer_cannot_talk_to_the_terminal(self):
        volunteer = self.hostile("painter", "terminal")
        harness.wait_until(lambda: "trainer is ready" in volunteer.log_text(), 30, "it is ready")
        text, _ = harness.run(harness.BIN / "manyhands-client", "status", "--dir", volunteer.directory)
        self.assertIn("owned", text)
        for character in ("\x1b", "\x07", "\x9b"):
            self.assertNotIn(character, text)
            self.assertNotIn(character, volunteer.log_text())
        self.assertEqual(volunteer.stop(), 0)

    def test_the_real_trainer_works_in_it_pauses_and_dies_with_the_daemon(self):
        have, missing, _ = escapes.available_layers()
        volunteer = self.volunteer("honest")
        harness.wait_until(lambda: (volunteer.status() or {}).get("valid_count", 0) +
                           (volunteer.status() or {}).get("pending_count", 0) > 0, 150, "a result is taken")
        status = volunteer.status()["sandbox"]
        self.assertEqual(status["layers"], have)
        self.assertEqual({one["layer"]: one["why"] for one in status["missing"]}, missing)
        self.assertIn("sandbox of the trainer", volunteer.log_text())
        text, _ = harness.run(harness.BIN / "manyhands-client", "status", "--dir", volunteer.directory)
        self.assertIn("sandbox", text)
        family = family_of(volunteer.process.pid)
        self.assertEqual(len(family), 3)
        begin = time.monotonic()
        harness.run(harness.BIN / "manyhands-client", "pause", "--dir", volunteer.directory)
        harness.wait_until(lambda: not any(map(is_alive, family)), 3, "the trainer is gone")
        print(f"paused: all gone after {(time.monotonic() - begin) * 1000:.0f} ms", file=sys.stderr)
        harness.run(harness.BIN / "manyhands-client", "resume", "--dir", volunteer.directory)
        harness.wait_until(lambda: len(family_of(volunteer.process.pid)) == 3, 20, "a new trainer")
        family = family_of(volunteer.process.pid)
        volunteer.kill()
        harness.wait_until(lambda: not any(map(is_alive, family)), 5, "no trainer outlives its daemon")

    def test_what_is_required_and_missing_is_refused_with_words(self):
        """A kernel without namespaces, played by a launcher that says so."""
        with tempfile.TemporaryDirectory() as folder:
            launcher = pathlib.Path(folder) / "sandbox"
            launcher.write_text("#!/bin/sh\nif [ \"$1\" = probe ]; then\n" +
                                f"'{harness.BIN}/manyhands-sandbox' probe | "
                                "sed 's/^mount yes/mount no: forbidden here/'\n"
                                f"else exec '{harness.BIN}/manyhands-sandbox' \"$@\"; fi\n")
            launcher.chmod(0o755)
            volunteer = harness.Volunteer(self.cluster, "strict", ["--sandbox", "require"])
            harness.run(harness.BIN / "manyhands-client", "attach", self.cluster.join_url(), "--dir",
                        volunteer.directory, "--name", "strict", "--yes", env=self.cluster.environment)
            environment = {**os.environ, "MANYHANDS_SANDBOX": str(launcher)}
            for policy in ("require", "mount", "namespaces,seccomp"):
                _, said = harness.run(harness.BIN / "manyhands-client", "run", "--dir", volunteer.directory,
                                      "--sandbox", policy, expect=1, env=environment)
                self.assertIn("mount (forbidden here)", said)
            _, said = harness.run(harness.BIN / "manyhands-client", "run", "--dir", volunteer.directory, "--sandbox",
                                  "perhaps", expect=2, env=environment)
            self.assertIn("auto, require, off", said)
            # Without being required it is told, and the work goes on under the layers that there are.
            volunteer.run_options = ["--device", "cpu", "--threads", "1", "--sandbox", "landlock,seccomp"]
            volunteer.start({"MANYHANDS_SANDBOX": str(launcher)})
            self.cluster.volunteers["strict"] = volunteer
            harness.wait_until(lambda: (volunteer.status() or {}).get("trainer_ready"), 150, "the trainer is ready")
            self.assertIn("mount (forbidden here)", volunteer.status()["sandbox"]["sentence"])
            self.assertIn("missing: mount (forbidden here)", volunteer.log_text())
            self.assertEqual(volunteer.stop(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
