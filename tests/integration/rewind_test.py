"""`manyhands job rewind`: a cheat that nobody checked is taken out of the model after the job has ended.

A trusted volunteer and mallory, who turns gradients round, share a job whose results are not checked. Each test rewinds
a job of its own and then lets `manyhands verify` (which takes the steps again from the updates, bit for bit) and
`manyhands-server check` (which counts everything again) look at what is left.
"""

import os
import subprocess
import unittest

import harness

STEPS = 16
SHARD = 32
SHARDS = 8

JOB = f"""
name: spoiled
dataset: fashion-mnist
seed: 7
model: {{preset: mlp}}
loss: cross_entropy
training: {{steps: {STEPS}, batch: {SHARDS * SHARD}, shard: {SHARD}, micro_batch: {SHARD}}}
optimizer: {{kind: adamw, learning_rate: 0.002}}
evaluation: {{split: test, every_steps: 4, shard: 5000}}
validation: {{mode: none}}
"""

CHEAT = harness.REPO / "tests" / "attack" / "cheating_volunteer.py"


class Rewind(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster()
        self.addCleanup(self.cluster.close)
        self.cluster.server_options = ["--keep-steps", STEPS]
        self.cluster.start()
        self.cluster.import_fashion_mnist()
        self.cluster.add_volunteer("ada", trusted=True)
        self.start_mallory()
        self.job = self.cluster.submit(JOB)

    def start_mallory(self):
        folder = self.cluster.directory / "mallory"
        harness.run(harness.BIN / "manyhands-client", "attach", self.cluster.join_url(), "--dir", folder,
                    "--name", "mallory", "--yes", env=self.cluster.environment)
        with open(self.cluster.directory / "mallory.log", "ab") as log:
            process = subprocess.Popen(
                [str(CHEAT), "--cheat", "sign-flip", "--dir", str(folder), "--", "--device", "cpu", "--threads", "1"],
                stdout=log, stderr=subprocess.STDOUT, env={**os.environ, "MANYHANDS_BIN": str(harness.BIN)})

        def stop():
            process.terminate()
            process.wait(timeout=15)

        self.addCleanup(stop)

    # --- verbs ------------------------------------------------------------------------------

    def spoiled_steps(self):
        """Steps that have updates of both, oldest first."""
        records = self.cluster.records(self.job)
        count = {}
        for record in records:
            for update in record["updates"]:
                count[update["host"]] = count.get(update["host"], 0) + 1
        self.assertEqual(len(count), 2, "both take part")
        return [record["step"] for record in records if len({update["host"] for update in record["updates"]}) == 2]

    def rewind(self, step, *options, expect=0):
        return self.cluster.cli("job", "rewind", self.job, "--to", step, "--without", "mallory", *options,
                                expect=expect)

    def assert_sound(self, removed):
        """Everything that was counted is there, everything that was recorded is so."""
        report = self.cluster.cli("verify", self.job)
        self.assertTrue(report["right"], report)
        self.assertEqual(report["rewinds"], 1)
        summary = self.cluster.cli("job", "summary", self.job)
        self.assertEqual([int(summary.get(key, 0)) for key in ("samplesDoubled", "samplesMissing", "samplesRemoved")],
                         [0, removed, removed])
        self.assertEqual(int(summary["samplesCounted"]), STEPS * SHARDS * SHARD - removed)
        self.cluster.server.terminate()
        self.assertEqual(self.cluster.server.wait(timeout=15), 0)
        harness.run(harness.BIN / "manyhands-server", "check", self.cluster.server_dir)
        self.cluster.start_server()
        return summary

    # --- tests ------------------------------------------------------------------------------

    def test_a_finished_job_goes_on_from_the_step(self):
        self.assertEqual(self.cluster.wait_for_job(self.job)["state"], "JOB_STATE_FINISHED")
        step = self.spoiled_steps()[1]
        before = self.cluster.host("mallory")
        reply = self.rewind(step, "--reason", "flipped signs")
        self.assertTrue(reply["isNew"])
        self.assertEqual(int(reply["undoneStepCount"]), STEPS - step - 1)
        self.assertGreater(float(reply["withdrawnGflop"]), 0)
        mallory = self.cluster.host("mallory")
        self.assertEqual(mallory["standing"], "banned")
        self.assertAlmostEqual(float(mallory["credit"]), float(before["credit"]) - float(reply["withdrawnGflop"]))
        self.assertEqual(self.cluster.wait_for_job(self.job)["state"], "JOB_STATE_FINISHED")
        records = self.cluster.records(self.job)
        again = records[STEPS]
        self.assertEqual((again["kind"], again["step"], again["reason"]), ("rewind", step, "flipped signs"))
        self.assertEqual([record["step"] for record in records[STEPS + 1:]], list(range(step + 1, STEPS)))
        removed = SHARDS * SHARD - again["samples"]
        self.assertGreater(removed, 0)
        self.assert_sound(removed)
        log = self.cluster.cli("job", "log", self.job)["entries"]
        self.assertTrue(any("rewound to step" in entry["text"] and "flipped signs" in entry["text"] for entry in log))
        # The one evaluation that counts of each step is of the parameters that are there now.
        evaluations = self.cluster.call("JobService/GetJobMetrics", {"id": self.job})["evaluations"]
        self.assertEqual([int(evaluation["step"]) for evaluation in evaluations], [4, 8, 12, 16])

    def test_later_steps_are_applied_again_and_a_dead_server_loses_nothing(self):
        self.cluster.wait_for_job(self.job)
        step = self.spoiled_steps()[-3]
        for point in ("rewind.before_decision", "rewind.after_decision"):
            self.cluster.server.terminate()
            self.cluster.server.wait(timeout=15)
            self.cluster.spawn_server({"MANYHANDS_KILL_POINT": point})
            harness.wait_until((self.cluster.directory / "port").exists, 30, "the server's port file")
            self.rewind(step, "--reapply", expect=3)
            self.assertEqual(self.cluster.server.wait(timeout=30), -9)
            self.cluster.start_server()
            kinds = [record["kind"] for record in self.cluster.records(self.job)]
            self.assertEqual("rewind" in kinds, point == "rewind.after_decision")
        reply = self.rewind(step, "--reapply")
        self.assertFalse(reply.get("isNew", False))
        self.assertEqual(self.cluster.wait_for_job(self.job)["state"], "JOB_STATE_FINISHED")
        records = self.cluster.records(self.job)[STEPS:]
        self.assertEqual([record["kind"] for record in records], ["rewind"] + ["reapply"] * (STEPS - step - 1))
        self.assert_sound(sum(SHARDS * SHARD - record["samples"] for record in records))

    def test_a_running_job_is_rewound_and_mistakes_are_told(self):
        self.cluster.wait_for_step(self.job, 6)
        self.cluster.cli("job", "pause", self.job)
        step = self.spoiled_steps()[0]
        self.assertTrue(self.rewind(step)["isNew"])
        self.assertEqual(self.cluster.job(self.job)["state"], "JOB_STATE_PAUSED")
        self.cluster.cli("job", "resume", self.job)
        self.cluster.wait_for_job(self.job)
        records = self.cluster.records(self.job)
        again = next(record for record in records if record["kind"] == "rewind")
        self.assert_sound(SHARDS * SHARD - again["samples"])
        for options, code, text in (
                (("--to", 99, "--without", "mallory"), 2, "has done 16 steps"),
                (("--to", 3, "--without", "nobody"), 1, "no attached host is named 'nobody'"),
                (("--without", "mallory"), 2, "--to is missing"),
                (("--to", 3), 2, "--without is missing"),
                (("--to", 15, "--without", "mallory"), 1, "has no update of host")):
            _, error = self.cluster.cli("job", "rewind", self.job, *options, expect=code)
            self.assertIn(text, error)


if __name__ == "__main__":
    unittest.main()
