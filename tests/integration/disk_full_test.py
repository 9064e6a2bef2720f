"""A real server on a disk that is really full: it says so, refuses, answers, and goes on by itself.

The disk is a small tmpfs in a mount namespace of the server's own, which needs root or unprivileged user namespaces;
without either the test is skipped (tests/unit/server/*_faults_test.cpp need neither).
"""

import http.client
import json
import os
import pathlib
import shutil
import subprocess
import time
import unittest

import crash_courier
import crash_run
import harness

# Both well above what the database's WAL takes in the second between two looks.
DISK_BYTES = 200_000_000
RESERVE_BYTES = 64_000_000
JOB = crash_run.JOBS["large"].replace("steps: 60", "steps: 400")


class SmallDisk:
    """A tmpfs that exists inside a namespace, held by a sleeping process."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        is_root = os.geteuid() == 0
        flags = ["-m"] if is_root else ["-r", "-m"]
        script = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && echo ready && exec sleep 3600'
        self.holder = subprocess.Popen(["unshare", *flags, "sh", "-c", script, str(folder)],
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.is_usable = self.holder.stdout.readline() == "ready\n"
        self.prefix = ["nsenter", "-t", str(self.holder.pid), *([] if is_root else ["-U", "--preserve-credentials"]),
                       "-m", "--"]

    def path(self, name):
        """The file as seen from here."""
        return pathlib.Path(f"/proc/{self.holder.pid}/root{self.folder}/{name}")

    def leave(self, count):
        """Fills the disk until `count` bytes are free."""
        with open(self.path("ballast"), "ab") as ballast:
            while True:
                status = os.statvfs(self.path(""))
                surplus = status.f_bavail * status.f_frsize - count
                if surplus < 4096:
                    return
                ballast.write(bytes(min(surplus, 1 << 20)))
                ballast.flush()

    def empty(self):
        self.path("ballast").unlink()

    def close(self):
        self.holder.kill()
        self.holder.wait()
        self.holder.stdout.close()


@unittest.skipIf(shutil.which("unshare") is None or shutil.which("nsenter") is None, "no unshare and nsenter")
class DiskFull(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster()
        self.addCleanup(self.cluster.close)
        disk = self.cluster.directory / "disk"
        self.cluster.server_dir = disk / "server"
        self.cluster.server_dir.mkdir(parents=True)
        self.disk = SmallDisk(disk)
        self.addCleanup(self.disk.close)
        if not self.disk.is_usable:
            self.skipTest("a mount namespace needs root or unprivileged user namespaces")
        self.cluster.server_prefix = self.disk.prefix
        self.cluster.server_options = ["--disk-reserve", str(RESERVE_BYTES)]

    def start(self):
        self.cluster.init_server()
        # Where the harness looks for it.
        shutil.copy(self.disk.path("server/admin.token"), self.cluster.server_dir / "admin.token")
        self.cluster.start_server()
        self.cluster.cli("login", self.cluster.url, "--token-file", self.cluster.server_dir / "admin.token",
                         as_json=False)
        self.stripes = crash_run.write_stripes(self.cluster.directory)
        self.cluster.cli("dataset", "import", "stripes", *self.stripes, as_json=False)

    def status(self, token=None):
        return self.cluster.call("ServerService/GetStatus", {}, token=token).get("degraded", "")

    def page(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10)
        connection.request("GET", path)
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    def post(self, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10)
        connection.request("POST", path, body=body,
                           headers={"Authorization": f"Bearer {self.cluster.token()}", **headers})
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, reply.headers, text

    def test_a_full_disk_is_told_refused_survived_and_over_by_itself(self):
        self.start()
        job = self.cluster.submit(JOB)
        self.cluster.add_volunteer("one", trusted=True)
        self.cluster.add_volunteer("two")
        self.cluster.wait_for_step(job, 20)
        self.disk.leave(RESERVE_BYTES * 3 // 4)
        harness.wait_until(self.status, 10, "the server says that it is degraded")
        self.check_what_it_says()
        self.check_what_it_refuses()
        step = self.check_that_it_rests(job)
        self.disk.leave(0)
        self.check_that_it_lives()
        self.disk.empty()
        harness.wait_until(lambda: self.status() == "", 10, "the server is no longer degraded")
        self.cluster.wait_for_step(job, step + 50)
        self.assertEqual(self.cluster.wait_for_job(job, timeout=120)["state"], "JOB_STATE_FINISHED")
        self.check_numbers(job)

    def check_what_it_says(self):
        text = self.status(token="")
        self.assertRegex(text, r"^disk full: [\d.]+ [KM]?B free, 64.0 MB are kept in reserve; free some space")
        self.assertNotIn(str(self.cluster.server_dir), text)
        self.assertIn(str(self.cluster.server_dir), self.status())
        self.assertIn("manyhands_degraded 1\n", self.page("/metrics"))
        self.assertIn("degraded: disk full", self.page("/healthz"))
        log = (self.cluster.directory / "server.log").read_text()
        self.assertEqual(log.count("degraded: disk full"), 1, log)
        self.assertIn(f"folder={self.cluster.server_dir}", log)

    def check_what_it_refuses(self):
        status, headers, text = self.post("/upload", b"", {
            "Tus-Resumable": "1.0.0", "Upload-Length": "5", "Upload-Metadata": crash_courier.metadata(b"hello")})
        self.assertEqual((status, headers["Retry-After"]), (503, "10"), text)
        self.assertIn("degraded: disk full", text)
        status, headers, text = self.post("/manyhands.v1.JobService/SubmitJob", json.dumps({"yaml": JOB}).encode(),
                                          {"Content-Type": "application/json"})
        self.assertEqual((status, headers["Retry-After"]), (503, "10"), text)
        self.assertEqual(json.loads(text)["code"], "unavailable")

    def check_that_it_rests(self, job):
        """What was under way ends; nothing new begins."""
        time.sleep(1)
        step = self.cluster.step(job)
        time.sleep(2)
        self.assertLessEqual(self.cluster.step(job), step + 1)
        return step

    def check_that_it_lives(self):
        end = time.monotonic() + 3
        while time.monotonic() < end:
            self.assertIn("disk full", self.status())
            self.assertIn("manyhands_degraded 1\n", self.page("/metrics"))
            time.sleep(0.1)
        self.assertIsNone(self.cluster.server.poll())

    def check_numbers(self, job):
        data = self.cluster.directory / "data"
        harness.run(harness.BIN / "manyhands", "dataset", "import", "stripes", *self.stripes, "--to-dir", data)
        reference = harness.reference_digests(JOB, data, self.cluster.directory)
        self.assertEqual(self.cluster.step_digests(job), reference)
        summary = self.cluster.summary(job)
        self.assertEqual(summary["samplesCounted"], summary["samplesExpected"])
        self.assertEqual(int(summary.get("samplesDoubled", 0)) + int(summary.get("samplesMissing", 0)), 0)
        for name, volunteer in self.cluster.volunteers.items():
            self.assertEqual(volunteer.stop(), 0, name)
        for host in self.cluster.cli("host", "list")["hosts"]:
            self.assertEqual(host.get("failedCount", "0"), "0", "a full disk is no fault of a host")
            self.assertEqual(host.get("rejectedCount", "0"), "0")


if __name__ == "__main__":
    unittest.main(verbosity=2)
