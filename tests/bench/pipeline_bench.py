#!/usr/bin/env python3
"""What the system costs over bare training: ratios and milliseconds, measured in one run.

  tests/bench/pipeline_bench.py [a] [b] [c] [d] [--json]      (default: all)

a  samples/s of the system with 2 volunteers, against two bare trainers side by side; in turns, for
   steps of about 0.7 s (workunits of 0.17 s) and, to see what short steps cost, of a quarter of that
b  milliseconds the system adds to a step whose compute is negligible, 80 k and 1.7 M parameters
c  bytes on the wire per step, up and down, in (b)'s runs
d  samples/s of the trainer against a plain LibTorch loop, in turns, each turn a process of its own

Real programs, Fashion-MNIST, loopback, one thread a trainer. Run it on a quiet machine.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

CNN_JOB = """
name: bench-cnn
dataset: fashion-mnist
model: {{preset: cnn}}
loss: cross_entropy
training: {{steps: {steps}, batch: {batch}, shard: {shard}, micro_batch: 64}}
optimizer: {{kind: sgd, learning_rate: 0.05, momentum: 0.9}}
validation: {{mode: none}}
"""
# Two samples a step: what is left of a step is the system.
LIGHT_JOB = """
name: bench-light-{hidden}
dataset: fashion-mnist
model: {{layers: [flatten, {{linear: {{out: {hidden}}}}}, relu, {{linear: {{}}}}]}}
loss: cross_entropy
training: {{steps: {steps}, batch: 2, shard: 1, micro_batch: 1}}
optimizer: {{kind: sgd, learning_rate: 0.001, momentum: 0.9}}
validation: {{mode: none}}
"""


def bare_samples_per_second(job_file, seconds):
    """Two trainers at once, each alone with the compute loop; the sum of both."""
    command = [harness.BIN / "manyhands-trainer", "bench", "--job", job_file, "--only", "trainer",
               "--seconds", str(seconds), "--json"]
    running = [subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
               for _ in range(2)]
    return sum(json.loads(process.communicate(timeout=300)[0])["trainer_samples_per_second"]
               for process in running)


def settled_steps(cluster, job_id, skip):
    """(milliseconds, steps) between step `skip` and the last one."""
    steps = cluster.call("JobService/GetJobMetrics", {"id": job_id, "pointCountMax": 10000})["steps"]
    return int(steps[-1]["timeMs"]) - int(steps[skip]["timeMs"]), len(steps) - 1 - skip


# (a)'s steps: samples per step and per workunit, and how many steps a turn has.
LONG_STEPS = {"batch": 8192, "shard": 1024, "steps": 8}
SHORT_STEPS = {"batch": 2048, "shard": 512, "steps": 16}


def measure_throughput(shape, rounds):
    """(a): in many short turns, because the machine's speed changes by a fifth within a minute."""
    ratios, rows = [], []
    with harness.Cluster() as cluster:
        cluster.start()
        cluster.import_fashion_mnist()
        job_text = CNN_JOB.format(**shape)
        job_file = cluster.directory / "cnn.yaml"
        job_file.write_text(job_text)
        for name in ("one", "two"):
            cluster.add_volunteer(name)
        for _ in range(rounds):
            job_id = cluster.submit(job_text)
            cluster.wait_for_job(job_id, timeout=300)
            milliseconds, count = settled_steps(cluster, job_id, skip=3)
            system = count * shape["batch"] / (milliseconds / 1000)
            bare = bare_samples_per_second(job_file, seconds=2.5)
            rows.append({"system_samples_per_second": system, "bare_samples_per_second": bare})
            ratios.append(system / bare)
    return {**shape, "rounds": rows, "ratio": statistics.median(ratios)}


