#!/usr/bin/env python3
"""Limits of the real server: too many connections, held calls or commits, no descriptors left, a host
that asks too often. Whatever is refused is refused with Retry-After, status calls are answered, and
everything works again afterwards."""

import base64
import concurrent.futures
import http.client
import json
import os
import resource
import socket
import threading
import time
import unittest

import harness


class Overload(unittest.TestCase):
    def start(self, *options):
        self.cluster = harness.Cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.server_options = list(options)
        self.cluster.init_server()
        self.cluster.start_server()

    def post(self, method, message, token=None, connection=None):
        """One call; (status, headers, parsed reply)."""
        own = connection or http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=40)
        headers = {"Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        own.request("POST", f"/manyhands.v1.{method}", json.dumps(message), headers)
        reply = own.getresponse()
        body = reply.read()
        if connection is None:
            own.close()
        is_json = reply.headers.get("Content-Type", "") == "application/json"
        return reply.status, reply.headers, json.loads(body) if is_json else body

    def attach(self):
        secret = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
        invitation = (self.cluster.server_dir / "invitation").read_text().strip()
        message = {"protocolVersion": 1, "hostSecret": secret,
                   "description": {"name": "overload", "platform": "linux-x86_64", "threads": 1}}
        status, _, body = self.post("WorkService/Attach", message, invitation)
        self.assertEqual(status, 200, body)
        return secret

    def is_well(self):
        return self.post("ServerService/GetStatus", {})[0] == 200

    def cpu_seconds(self):
        fields = open(f"/proc/{self.cluster.server.pid}/stat").read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.cluster.port), timeout=10)

    def answer_of(self, connection):
        """The status line that a connection gets without asking, or what ended it."""
        connection.settimeout(10)
        try:
            return connection.recv(4096).decode()
        except ConnectionResetError:
            return "reset"

    def test_connections_beyond_the_limit_are_sent_away(self):
        self.start("--connections-max", 8)
        held = [self.connect() for _ in range(8)]
        with self.connect() as one_more:
            reply = self.answer_of(one_more)
        self.assertIn("503", reply)
        self.assertIn("Retry-After: ", reply)
        for connection in held:
            connection.close()
        harness.wait_until(self.is_well, 10, "the server to take calls again")

    def test_connections_of_one_address_are_limited_and_others_are_not_harmed(self):
        self.start("--connections-per-address-max", 4)
        held = [self.connect() for _ in range(4)]
        with self.connect() as one_more:
            self.assertIn("503", self.answer_of(one_more))
        other = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10,
                                           source_address=("127.0.0.2", 0))
        self.assertEqual(self.post("ServerService/GetStatus", {}, connection=other)[0], 200)
        for connection in [*held, other]:
            connection.close()

    def test_survives_without_descriptors(self):
        self.start()
        kept = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10)
        self.assertEqual(self.post("ServerService/GetStatus", {}, connection=kept)[0], 200)
        process = self.cluster.server.pid
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        in_use = len(os.listdir(f"/proc/{process}/fd"))
        resource.prlimit(process, resource.RLIMIT_NOFILE, (in_use + 4, before[1]))
        crowd = [self.connect() for _ in range(40)]
        # Those that found no descriptor are closed, not left hanging.
        ended = [self.answer_of(connection) for connection in crowd[10:]]
        self.assertEqual([reply for reply in ended if reply not in ("", "reset")], [])
        # Again and again, not only the first time.
        for _ in range(3):
            with self.connect() as one_more:
                self.assertIn(self.answer_of(one_more), ("", "reset"))
        cpu, begin = self.cpu_seconds(), time.monotonic()
        while time.monotonic() - begin < 1:
            self.assertEqual(self.post("ServerService/GetStatus", {}, connection=kept)[0], 200)
            time.sleep(0.1)
        self.assertLess(self.cpu_seconds() - cpu, 0.5, "the server spins")
        for connection in crowd:
            connection.close()
        harness.wait_until(lambda: self.try_status() == 200, 10, "new connections to be taken again")
        kept.close()

    def try_status(self):
        try:
            return self.post("ServerService/GetStatus", {})[0]
        except (OSError, http.client.HTTPException):
            return 0

    def test_starts_with_fewer_connections_where_descriptors_are_few(self):
        self.cluster = harness.Cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.init_server()
        own = resource.getrlimit(resource.RLIMIT_NOFILE)
        # The server inherits both limits; ours come back as far as they may.
        child = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))}
        self.cluster.server_process_options = child
        self.cluster.start_server()
        self.assertEqual(own, resource.getrlimit(resource.RLIMIT_NOFILE))
        self.assertIn("fewer connections than wanted", self.cluster.describe_logs())
        held = [self.connect() for _ in range(37)]
        with self.connect() as one_more:
            self.assertIn("503", self.answer_of(one_more))
        for connection in held:
            connection.close()

    def test_calls_beyond_those_that_can_be_held_are_answered_at_once(self):
        self.start("--held-calls-max", 2)
        secrets = [self.attach() for _ in range(3)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            ask = {"wantedCount": 1, "maxWaitMs": 3000}
            held = [pool.submit(self.post, "WorkService/Exchange", ask, secret)
                    for secret in secrets[:2]]
            time.sleep(0.5)
            begin = time.monotonic()
            status, _, body = self.post("WorkService/Exchange", ask, secrets[2])
            self.assertLess(time.monotonic() - begin, 2)
            self.assertEqual((status, body["backoffMs"]), (200, 10_000))
            for call in held:
                self.assertEqual(call.result()[0], 200)

    def test_a_host_that_asks_too_often_is_slowed_and_not_banned(self):
        self.start()
        secret = self.attach()
        other = self.attach()
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10)
        ask = {"wantedCount": 1}
        longest = 0
        for _ in range(2000):
            begin = time.monotonic()
            self.assertEqual(self.post("WorkService/Exchange", ask, secret, connection)[0], 200)
            longest = max(longest, time.monotonic() - begin)
            if longest > 0.1:
                break
        connection.close()
        # 100 in a row, then five a second: the call waits for its turn, on the server's terms.
        self.assertGreater(longest, 0.1)
        begin = time.monotonic()
        self.assertEqual(self.post("WorkService/Exchange", ask, other)[0], 200)
        self.assertLess(time.monotonic() - begin, 0.1)
        # Reports are answered as ever.
        report = {"reports": [{"resultId": 1, "outcome": "OUTCOME_RETURNED"}]}
        status, _, body = self.post("WorkService/Exchange", report, secret)
        self.assertEqual((status, body["verdicts"][0]["verdict"]), (200, "VERDICT_UNKNOWN"))

    def test_calls_are_refused_before_any_work_while_the_disk_is_behind(self):
        self.start("--commits-max", 1)
        outcomes = []
        lock = threading.Lock()

        def attach_some(_):
            for _ in range(20):
                secret = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
                message = {"protocolVersion": 1, "hostSecret": secret,
                           "description": {"name": "many", "platform": "x", "threads": 1}}
                status, headers, _ = self.post("WorkService/Attach", message, invitation)
                with lock:
                    outcomes.append((status, headers.get("Retry-After")))

        invitation = (self.cluster.server_dir / "invitation").read_text().strip()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(attach_some, range(16)))
        self.assertEqual({outcome for outcome in outcomes if outcome[0] != 200}, {(503, "1")})
        done = sum(status == 200 for status, _ in outcomes)
        self.assertGreater(done, 0)
        hosts = self.cluster.call("HostService/ListHosts", {})["hosts"]
        self.assertEqual(len(hosts), done, "a refused call attached a host")


if __name__ == "__main__":
    unittest.main()
