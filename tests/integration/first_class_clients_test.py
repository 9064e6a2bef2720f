"""curl, Python and a browser are first-class clients: JSON on every call, Range on every blob."""

import gzip
import http.client
import pathlib
import struct
import unittest
import urllib.error
import urllib.request

import harness

JOB = """
name: tiny
dataset: stripes
model: {layers: [flatten, {linear: {}}]}
loss: cross_entropy
training: {steps: 30, batch: 16, shard: 8, micro_batch: 8}
optimizer: {kind: sgd, learning_rate: 0.5}
evaluation: {split: test, every_steps: 10}
"""


def idx(dtype, shape, payload):
    return bytes([0, 0, dtype, len(shape)]) + b"".join(struct.pack(">I", d) for d in shape) + payload


def npy(descr, shape, payload, fortran=False):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + payload


def write_stripes(directory, count=200):
    """4×4 images whose bright row is their class: learnt in a few steps."""
    directory = pathlib.Path(directory)
    images, labels = bytearray(), bytearray()
    for index in range(count):
        label = index % 4
        labels.append(label)
        for row in range(4):
            images += bytes([200 + index % 50 if row == label else index % 30] * 4)
    (directory / "x.npy").write_bytes(npy("|u1", (count, 4, 4), bytes(images)))
    (directory / "y.npy").write_bytes(npy("|u1", (count,), bytes(labels)))
    return ["--train-inputs", str(directory / "x.npy"), "--train-targets", str(directory / "y.npy"),
            "--split", "test=0.2"]


