"""Calls that the server holds end for real: when their time is up, and when their caller has gone.

The handler has ended when its place among the parked calls is free again, which /metrics tells.
"""

import base64
import json
import re
import secrets
import socket
import time
import unittest
import urllib.request

import harness

HELD_PER_OWNER_MAX = 64  # server/parked_calls.h


class Caller:
    """A call by hand, whose socket can be dropped."""

    def __init__(self, port, method, message, secret, timeout_ms=None):
        body = json.dumps(message).encode()
        limit = f"Connect-Timeout-Ms: {timeout_ms}\r\n" if timeout_ms is not None else ""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.sendall(
            f"POST /manyhands.v1.{method} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {secret}\r\nContent-Type: application/json\r\n{limit}"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

    def reply(self):
        """Status and body, once the server has answered and closed."""
        text = b""
        while piece := self.socket.recv(65536):
            text += piece
        self.socket.close()
        head, _, body = text.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body)

    def go(self):
        self.socket.close()


class Deadlines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster()
        cls.cluster.start()
        cls.secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        invitation = cls.cluster.join_url().split("#")[1]
        cls.cluster.call("WorkService/Attach", {
            "protocolVersion": 1, "hostSecret": cls.secret,
            "description": {"name": "by hand", "platform": "linux-x86_64", "threads": 1}},
            token=invitation)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def park(self, **options):
        return Caller(self.cluster.port, "WorkService/Exchange",
                      {"wantedCount": 1, "maxWaitMs": 25000}, self.secret, **options)

    def metric(self, name):
        with urllib.request.urlopen(f"{self.cluster.url}/metrics", timeout=10) as reply:
            text = reply.read().decode()
        return float(re.search(rf"^manyhands_{name} (\S+)$", text, re.M).group(1))

    def wait_for_parked(self, count):
        harness.wait_until(lambda: self.metric("calls_parked") == count, 10, f"{count} parked calls")

    def test_a_held_call_is_answered_before_its_time_is_up(self):
        begin = time.monotonic()
        status, body = self.park(timeout_ms=3000).reply()
        elapsed = time.monotonic() - begin
        self.assertEqual(status, 200, body)
        self.assertIn("noWorkReason", body)
        self.assertGreater(elapsed, 2.0)
        self.assertLess(elapsed, 10)  # the machine may be busy; it asked to wait 25 s
        self.wait_for_parked(0)
        self.assertEqual(self.metric("http_calls_open"), 0)

    def test_a_call_without_time_to_wait_is_answered_at_once(self):
        status, _ = self.park(timeout_ms=200).reply()
        self.assertIn(status, (200, 504))
        self.wait_for_parked(0)

    def test_a_caller_that_goes_away_frees_its_place(self):
        for _ in range(2):
            callers = [self.park() for _ in range(HELD_PER_OWNER_MAX)]
            self.wait_for_parked(HELD_PER_OWNER_MAX)
            # No room for one more of this host: it is not held.
            begin = time.monotonic()
            self.assertEqual(self.park().reply()[0], 200)
            self.assertLess(time.monotonic() - begin, 10)
            for caller in callers:
                caller.go()
            self.wait_for_parked(0)
        self.assertEqual(self.metric("http_calls_open"), 0)

    def test_somebody_who_watches_a_job_and_goes_is_let_go(self):
        self.cluster.cli("dataset", "import", "stripes", *self.write_data(), as_json=False)
        job_id = self.cluster.submit(JOB)
        version = self.cluster.call("JobService/GetJob", {"id": job_id})["job"].get("version", "0")
        watcher = Caller(self.cluster.port, "JobService/WatchJob",
                         {"id": job_id, "afterVersion": version, "maxWaitMs": 25000},
                         self.cluster.token())
        self.wait_for_parked(1)
        watcher.go()
        self.wait_for_parked(0)

    def write_data(self):
        inputs, targets = self.cluster.directory / "x.npy", self.cluster.directory / "y.npy"
        for path, shape, content in ((inputs, "(8, 2)", bytes(16)), (targets, "(8,)", bytes([0, 1] * 4))):
            text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
            text += " " * (63 - (10 + len(text)) % 64) + "\n"
            path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + content)
        return ["--train-inputs", str(inputs), "--train-targets", str(targets)]


JOB = """
name: watched
dataset: stripes
model: {layers: [{linear: {}}]}
loss: cross_entropy
training: {steps: 3, batch: 4, shard: 4, micro_batch: 4}
optimizer: {kind: sgd, learning_rate: 0.5}
"""


if __name__ == "__main__":
    unittest.main(verbosity=2)
