"""The volunteer's own systemd service, with a systemctl of the test's that takes down what it is asked: machines that
run tests have no systemd of the user. And at a terminal the join line alone leads to work."""

import os
import pathlib
import pty
import subprocess
import tempfile
import unittest

from harness import BIN, Cluster, run, wait_until

SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$SYSTEMCTL_LOG"
case "$2" in is-enabled) echo enabled ;; is-active) echo active ;; esac
"""


class ServiceTest(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.start()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = pathlib.Path(folder.name)
        self.asked = self.home / "asked"
        (self.home / "bin").mkdir()
        program = self.home / "bin" / "systemctl"
        program.write_text(SYSTEMCTL)
        program.chmod(0o755)
        self.env = {"HOME": str(self.home), "PATH": f"{self.home}/bin:{os.environ['PATH']}",
                    "XDG_RUNTIME_DIR": str(self.home / "run"), "SYSTEMCTL_LOG": str(self.asked)}
        self.unit = self.home / ".config" / "systemd" / "user" / "manyhands-client.service"
        self.folder = self.home / ".local" / "share" / "manyhands-client"

    def start_manager(self):
        (self.home / "run" / "systemd").mkdir(parents=True)
        (self.home / "run" / "systemd" / "private").touch()

    def client(self, *arguments, expect=0):
        return run(BIN / "manyhands-client", *arguments, expect=expect, env=self.env)

    def words_to_systemctl(self):
        return self.asked.read_text().splitlines()

    def test_install_status_remove(self):
        self.start_manager()
        self.client("attach", "--yes", self.cluster.join_url())
        self.client("service", "status", expect=1)
        self.client("service", "install", "--", "--threads", "2", "--device", "cpu")
        text = self.unit.read_text()
        self.assertIn(f'"{BIN.resolve()}/manyhands-client" run "--dir" "{self.folder}" "--threads" "2"', text)
        self.assertEqual(self.words_to_systemctl(),
                         ["--user daemon-reload", "--user enable manyhands-client.service",
                          "--user restart manyhands-client.service"])
        self.assertIn("enabled, active", self.client("service", "status")[0])
        self.client("service", "remove")
        self.assertFalse(self.unit.exists())
        self.assertIn("--user disable --now manyhands-client.service", self.words_to_systemctl())
        self.client("service", "remove", expect=1)

    def test_dry_run_changes_nothing(self):
        text, _ = self.client("service", "install", "--dry-run", "--", "--trainer", 'a "b" 50% $c')
        self.assertIn('"--trainer" "a \\"b\\" 50%% $$c"', text)
        self.assertFalse(self.unit.exists())
        self.client("service", "install", "--dry-run", "--", "--trainer", "two\nlines", expect=2)

    def test_says_what_is_missing(self):
        _, text = self.client("service", "install", expect=1)
        self.assertIn("attach", text)
        self.client("attach", "--yes", self.cluster.join_url())
        _, text = self.client("service", "install", expect=1)
        self.assertIn("systemd/private is not there", text)
        self.assertFalse(self.unit.exists())

    def test_detach_takes_the_service_with_it(self):
        self.start_manager()
        self.client("attach", "--yes", "--service", self.cluster.join_url())
        self.assertTrue(self.unit.exists())
        self.client("detach")
        self.assertFalse(self.unit.exists())
        self.assertFalse(self.folder.exists())

    def attach_at_a_terminal(self, answers):
        outer, inner = pty.openpty()
        self.addCleanup(os.close, outer)
        process = subprocess.Popen(
            [BIN / "manyhands-client", "attach", self.cluster.join_url()],
            stdin=inner, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.env)
        os.close(inner)
        os.write(outer, answers)
        self.addCleanup(process.stdout.close)
        return process

    def test_at_a_terminal_the_join_line_offers_the_service(self):
        self.start_manager()
        process = self.attach_at_a_terminal(b"y\n\n")
        self.assertIn(b"in the background", process.stdout.read())
        self.assertEqual(process.wait(60), 0)
        self.assertTrue(self.unit.exists())

    def test_without_systemd_it_offers_to_work_in_the_terminal(self):
        process = self.attach_at_a_terminal(b"y\ny\n")
        self.addCleanup(process.kill)
        wait_until(lambda: (self.folder / "control.sock").exists(), 60, "the client to run")
        self.client("detach")
        self.assertEqual(process.wait(60), 0)

    def test_who_says_no_gets_the_command(self):
        process = self.attach_at_a_terminal(b"y\nn\n")
        self.assertIn(b"Start working with: manyhands-client run", process.stdout.read())
        self.assertEqual(process.wait(60), 0)
        self.assertFalse(self.unit.exists())


if __name__ == "__main__":
    unittest.main()
