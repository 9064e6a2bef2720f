"""Transfers that are cut, servers and clients that die in their middle, a client without network.

Real processes. The client's network is tests/integration/relay.py; tus is spoken over a plain
socket, so that a request can be left half sent.
"""

import base64
import hashlib
import http.client
import pathlib
import random
import re
import socket
import struct
import time
import unittest

import harness
from relay import Relay

# A workunit takes about a second on one core, so that there is time to take its network away.
JOB = """
name: slow
dataset: noise
model: {layers: [flatten, {linear: {out: 1500}}, relu, {linear: {out: 1500}}, relu, {linear: {}}]}
loss: cross_entropy
training: {steps: STEPS, batch: 512, shard: 512, micro_batch: 16}
optimizer: {kind: sgd, learning_rate: 0.01}
validation: {mode: none}
"""


def write_noise(directory, count=1200, side=32):
    """Random images with random classes: nothing to learn, bytes to move."""
    chance = random.Random(5)
    directory = pathlib.Path(directory)

    def npy(shape, payload):
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
        text += " " * (63 - (10 + len(text)) % 64) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + payload

    images = chance.randbytes(count * side * side)
    (directory / "x.npy").write_bytes(npy((count, side, side), images))
    (directory / "y.npy").write_bytes(npy((count,), bytes(i % 4 for i in range(count))))
    return ["--train-inputs", str(directory / "x.npy"), "--train-targets", str(directory / "y.npy")]


def undelivered(volunteer):
    status = volunteer.status()
    return status and status["undelivered_count"]


def kept_files(volunteer):
    """Files of finished results on the client's disk, those that are being written left out."""
    return sorted(path.suffix for path in (volunteer.directory / "work").iterdir()
                  if path.suffix in (".json", ".update"))


class ClientWithoutNetwork(unittest.TestCase):
    def start(self, cluster, steps):
        cluster.start()
        cluster.cli("dataset", "import", "noise", *write_noise(cluster.directory), as_json=False)
        return cluster.submit(JOB.replace("STEPS", str(steps)))

    def take_network_away_while_it_computes(self, cluster, relay, laptop, job_id):
        """Returns when a finished result waits on the laptop's disk and its lease is over."""
        cluster.wait_for_step(job_id, 2)
        harness.wait_until(lambda: (laptop.status() or {}).get("activity") == "computing", 60,
                           "the laptop computes")
        relay.cut()
        harness.wait_until(lambda: undelivered(laptop), 120, "a result finished without network")

    def log_of(self, cluster, job_id):
        entries = cluster.call("JobService/GetJobLog", {"id": job_id, "entryCountMax": 500})
        return [entry["text"] for entry in entries["entries"]]

    def test_a_late_result_counts_also_after_a_restart_of_the_client(self):
        with harness.Cluster() as cluster:
            job_id = self.start(cluster, 5)
            with Relay(cluster.port) as relay:
                laptop = cluster.add_volunteer("laptop", by_way_of=relay.port)
                self.take_network_away_while_it_computes(cluster, relay, laptop, job_id)
                laptop.kill()
                self.assertEqual(kept_files(laptop), [".json", ".update"])
                laptop.start()
                harness.wait_until(lambda: undelivered(laptop), 60, "the restarted client has it")
                harness.wait_until(
                    lambda: any("is lost" in text for text in self.log_of(cluster, job_id)), 180,
                    "the lease runs out")
                step = cluster.step(job_id)
                relay.restore()
                cluster.wait_for_step(job_id, step + 1, timeout=180)
                lost = self.lost_result(self.log_of(cluster, job_id))
                self.assertIn(f"result {lost} was finished in an earlier run", laptop.log_text())
                cluster.wait_for_job(job_id)
                # The late result itself counted: nobody computed its workunit again.
                host = cluster.summary(job_id)["hosts"][0]
                self.assertEqual(int(host["validCount"]), 5)
                self.assertEqual(int(host.get("reissuedCount", 0)), 0)
                self.assertEqual(int(host["lostCount"]), 1)
                harness.wait_until(lambda: kept_files(laptop) == [], 30, "the records are gone")

    @staticmethod
    def lost_result(log):
        return next(re.match(r"result (\d+) ", text).group(1) for text in log if "is lost" in text)

    def test_a_result_that_is_too_late_is_deleted_and_does_not_count(self):
        with harness.Cluster() as cluster:
            job_id = self.start(cluster, 6)
            with Relay(cluster.port) as relay:
                laptop = cluster.add_volunteer("laptop", by_way_of=relay.port)
                self.take_network_away_while_it_computes(cluster, relay, laptop, job_id)
                step = cluster.step(job_id)
                cluster.add_volunteer("other")
                cluster.wait_for_step(job_id, step + 1, timeout=180)
                relay.restore()
                harness.wait_until(lambda: kept_files(laptop) == [], 180, "the result is deleted")
                self.assertRegex(laptop.log_text(), "no longer wanted|came too late")
                cluster.wait_for_job(job_id)
            summary = cluster.summary(job_id)
            self.assertEqual(summary["samplesCounted"], summary["samplesExpected"])
            self.assertEqual(int(summary.get("samplesDoubled", 0)), 0)
            self.assertEqual(sum(int(host["validCount"]) for host in summary["hosts"]), 6)

    def test_a_server_that_is_down_while_results_are_finished_gets_them_later(self):
        with harness.Cluster() as cluster:
            job_id = self.start(cluster, 5)
            laptop = cluster.add_volunteer("laptop")
            cluster.wait_for_step(job_id, 2)
            harness.wait_until(lambda: (laptop.status() or {}).get("activity") == "computing", 60,
                               "it computes")
            cluster.kill_server()
            harness.wait_until(lambda: undelivered(laptop), 120, "a result finished meanwhile")
            laptop.kill()
            laptop.start()
            harness.wait_until(lambda: undelivered(laptop), 60, "the restarted client has it")
            cluster.start_server()
            cluster.wait_for_job(job_id)
            host = cluster.summary(job_id)["hosts"][0]
            self.assertEqual(int(host["validCount"]), 5)
            self.assertEqual(int(host.get("failedCount", 0)), 0)


