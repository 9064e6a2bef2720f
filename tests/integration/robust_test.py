"""Jobs that name a robust rule: real processes, real images.

Where a step has as many workunits as the rule needs hosts, each host has one shard, so that the steps must be those of
a run alone in which each shard is a voice, bit for bit.
"""

import tempfile
import time
import unittest

import harness

STEPS = 12

JOB = """
name: robust
dataset: fashion-mnist
seed: 7
model: {{preset: cnn}}
loss: cross_entropy
training: {{steps: {steps}, batch: {batch}, shard: 32, micro_batch: 32}}
optimizer: {{kind: sgd, learning_rate: 0.05, momentum: 0.9}}
aggregation: {aggregation}
"""


def job_text(aggregation, batch, steps=STEPS):
    return JOB.format(aggregation=aggregation, batch=batch, steps=steps)


class Robust(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="manyhands-robust-")
        cls.data = f"{cls.scratch.name}/data"
        harness.run(harness.BIN / "manyhands", "dataset", "import", "fashion-mnist",
                    *harness.fashion_mnist_files(), "--to-dir", cls.data)

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def reference(self, text):
        return harness.reference_digests(text, self.data, self.scratch.name)

    def test_four_volunteers_learn_and_every_step_is_that_of_a_run_alone(self):
        rules = ("{rule: trimmed_mean, f: 1, pre: [nnm]%s}", "{rule: median, f: 1, pre: [{bucketing: {size: 1}}]%s}")
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            for index in range(4):
                cluster.add_volunteer(f"volunteer-{index}", trusted=index == 0)
            for rule in rules:
                by_host = job_text(rule % "", 96)
                job = cluster.wait_for_job(cluster.submit(by_host))
                self.assertEqual(job["state"], "JOB_STATE_FINISHED", job.get("stateReason"))
                alone = self.reference(job_text(rule % ", unit: shard", 96))
                self.assertEqual(cluster.step_digests(int(job["id"])), alone)
                self.assertLess(job["trainingLoss"], 2.0)

    def test_with_more_workunits_than_hosts_it_learns_all_the_same(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            for index in range(4):
                cluster.add_volunteer(f"volunteer-{index}", trusted=index == 0)
            job = cluster.wait_for_job(cluster.submit(job_text("{rule: trimmed_mean, f: 1, pre: [nnm]}", 256, 30)))
            self.assertEqual(job["state"], "JOB_STATE_FINISHED", job.get("stateReason"))
            self.assertLess(job["trainingLoss"], 1.5)

    def test_a_job_waits_for_as_many_hosts_as_its_rule_needs(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            for index in range(2):
                cluster.add_volunteer(f"volunteer-{index}", trusted=index == 0)
            job_id = cluster.submit(job_text("{rule: krum, f: 1}", 128, 6))
            harness.wait_until(lambda: "needs results of 3 hosts, 2 take part" in
                               cluster.job(job_id).get("waitingReason", ""), 60, "the reason for waiting")
            time.sleep(2)
            self.assertEqual(int(cluster.job(job_id).get("step", 0)), 0)
            cluster.add_volunteer("the-third")
            job = cluster.wait_for_job(job_id)
            self.assertEqual(job["state"], "JOB_STATE_FINISHED", job.get("stateReason"))

    def test_a_run_alone_has_no_hosts(self):
        path = f"{self.scratch.name}/host.yaml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(job_text("{rule: median, f: 1}", 96))
        out, error = harness.run(harness.BIN / "manyhands-trainer", "reference", path, "--data", self.data,
                                 expect=None)
        self.assertEqual(out, "")
        self.assertIn("aggregates over hosts with median", error)


class Pinned(unittest.TestCase):
    """`numerics: pinned`: trainers are started with other settings, and give the bits of a run alone."""

    def test_a_pinned_job_beside_another_equals_its_reference(self):
        with tempfile.TemporaryDirectory(prefix="manyhands-pinned-") as scratch, harness.Cluster(tls=True) as cluster:
            data = f"{scratch}/data"
            harness.run(harness.BIN / "manyhands", "dataset", "import", "fashion-mnist",
                        *harness.fashion_mnist_files(), "--to-dir", data)
            usual = job_text("{}", 64, 6)
            pinned = usual + "numerics: pinned\n"
            digests = [harness.reference_digests(text, data, scratch) for text in (usual, pinned)]
            cluster.start()
            cluster.import_fashion_mnist()
            cluster.add_volunteer("only", trusted=True)
            ids = [cluster.submit(text) for text in (usual, pinned)]
            for job_id, expected in zip(ids, digests):
                job = cluster.wait_for_job(job_id)
                self.assertEqual(job["state"], "JOB_STATE_FINISHED", job.get("stateReason"))
                self.assertEqual(cluster.step_digests(job_id), expected)


if __name__ == "__main__":
    unittest.main()
