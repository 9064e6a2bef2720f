"""`manyhands verify` on a real run: an honest server passes; one changed bit anywhere is named.

One server, one volunteer, one job of twelve steps of which six keep their updates; and one whose
robust rule makes each step of the updates of three volunteers. Each test changes one thing, looks,
and puts it back.
"""

import base64
import collections
import hashlib
import json
import sqlite3
import subprocess
import tempfile
import unittest

import harness

STEPS = 12
KEPT = 6
SHARDS = 4

JOB = f"""
name: audited
dataset: fashion-mnist
seed: 7
model: {{preset: mlp}}
loss: cross_entropy
training: {{steps: {STEPS}, batch: 128, shard: 32, micro_batch: 32}}
optimizer: {{kind: adamw, learning_rate: 0.002, weight_decay: 0.01}}
schedule: {{kind: cosine, warmup_steps: 2}}
clip_norm: 5.0
"""


ROBUST_SHARDS = 8

ROBUST_JOB = f"""
name: audited-robust
dataset: fashion-mnist
seed: 7
model: {{preset: mlp}}
loss: cross_entropy
training: {{steps: {STEPS}, batch: {ROBUST_SHARDS * 32}, shard: 32, micro_batch: 32}}
optimizer: {{kind: adamw, learning_rate: 0.002}}
aggregation: {{rule: trimmed_mean, f: 1, pre: [{{bucketing: {{size: 1}}}}, nnm]}}
"""


class VerifyCase(unittest.TestCase):
    """A finished job, and what tests do to it."""

    job_text = JOB
    volunteers = 1

    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster()
        try:
            cls.cluster.server_options = ["--keep-steps", KEPT]
            cls.cluster.start()
            cls.cluster.import_fashion_mnist()
            cls.job = cls.cluster.submit(cls.job_text)
            for index in range(cls.volunteers):
                cls.cluster.add_volunteer(f"volunteer-{index}", trusted=True)
            cls.cluster.wait_for_job(cls.job)
            cls.key = cls.cluster.call("ServerService/GetStatus", {})["publicKey"]
        except BaseException:
            print(cls.cluster.describe_logs())
            cls.cluster.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.cluster.close()

    # --- verbs ------------------------------------------------------------------------------

    def verify(self, *options, expect=0):
        """Exit code and report of `manyhands verify`."""
        out, err = self.cluster.cli("verify", self.job, *options, "--json", as_json=False,
                                    expect=expect)
        return json.loads(out) if out.startswith("{") else err

    def assert_named(self, report, **parts):
        self.assertFalse(report["right"])
        for finding in report["findings"]:
            if all(finding.get(key) == value for key, value in parts.items()):
                return finding
        self.fail(f"no finding with {parts}: {json.dumps(report['findings'], indent=1)}")

    def records(self):
        reply = self.cluster.call("JobService/ListStepRecords", {"jobId": self.job})
        return [json.loads(record["record"]) for record in reply["records"]]

    def blob(self, digest):
        blobs = self.cluster.server_dir / "blobs"
        found = [path for path in (blobs / digest[0] / digest, blobs / "fresh" / digest)
                 if path.exists()]
        self.assertTrue(found, f"no blob {digest}")
        return found[0]

    def flipped(self, digest, at):
        """Flips a bit of a blob in its place, and puts it back afterwards."""
        path = self.blob(digest)

        def flip():
            with open(path, "r+b") as file:
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1]))

        flip()
        self.addCleanup(flip)

    def with_server_stopped(self, change):
        self.cluster.server.terminate()
        self.assertEqual(self.cluster.server.wait(timeout=15), 0)
        change()
        self.cluster.start_server()
        # It listens a moment before it minds signals.
        self.cluster.call("ServerService/GetStatus", {})

    def change_rows(self, sql, *values):
        def change():
            with sqlite3.connect(self.cluster.server_dir / "manyhands.db") as database:
                self.assertEqual(database.execute(sql, values).rowcount, 1)
            database.close()

        self.with_server_stopped(change)

    def row(self, sequence):
        database = sqlite3.connect(self.cluster.server_dir / "manyhands.db")
        try:
            return database.execute("SELECT record, digest FROM step_records WHERE sequence = ?",
                                    (sequence,)).fetchone()
        finally:
            database.close()

    def replace_record(self, sequence, before, after, with_digest):
        """Changes the text of a record in the database, and puts it back afterwards."""
        record, digest = self.row(sequence)
        self.assertIn(before, record)
        changed = record.replace(before, after, 1)
        new_digest = hashlib.sha256(changed.encode()).digest() if with_digest else digest
        sql = "UPDATE step_records SET record = ?, digest = ? WHERE sequence = ?"
        self.change_rows(sql, changed, new_digest, sequence)
        self.addCleanup(self.change_rows, sql, record, digest, sequence)

    def replace_in_newest_record(self, before, after):
        """Signed, chained (it is the newest) and there: only taking the step again tells."""
        self.replace_record(STEPS - 1, before, after, with_digest=True)
        digest = self.row(STEPS - 1)[1]
        head = sqlite3.connect(self.cluster.server_dir / "manyhands.db").execute(
            "SELECT record_digest FROM jobs").fetchone()[0]
        sql = "UPDATE jobs SET record_digest = ?"
        self.change_rows(sql, digest)
        self.addCleanup(self.change_rows, sql, head)