def measure_step_cost(hidden, steps=200):
    """(b) and (c): per-step time of the system less that of the reference run of the same job."""
    with harness.Cluster() as cluster:
        cluster.start()
        cluster.import_fashion_mnist()
        data = cluster.directory / "data"
        harness.run(harness.BIN / "manyhands", "dataset", "import", "fashion-mnist",
                    *harness.fashion_mnist_files(), "--to-dir", data)
        for name in ("one", "two"):
            cluster.add_volunteer(name)
        text = LIGHT_JOB.format(hidden=hidden, steps=steps)
        warm_up = cluster.submit(LIGHT_JOB.format(hidden=hidden, steps=20))
        cluster.wait_for_job(warm_up)
        job_id = cluster.submit(text)
        cluster.wait_for_job(job_id, timeout=300)
        milliseconds, count = settled_steps(cluster, job_id, skip=10)
        job_file = cluster.directory / "light.yaml"
        job_file.write_text(text)
        out, _ = harness.run(harness.BIN / "manyhands-trainer", "reference", job_file,
                             "--data", data, "--json")
        alone = json.loads(out.splitlines()[-1])["milliseconds_per_step"]
        hosts = cluster.summary(job_id)["hosts"]
        plan = cluster.call("JobService/GetJob", {"id": job_id})["plan"]
        total = {way: sum(int(host.get(way, 0)) for host in hosts) / steps
                 for way in ("uploadBytes", "downloadBytes")}
    per_step = milliseconds / count
    return {"parameters": int(plan["parameterCount"]), "system_ms_per_step": per_step,
            "alone_ms_per_step": alone, "added_ms_per_step": per_step - alone,
            "upload_bytes_per_step": total["uploadBytes"],
            "download_bytes_per_step": total["downloadBytes"]}


def measure_trainer():
    with tempfile.TemporaryDirectory() as scratch:
        job_file = pathlib.Path(scratch) / "cnn.yaml"
        job_file.write_text(CNN_JOB.format(**SHORT_STEPS))
        out, _ = harness.run(harness.BIN / "manyhands-trainer", "bench", "--job", job_file,
                             "--seconds", "20", "--json", timeout=300)
    return json.loads(out)


def main():
    arguments = sys.argv[1:]
    as_json = "--json" in arguments
    wanted = [argument for argument in arguments if argument != "--json"] or ["a", "b", "c", "d"]
    unknown = [argument for argument in wanted if argument not in ("a", "b", "c", "d")]
    if unknown:
        print(f"pipeline_bench: unknown part {unknown[0]!r} (known: a b c d)", file=sys.stderr)
        return 2
    report = {}
    if "a" in wanted:
        report["a"] = measure_throughput(LONG_STEPS, rounds=11)
        report["a_short"] = measure_throughput(SHORT_STEPS, rounds=7)
    if "b" in wanted or "c" in wanted:
        report["b"] = [measure_step_cost(100), measure_step_cost(2130)]
    if "d" in wanted:
        report["d"] = measure_trainer()
    if as_json:
        print(json.dumps(report, indent=2))
        return 0
    for part, wanted_ratio in (("a", "   (must 0.85, aim 0.95)"), ("a_short", "")):
        if part not in report:
            continue
        shape = report[part]
        for row in shape["rounds"]:
            print(f"a  system {row['system_samples_per_second']:8.0f} samples/s   "
                  f"two bare trainers {row['bare_samples_per_second']:8.0f} samples/s")
        print(f"a  ratio {shape['ratio']:.3f} at {shape['batch']} samples a step, "
              f"{shape['shard']} a workunit{wanted_ratio}")
    for row in report.get("b", []):
        print(f"b  {row['parameters']:>9,} parameters: {row['added_ms_per_step']:6.2f} ms added per step "
              f"({row['system_ms_per_step']:.2f} with the system, {row['alone_ms_per_step']:.2f} alone)")
        print(f"c  {row['parameters']:>9,} parameters: {row['upload_bytes_per_step']:,.0f} bytes up, "
              f"{row['download_bytes_per_step']:,.0f} bytes down per step, 2 volunteers")
    if "d" in report:
        print(f"d  trainer {report['d']['trainer_samples_per_second']:.0f} samples/s, plain loop "
              f"{report['d']['plain_samples_per_second']:.0f}: ratio {report['d']['ratio']:.2f} (must 1.3, aim 1.7)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