class Downloads(unittest.TestCase):
    def test_what_a_killed_client_left_is_gone_on_with_also_when_the_server_dies(self):
        with harness.Cluster() as cluster:
            cluster.start()
            data = write_noise(cluster.directory, count=6000, side=64)
            cluster.cli("dataset", "import", "noise", *data, as_json=False)
            job_id = cluster.submit(JOB.replace("STEPS", "1").replace("1500", "8"))
            with Relay(cluster.port, bytes_per_second=4_000_000) as relay:
                laptop = cluster.add_volunteer("laptop", by_way_of=relay.port)
                parts = self.wait_for_part(laptop, 2_000_000)
                laptop.kill()
                laptop.start()
                relay.server_port = cluster.port
                self.wait_for_part(laptop, parts + 2_000_000)
                cluster.kill_server()
                cluster.start_server()
                cluster.wait_for_job(job_id)
                resumed = relay.heads(r"GET /blob/.*\r\n(.*\r\n)*Range: bytes=[1-9]")
                self.assertGreaterEqual(len(resumed), 2)
                for head in resumed:
                    digest = re.match(r"GET /blob/sha256/(\w+)", head).group(1)
                    self.assertIn(f'If-Range: "{digest}"', head)
                self.assertNotIn("damaged", laptop.log_text())

    @staticmethod
    def wait_for_part(laptop, least):
        """Waits until partial downloads have so many bytes; returns how many."""
        def bytes_of_parts():
            total = 0
            for path in (laptop.directory / "cache").glob("*.part"):
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    pass
            return total if total >= least else 0
        return harness.wait_until(bytes_of_parts, 60, f"{least} bytes of partial downloads")