class Verify(VerifyCase):
    # --- an honest server -------------------------------------------------------------------

    def test_an_honest_run_passes(self):
        report = self.verify("--key", self.key)
        self.assertTrue(report["right"])
        self.assertEqual(report["records"], STEPS)
        self.assertEqual(report["steps_taken_again"], KEPT)
        self.assertEqual(report["updates_checked"], KEPT * SHARDS)
        self.assertEqual(report["steps_by_chain_only"], STEPS - KEPT)
        self.assertEqual(report["findings"], [])
        text, _ = self.cluster.cli("verify", self.job, as_json=False)
        self.assertIn("6 checked by their chain only", text)
        self.assertIn("Everything that could be checked is right", text)

    def test_a_range_of_steps(self):
        report = self.verify("--steps", "4..7")
        self.assertEqual(report["steps_taken_again"], 2)
        self.assertEqual(report["steps_by_chain_only"], 2)
        self.assertEqual(report["steps_left_out"], STEPS - 4)

    def test_gradients_computed_again_are_equal_in_every_bit(self):
        report = self.verify("--steps", "10..11", "--recompute", "100%", "--seed", 5)
        self.assertEqual(report["gradients"]["computed"], 2 * SHARDS)
        self.assertEqual(report["gradients"]["equal"], 2 * SHARDS)
        self.assertEqual(report["gradients"]["seed"], 5)

    def test_any_token_will_do_and_none_will_not(self):
        account = self.cluster.call("AccountService/CreateAccount",
                                    {"name": "stranger", "role": "ROLE_VOLUNTEER"})["account"]
        token = self.cluster.call("AccountService/CreateToken", {"accountId": account["id"]})
        file = self.cluster.directory / "stranger.token"
        file.write_text(token["token"])
        self.assertTrue(self.verify("--server", self.cluster.url, "--token-file", file)["right"])
        self.cluster.call("JobService/ListStepRecords", {"jobId": self.job}, token="none",
                          expect=401)

    def test_by_hand_as_the_docs_say(self):
        reply = self.cluster.call("JobService/ListStepRecords", {"jobId": self.job})
        previous, parameters = "", None
        for entry in reply["records"]:
            record = json.loads(entry["record"])
            self.assertEqual(record["previous"], previous)
            if parameters is not None:
                self.assertEqual(record["parameters_before"], parameters)
            previous = hashlib.sha256(entry["record"].encode()).hexdigest()
            parameters = record["parameters_after"]
        self.assertEqual(self.cluster.step_digests(self.job)[-1], parameters)
        with tempfile.TemporaryDirectory() as folder:
            key = bytes.fromhex("302a300506032b6570032100") + base64.b64decode(reply["publicKey"])
            for name, content in (
                    ("key.der", key), ("text", f"manyhands-record/1 {previous}".encode()),
                    ("signature", base64.b64decode(reply["records"][-1]["signature"]))):
                with open(f"{folder}/{name}", "wb") as file:
                    file.write(content)
            done = subprocess.run(
                ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key.der",
                 "-rawin", "-in", "text", "-sigfile", "signature"],
                cwd=folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_exit_codes(self):
        self.verify("--steps", "9..1", expect=2)
        self.verify("--recompute", "0%", expect=2)
        self.verify("--key", "nonsense", expect=2)
        self.verify("--server", "http://127.0.0.1:9", expect=3)

    # --- a server that changed something ----------------------------------------------------

    def test_one_flipped_bit_of_an_update(self):
        update = self.records()[9]["updates"][2]["update"]
        self.flipped(update, 5_000)
        report = self.verify(expect=1)
        self.assert_named(report, step=9, shard=2, what="update", digest=update)
        self.assertEqual(len(report["findings"]), 1)
        self.assertEqual(report["steps_taken_again"], KEPT - 1)

    def test_one_flipped_bit_of_parameters(self):
        parameters = self.records()[8]["parameters_after"]
        self.flipped(parameters, 200)
        report = self.verify(expect=1)
        self.assert_named(report, step=8, what="parameters after it", digest=parameters)

    def test_a_missing_update(self):
        update = self.records()[11]["updates"][0]["update"]
        path = self.blob(update)
        aside = self.cluster.directory / "aside"
        path.rename(aside)
        self.addCleanup(lambda: aside.rename(path))
        report = self.verify(expect=1)
        self.assert_named(report, step=11, shard=0, what="update", digest=update)

    def test_a_changed_record(self):
        samples = '"samples":128'
        self.replace_record(3, samples, '"samples":127', with_digest=False)
        report = self.verify("--key", self.key, expect=1)
        finding = self.assert_named(report, what="record")
        self.assertIn("record number 3 is not signed", finding["problem"])

    def test_a_changed_record_that_the_server_signs(self):
        loss = json.dumps(self.records()[2]["loss"])
        self.replace_record(2, f'"loss":{loss}', '"loss":0.5', with_digest=True)
        report = self.verify("--key", self.key, expect=1)
        finding = self.assert_named(report, what="record", step=3)
        self.assertIn("breaks the chain", finding["problem"])

    def test_the_newest_record_changed_and_signed(self):
        loss = json.dumps(self.records()[-1]["loss"])
        self.replace_record(STEPS - 1, f'"loss":{loss}', '"loss":0.5', with_digest=True)
        report = self.verify("--key", self.key, expect=1)
        self.assertIn("newest record", self.assert_named(report, what="record")["problem"])

    def test_an_update_exchanged_for_another(self):
        record = self.records()[-1]
        old, new = record["updates"][0]["update"], self.records()[-2]["updates"][0]["update"]
        self.replace_in_newest_record(old, new)
        report = self.verify("--key", self.key, expect=1)
        finding = self.assert_named(report, step=STEPS - 1, shard=0, what="update", digest=new)
        self.assertIn("is of step 10, expected 11", finding["problem"])

    def test_signatures_of_another_key(self):
        path = self.cluster.server_dir / "signing.key"
        pem = path.read_bytes()
        self.with_server_stopped(path.unlink)
        self.addCleanup(self.with_server_stopped, lambda: path.write_bytes(pem))
        report = self.verify("--key", self.key, expect=1)
        self.assertIn("the server signs with key", self.assert_named(report, what="record")["problem"])
        self.assertTrue(self.verify()["right"])


