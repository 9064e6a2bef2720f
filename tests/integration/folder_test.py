"""The verbs that look after a server's folder, beside real servers and volunteers.

A backup made in the middle of training goes on where the original was and ends with the same bits; check finds
nothing wrong beside a server at work; gc leaves no orphan and nothing missing.
"""

import json
import os
import pathlib
import tempfile
import unittest

import harness

STEPS = 30
JOB = """
name: folder
dataset: fashion-mnist
seed: 7
model: {layers: [flatten, {linear: {out: 32}}, relu, linear]}
loss: cross_entropy
training: {steps: 30, batch: 128, shard: 32, micro_batch: 32}
optimizer: {kind: sgd, learning_rate: 0.1, momentum: 0.9}
evaluation: {split: test, every_steps: 10}
"""


def server_verb(*arguments, expect=0):
    """Runs `manyhands-server ... --json`; returns what it printed."""
    out, _ = harness.run(harness.BIN / "manyhands-server", *arguments, "--json", expect=expect)
    return json.loads(out)


class Folder(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="manyhands-reference-")
        data = f"{cls.scratch.name}/data"
        harness.run(harness.BIN / "manyhands", "dataset", "import", "fashion-mnist",
                    *harness.fashion_mnist_files(), "--to-dir", data)
        cls.reference = harness.reference_digests(JOB, data, cls.scratch.name)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def assert_whole(self, folder):
        report = server_verb("check", folder)
        self.assertTrue(report["isWhole"], report["damage"])
        # Beside a running server some of those that were listed are gone before they are read.
        if not report["isRunning"]:
            self.assertEqual(report["hashedCount"], report["blobCount"])
        return report

    def test_a_backup_goes_on_to_the_same_bits(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            job_id = cluster.submit(JOB)
            cluster.add_volunteer("one", trusted=True)
            cluster.add_volunteer("two")
            cluster.wait_for_step(job_id, 5)
            self.assertTrue(self.assert_whole(cluster.server_dir)["isRunning"])
            original = cluster.server_dir
            backup = cluster.directory / "backup"
            report = server_verb("backup", original, backup)
            self.assertTrue(report["check"]["isWhole"])
            self.assertEqual(report["linkedCount"] + report["copiedCount"], report["check"]["blobCount"])
            server_verb("backup", original, backup, expect=1)
            server_verb("gc", original, expect=3)
            server_verb("migrate", original, expect=3)
            cluster.wait_for_step(job_id, 12)
            cluster.kill_server()
            cluster.server_dir = backup
            cluster.start_server()
            self.assertEqual(cluster.wait_for_job(job_id)["state"], "JOB_STATE_FINISHED")
            self.assertEqual(cluster.step_digests(job_id), self.reference)
            self.assertEqual(int(cluster.summary(job_id).get("samplesDoubled", 0)), 0)
            cluster.kill_server()
            for folder in (original, backup):
                server_verb("gc", folder, "--older-than", "0s")
                self.assertEqual(self.assert_whole(folder)["orphanCount"], 0)

    def test_a_damaged_chunk_is_found_and_comes_back_by_importing_again(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            blobs = [path for path in (cluster.server_dir / "blobs").glob("?/*")]
            chunk = max(blobs, key=lambda path: path.stat().st_size)
            with open(chunk, "r+b") as file:
                file.write(b"!")
            report = server_verb("check", cluster.server_dir, expect=1)
            self.assertEqual([finding["kind"] for finding in report["damage"]], ["blob damaged"])
            self.assertIn("manyhands dataset import fashion-mnist", report["damage"][0]["advice"])
            os.remove(chunk)
            cluster.import_fashion_mnist()
            self.assert_whole(cluster.server_dir)

    def test_retention_of_a_run_and_of_gc(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.server_options = ["--checkpoints-kept", "2", "--checkpoint-every", "10"]
            cluster.start()
            cluster.import_fashion_mnist()
            job_id = cluster.submit(JOB)
            cluster.add_volunteer("only", trusted=True)
            cluster.wait_for_job(job_id)
            steps = {int(model.get("step", 0)) for model in cluster.cli("model", "list", job_id)["models"]}
            self.assertLessEqual({0, 10, 20, STEPS - 1, STEPS}, steps)
            self.assertEqual(len(steps - {0, 10, 20, 29, 30}), 0)
            cluster.kill_server()
            report = server_verb("gc", cluster.server_dir, "--older-than", "0s", "--checkpoints-kept", "1")
            self.assertGreaterEqual(report["checkpointCount"], 3)
            cluster.start_server()
            steps = {int(model.get("step", 0)) for model in cluster.cli("model", "list", job_id)["models"]}
            self.assertIn(STEPS, steps)
            self.assertLessEqual(len(steps), 2)
            self.assert_whole(cluster.server_dir)

    def test_each_verb_has_help_with_an_example(self):
        for verb in ("backup", "check", "gc", "migrate"):
            out, _ = harness.run(harness.BIN / "manyhands-server", verb, "--help")
            self.assertIn(f"Example: manyhands-server {verb}", out)
            missing = pathlib.Path(self.scratch.name) / "missing"
            extra = [missing.with_name("out")] if verb == "backup" else []
            server_verb(verb, missing, *extra, expect=1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