class FirstClassClients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster()
        cls.cluster.start()
        cls.stripes = write_stripes(cls.cluster.directory)
        cls.cluster.cli("dataset", "import", "stripes", *cls.stripes, as_json=False)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    def refused(self, *arguments, code=2, says=()):
        """The CLI refuses with that exit code; its message names each of `says`."""
        out, err = self.cluster.cli(*arguments, as_json=False, expect=code)
        for word in says:
            self.assertIn(word, out + err)
        return out + err

    def job_file(self, text):
        path = self.cluster.directory / "bad.yaml"
        path.write_text(text)
        return path

    # --- JSON over HTTP -----------------------------------------------------------------------

    def test_a_job_is_submitted_and_trained_over_plain_json(self):
        reply = self.cluster.call("JobService/SubmitJob", {"yaml": JOB, "requestId": "again"})
        again = self.cluster.call("JobService/SubmitJob", {"yaml": JOB, "requestId": "again"})
        self.assertEqual(reply["job"]["id"], again["job"]["id"])
        self.cluster.add_volunteer("worker", trusted=True)
        job = self.cluster.wait_for_job(reply["job"]["id"])
        self.assertEqual(job["state"], "JOB_STATE_FINISHED")
        self.assertGreater(job["lastEvaluation"]["accuracy"], 0.95)
        jobs = self.cluster.call("JobService/ListJobs", {})["jobs"]
        self.assertIn(reply["job"]["id"], [job["id"] for job in jobs])
        self.download_and_predict(reply["job"]["id"])

    def download_and_predict(self, job_id):
        model = self.cluster.directory / "model.safetensors"
        self.cluster.cli("model", "download", job_id, "--output", model, as_json=False)
        data = self.cluster.directory / "stripes-data"
        harness.run(harness.BIN / "manyhands", "dataset", "import", "stripes", *self.stripes,
                    "--to-dir", data)
        out, _ = harness.run(harness.BIN / "manyhands-trainer", "predict", model, "--data", data,
                             "--split", "test", "--count", "10")
        self.assertEqual(len([line for line in out.splitlines() if line.strip()]) >= 10, True, out)

    def test_status_needs_no_token_and_get_works(self):
        with urllib.request.urlopen(
                f"{self.cluster.url}/manyhands.v1.ServerService/GetStatus"
                "?connect=v1&encoding=json&message=%7B%7D", timeout=10) as reply:
            self.assertIn(b'"version"', reply.read())

    def test_calls_without_or_with_a_wrong_token_are_refused(self):
        self.cluster.call("JobService/ListJobs", {}, token="wrong", expect=401)
        self.cluster.call("JobService/NoSuchMethod", {}, expect=404)

    def test_a_blob_is_fetched_whole_in_part_and_not_again(self):
        dataset = self.cluster.call("DatasetService/GetDataset", {"name": "stripes"})["dataset"]
        path = f"/blob/sha256/{dataset['manifestDigest']}"
        whole, _ = self.fetch(path)
        part, headers = self.fetch(path, {"Range": "bytes=5-14"}, expect=206)
        self.assertEqual(part, whole[5:15])
        self.assertEqual(headers["Content-Range"], f"bytes 5-14/{len(whole)}")
        tail, _ = self.fetch(path, {"Range": "bytes=-7"}, expect=206)
        self.assertEqual(tail, whole[-7:])
        self.fetch(path, {"Range": f"bytes={len(whole)}-"}, expect=416)
        _, headers = self.fetch(path)
        self.fetch(path, {"If-None-Match": headers["ETag"]}, expect=304)
        self.fetch("/blob/sha256/" + "0" * 64, expect=404)
        self.fetch("/blob/sha256/../../manyhands.db", expect=404)

    def fetch(self, path, headers=None, expect=200):
        connection = http.client.HTTPConnection("127.0.0.1", self.cluster.port, timeout=10)
        connection.request("GET", path, headers=headers or {})
        reply = connection.getresponse()
        body = reply.read()
        connection.close()
        self.assertEqual(reply.status, expect, f"GET {path}")
        return body, reply.headers

    # --- bad input ----------------------------------------------------------------------------

    def test_bad_job_files_are_refused_with_line_and_advice(self):
        cases = [
            (JOB.replace("optimizer", "optimiser"), ["optimiser", "optimizer"]),
            (JOB.replace("0.5", ".nan"), ["learning_rate"]),
            (JOB.replace("micro_batch: 8", "micro_batch: 3"), ["micro_batch", "shard"]),
            (JOB.replace("dataset: stripes", "dataset: spots"), ["spots"]),
            (JOB.replace("steps: 30", "steps: many"), ["steps"]),
            (JOB.replace("flatten, {linear: {}}", "{conv2d: {out: 4, kernel: 9}}, {linear: {}}"),
             ["conv2d"]),
            ("a: &a [1]\nb: *a\n", ["alias"]),
        ]
        for text, says in cases:
            for verb in ("check", "submit"):
                output = self.refused("job", verb, self.job_file(text), says=says)
                self.assertNotIn("terminate", output)

    def test_a_huge_job_file_is_refused_at_once(self):
        self.refused("job", "check", self.job_file("# " + "x" * 10_000_000))

    def test_bad_data_files_are_refused_and_nothing_is_registered(self):
        folder = self.cluster.directory
        images = idx(8, (10, 2, 2), bytes(40))
        (folder / "good.idx").write_bytes(images)
        (folder / "labels.idx").write_bytes(idx(8, (10,), bytes(10)))
        (folder / "short.idx").write_bytes(images[:-3])
        (folder / "cut.gz").write_bytes(gzip.compress(images)[:-9])
        (folder / "magic.idx").write_bytes(b"\x12\x34" + images[2:])
        (folder / "nine.idx").write_bytes(idx(8, (9,), bytes(9)))
        (folder / "fortran.npy").write_bytes(npy("|u1", (10, 2), bytes(20), fortran=True))
        (folder / "object.npy").write_bytes(npy("|O", (10, 2), bytes(80)))
        for inputs, targets in [("short.idx", "labels.idx"), ("cut.gz", "labels.idx"),
                                ("magic.idx", "labels.idx"), ("good.idx", "nine.idx"),
                                ("fortran.npy", "labels.idx"), ("object.npy", "labels.idx"),
                                ("missing.idx", "labels.idx")]:
            wrong = inputs if targets == "labels.idx" else targets
            self.refused("dataset", "import", "bad", "--train-inputs", folder / inputs,
                         "--train-targets", folder / targets, says=[wrong])
        names = [d["name"] for d in self.cluster.call("DatasetService/ListDatasets", {})["datasets"]]
        self.assertNotIn("bad", names)

    def test_a_data_set_in_use_is_not_removed(self):
        self.cluster.cli("dataset", "import", "used", *self.stripes, as_json=False)
        job_id = self.cluster.submit(JOB.replace("dataset: stripes", "dataset: used"))
        self.cluster.cli("job", "pause", job_id, as_json=False)
        self.refused("dataset", "remove", "used", code=1, says=["used"])
        self.cluster.cli("job", "cancel", job_id, as_json=False)
        self.cluster.cli("dataset", "remove", "used", as_json=False)

    def test_what_opens_the_door_is_listed_and_can_be_shut(self):
        self.cluster.cli("account", "create", "marie", as_json=False)
        token = self.cluster.cli("account", "token", "marie", "--days", 2)
        self.cluster.call("AccountService/GetSelf", {}, token=token["token"])
        # The last use is stored with whatever is written next.
        invitation = self.cluster.cli("account", "invite", "--uses", 3)
        listed = {entry["id"]: entry for entry in self.cluster.cli("account", "tokens")["tokens"]}[token["tokenId"]]
        self.assertEqual(listed["accountName"], "marie")
        self.assertGreater(int(listed["lastUsedMs"]), int(listed["createdMs"]) - 1)
        own = self.cluster.call("AccountService/ListTokens", {}, token=token["token"])["tokens"]
        self.assertEqual([entry["id"] for entry in own], [token["tokenId"]])
        number = max(int(entry["id"]) for entry in self.cluster.cli("account", "invitations")["invitations"])
        self.cluster.cli("account", "revoke", "--invitation", number, as_json=False)
        self.cluster.cli("account", "revoke", "--token", token["tokenId"], as_json=False)
        self.cluster.call("AccountService/GetSelf", {}, token=token["token"], expect=401)
        attach = [harness.BIN / "manyhands-client", "attach", f"{self.cluster.url}/#{invitation['invitation']}", "--yes",
                  "--dir", self.cluster.directory / "late"]
        _, error = harness.run(*attach, expect=3)
        self.assertIn("revoked", error)
        self.refused("account", "revoke", code=2, says=["--token NUMBER or --invitation NUMBER"])
        actions = [entry["action"] for entry in self.cluster.cli("account", "audit", "--count", 5)["entries"]]
        self.assertEqual(actions, ["account marie was made, role researcher",
                                   f"token {token['tokenId']} was made for account marie",
                                   f"invitation {number} was made, for 3 hosts", f"invitation {number} was revoked",
                                   f"token {token['tokenId']} was revoked"])
        self.cluster.call("AccountService/ListAudit", {}, token=token["token"], expect=401)

    def test_an_unreachable_server_is_exit_code_3(self):
        self.refused("job", "list", "--server", "http://127.0.0.1:9", code=3, says=["127.0.0.1:9"])
        self.refused("job", "show", "4242", code=1, says=["4242"])
        self.refused("job", "shwo", code=2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