class VerifyRobust(VerifyCase):
    """A rule over hosts: each step follows from its updates and from whose they are."""

    job_text = ROBUST_JOB
    volunteers = 3

    def test_an_honest_run_passes(self):
        report = self.verify("--key", self.key)
        self.assertEqual(report["findings"], [])
        self.assertEqual(report["records"], STEPS)
        self.assertEqual(report["steps_taken_again"], KEPT)
        self.assertEqual(report["updates_checked"], KEPT * ROBUST_SHARDS)
        hosts = {update["host"] for update in self.records()[-1]["updates"]}
        self.assertEqual(len(hosts), 3)

    def test_gradients_are_computed_again_from_the_same_updates(self):
        report = self.verify("--steps", "11", "--recompute", "100%")
        self.assertEqual(report["gradients"]["equal"], ROBUST_SHARDS)
        self.assertEqual(report["steps_taken_again"], 1)

    def test_one_flipped_bit_of_an_update(self):
        update = self.records()[9]["updates"][2]["update"]
        self.flipped(update, 5_000)
        report = self.verify(expect=1)
        self.assert_named(report, step=9, shard=2, what="update", digest=update)
        self.assertEqual(report["steps_taken_again"], KEPT - 1)

    def test_an_update_that_is_said_to_be_of_another_host(self):
        updates = self.records()[-1]["updates"]
        busiest, _ = collections.Counter(update["host"] for update in updates).most_common(1)[0]
        moved = next(update for update in updates if update["host"] == busiest)
        other = next(update["host"] for update in updates if update["host"] != busiest)
        self.replace_in_newest_record(f'"update":"{moved["update"]}","host":"{busiest}"',
                                      f'"update":"{moved["update"]}","host":"{other}"')
        report = self.verify("--key", self.key, expect=1)
        self.assert_named(report, step=STEPS - 1, what="parameters after it")


if __name__ == "__main__":
    unittest.main(verbosity=2)
