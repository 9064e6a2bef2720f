"""The system's parameters equal the reference run's, bit for bit, after every step.

Whoever computes, however many, whatever is killed: promise 1 of the design. Real processes, real
Fashion-MNIST images, SGD with momentum and AdamW.
"""

import tempfile
import unittest

import harness

STEPS = 40

JOB = """
name: exact-{kind}
dataset: fashion-mnist
seed: 7
model: {{preset: cnn}}
loss: cross_entropy
training: {{steps: {steps}, batch: 128, shard: 32, micro_batch: 32}}
optimizer: {optimizer}
schedule: {{kind: cosine, warmup_steps: 5}}
clip_norm: 5.0
evaluation: {{split: test, every_steps: 20}}
"""
OPTIMIZERS = {
    "sgd": "{kind: sgd, learning_rate: 0.1, momentum: 0.9, nesterov: true}",
    "adamw": "{kind: adamw, learning_rate: 0.002, weight_decay: 0.01}",
}


def job_text(kind):
    return JOB.format(kind=kind, optimizer=OPTIMIZERS[kind], steps=STEPS)


class Exactness(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="manyhands-reference-")
        data = f"{cls.scratch.name}/data"
        harness.run(harness.BIN / "manyhands", "dataset", "import", "fashion-mnist",
                    *harness.fashion_mnist_files(), "--to-dir", data)
        cls.reference = {kind: harness.reference_digests(job_text(kind), data, cls.scratch.name)
                         for kind in OPTIMIZERS}

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def assert_equals_reference(self, cluster, job_id, kind):
        self.assertEqual(len(self.reference[kind]), STEPS)
        self.assertEqual(cluster.step_digests(job_id), self.reference[kind])
        summary = cluster.summary(job_id)
        self.assertEqual(summary["samplesCounted"], summary["samplesExpected"])
        self.assertEqual(int(summary["samplesCounted"]), STEPS * 128)
        self.assertEqual(int(summary.get("samplesDoubled", 0)), 0)
        self.assertEqual(int(summary.get("samplesMissing", 0)), 0)

    def test_the_two_optimizers_train_differently(self):
        self.assertNotEqual(self.reference["sgd"], self.reference["adamw"])
        self.assertEqual(len(set(self.reference["sgd"])), STEPS)

    def test_one_volunteer(self):
        with harness.Cluster() as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            cluster.add_volunteer("only", trusted=True)
            for kind in OPTIMIZERS:
                job_id = cluster.submit(job_text(kind))
                job = cluster.wait_for_job(job_id)
                self.assertEqual(job["state"], "JOB_STATE_FINISHED")
                self.assert_equals_reference(cluster, job_id, kind)

    def test_four_volunteers_two_jobs_at_once(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            jobs = {kind: cluster.submit(job_text(kind)) for kind in OPTIMIZERS}
            for index in range(4):
                cluster.add_volunteer(f"volunteer-{index}", trusted=index == 0)
            for kind, job_id in jobs.items():
                cluster.wait_for_job(job_id)
                self.assert_equals_reference(cluster, job_id, kind)

    def test_volunteers_and_server_killed(self):
        with harness.Cluster(tls=True) as cluster:
            cluster.start()
            cluster.import_fashion_mnist()
            for index in range(3):
                cluster.add_volunteer(f"volunteer-{index}", trusted=index == 0)
            jobs = {kind: cluster.submit(job_text(kind)) for kind in OPTIMIZERS}
            first = jobs["sgd"]
            cluster.wait_for_step(first, 5)
            cluster.volunteers["volunteer-2"].kill()
            cluster.wait_for_step(first, 10)
            cluster.kill_server()
            cluster.start_server()
            cluster.add_volunteer("late")
            cluster.wait_for_step(first, 15)
            cluster.kill_server()
            cluster.volunteers["volunteer-1"].kill()
            cluster.start_server()
            cluster.volunteers["volunteer-1"].start()
            for kind, job_id in jobs.items():
                job = cluster.wait_for_job(job_id)
                self.assertEqual(job["state"], "JOB_STATE_FINISHED")
                self.assert_equals_reference(cluster, job_id, kind)


if __name__ == "__main__":
    unittest.main(verbosity=2)