class Uploads(unittest.TestCase):
    CONTENT = random.Random(7).randbytes(6_000_000)

    def request(self, cluster, method, path, headers=None, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", cluster.port, timeout=20)
        connection.request(method, path, body=body, headers={
            "Authorization": f"Bearer {cluster.token()}", "Tus-Resumable": "1.0.0",
            **(headers or {})})
        reply = connection.getresponse()
        text = reply.read().decode("latin-1")
        connection.close()
        return reply.status, reply.headers, text

    def create(self, cluster, content, resume=False):
        digest = hashlib.sha256(content).hexdigest()
        metadata = "sha256 " + base64.b64encode(digest.encode()).decode()
        return self.request(cluster, "POST", "/upload", {
            "Upload-Length": str(len(content)),
            "Upload-Metadata": metadata + (",resume MQ==" if resume else "")})

    def patch(self, cluster, location, offset, content, headers=None):
        return self.request(cluster, "PATCH", location, {
            "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream",
            **(headers or {})}, content)

    def offset(self, cluster, location):
        status, headers, _ = self.request(cluster, "HEAD", location)
        self.assertEqual(status, 200)
        return int(headers["Upload-Offset"])

    def half_a_patch(self, cluster, location, offset, content, send_bytes):
        """A PATCH that announces everything and sends a part; the connection stays open."""
        head = (f"PATCH {location} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cluster.token()}\r\n"
                f"Tus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n"
                "Content-Type: application/offset+octet-stream\r\n"
                f"Content-Length: {len(content) - offset}\r\n\r\n")
        connection = socket.create_connection(("127.0.0.1", cluster.port), timeout=20)
        connection.sendall(head.encode() + content[offset:offset + send_bytes])
        return connection

    def assert_is_blob(self, cluster, content):
        digest = hashlib.sha256(content).hexdigest()
        status, _, text = self.request(cluster, "GET", f"/blob/sha256/{digest}")
        self.assertEqual(status, 200)
        self.assertEqual(hashlib.sha256(text.encode("latin-1")).hexdigest(), digest)

    def test_a_server_killed_in_the_middle_of_a_patch_three_times(self):
        with harness.Cluster() as cluster:
            cluster.start()
            _, headers, _ = self.create(cluster, self.CONTENT)
            location = headers["Location"]
            offset = 0
            for _ in range(3):
                with self.half_a_patch(cluster, location, offset, self.CONTENT, 1_500_000):
                    data = cluster.server_dir / "uploads" / f"{location.split('/')[-1]}.data"
                    least = offset + 500_000
                    harness.wait_until(lambda: data.stat().st_size >= least, 20, "bytes arrive")
                    cluster.kill_server()
                cluster.start_server()
                stands = self.offset(cluster, location)
                self.assertGreaterEqual(stands, least)
                self.assertLessEqual(stands, offset + 1_500_000)
                offset = stands
            status, headers, text = self.patch(cluster, location, offset, self.CONTENT[offset:])
            self.assertEqual(status, 204, text)
            self.assert_is_blob(cluster, self.CONTENT)
            self.assertEqual(list((cluster.server_dir / "uploads").iterdir()), [])

    def test_a_client_that_died_asks_for_the_rest_of_its_upload(self):
        with harness.Cluster() as cluster:
            cluster.start()
            _, headers, _ = self.create(cluster, self.CONTENT)
            location = headers["Location"]
            self.half_a_patch(cluster, location, 0, self.CONTENT, 2_000_000).close()
            # Seen on the disk: a question by HEAD would end the connection that still brings bytes.
            data = cluster.server_dir / "uploads" / f"{location.split('/')[-1]}.data"
            harness.wait_until(lambda: data.stat().st_size == 2_000_000, 20, "the bytes arrive")
            status, headers, _ = self.create(cluster, self.CONTENT, resume=True)
            self.assertEqual((status, headers["Location"]), (201, location))
            self.assertEqual(headers["Upload-Offset"], "2000000")
            # One that knows nothing of this begins anew, as tus has it.
            status, headers, _ = self.create(cluster, self.CONTENT)
            self.assertEqual((status, headers["Upload-Offset"]), (201, "0"))

    def test_quota_and_expiry(self):
        with harness.Cluster() as cluster:
            cluster.server_options = ["--upload-lifetime", "2s", "--uploads-per-host", "2",
                                      "--upload-bytes-per-host", "1MB"]
            cluster.start()
            status, headers, _ = self.create(cluster, b"first")
            self.assertEqual(status, 201)
            self.assertIn("GMT", headers["Upload-Expires"])
            location = headers["Location"]
            status, _, text = self.create(cluster, bytes(1_000_000))
            self.assertEqual((status, "limits are 2 and 1000000" in text), (429, True), text)
            self.assertEqual(self.create(cluster, b"second")[0], 201)
            status, _, text = self.create(cluster, b"third")
            self.assertEqual((status, "2 unfinished uploads" in text), (429, True), text)
            self.assertEqual(self.request(cluster, "DELETE", location)[0], 204)
            status, headers, _ = self.create(cluster, b"third")
            self.assertEqual(status, 201)
            location = headers["Location"]
            time.sleep(2.1)
            self.assertEqual(self.request(cluster, "HEAD", location)[0], 404)
            self.assertEqual(self.patch(cluster, location, 0, b"third")[0], 404)
            self.assertEqual(self.create(cluster, b"third")[0], 201)

    def test_checksums_and_an_upload_without_metadata(self):
        with harness.Cluster() as cluster:
            cluster.start()
            status, headers, _ = self.request(cluster, "OPTIONS", "/upload")
            self.assertEqual((status, headers["Tus-Checksum-Algorithm"]), (204, "sha1,sha256"))
            self.assertIn("checksum", headers["Tus-Extension"])
            content = self.CONTENT[:1_000_000]
            status, headers, _ = self.request(cluster, "POST", "/upload", {
                "Upload-Length": str(len(content)), "Upload-Metadata": ""})
            self.assertEqual(status, 201)
            location = headers["Location"]

            def sha1(text):
                return "sha1 " + base64.b64encode(hashlib.sha1(text).digest()).decode()

            first, second = content[:600_000], content[600_000:]
            status, _, _ = self.patch(cluster, location, 0, first, {"Upload-Checksum": sha1(second)})
            self.assertEqual((status, self.offset(cluster, location)), (460, 0))
            status, _, _ = self.patch(cluster, location, 0, first, {"Upload-Checksum": sha1(first)})
            self.assertEqual((status, self.offset(cluster, location)), (204, 600_000))
            status, headers, _ = self.patch(cluster, location, 600_000, second,
                                            {"Upload-Checksum": sha1(second)})
            self.assertEqual(status, 204)
            self.assertEqual(headers["Content-Location"],
                             "/blob/sha256/" + hashlib.sha256(content).hexdigest())
            self.assert_is_blob(cluster, content)


if __name__ == "__main__":
    unittest.main(verbosity=2)
