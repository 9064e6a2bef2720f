#!/usr/bin/env python3
"""Does the sandbox slow the trainer? Samples/s of `manyhands-trainer serve` with all layers and without, in turns.

    sandbox_bench.py [--pairs N] [--workunits N]

Needs a build. A server and a volunteer run until one workunit of Fashion-MNIST is under way; its frame is then given to
trainers of our own again and again. Also says how long it takes until a trainer is ready, and its processes' memory.
"""
import argparse
import json
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests" / "integration"))
import harness  # noqa: E402

JOB = """
name: measured
dataset: fashion-mnist
model: {preset: cnn}
loss: cross_entropy
training: {steps: 1000, batch: 4096, shard: 2048, micro_batch: 64}
optimizer: {kind: sgd, learning_rate: 0.01}
"""
# Passes what the daemon says to the trainer through a file.
LISTENER = "#!/bin/sh\nif [ \"$1\" = run ]; then tee '{file}' | '{launcher}' \"$@\"; else exec '{launcher}' \"$@\"; fi\n"


def first_workunit(cluster):
    """The compute frame of a workunit, and the folder of the client whose cache holds its inputs."""
    frames = cluster.directory / "frames"
    listener = cluster.directory / "listener"
    listener.write_text(LISTENER.format(file=frames, launcher=harness.BIN / "manyhands-sandbox"))
    listener.chmod(0o755)
    cluster.start()
    cluster.import_fashion_mnist()
    cluster.submit(JOB)
    volunteer = harness.Volunteer(cluster, "one", ["--device", "cpu", "--threads", "1"])
    harness.run(harness.BIN / "manyhands-client", "attach", cluster.join_url(), "--dir", volunteer.directory,
                "--name", "one", "--yes", env=cluster.environment)
    cluster.volunteers["one"] = volunteer
    volunteer.start({"MANYHANDS_SANDBOX": str(listener)})

    def compute_frame():
        data = frames.read_bytes() if frames.exists() else b""
        if len(data) < 4 or len(data) < 4 + struct.unpack("<I", data[:4])[0]:
            return None
        return json.loads(data[4:4 + struct.unpack("<I", data[:4])[0]])

    frame = harness.wait_until(compute_frame, 60, "a workunit")
    volunteer.kill()
    return frame, volunteer.directory


class Trainer:
    def __init__(self, folder, is_enclosed):
        self.out = folder / "out"
        prefix = [harness.BIN / "manyhands-sandbox", "run", "--input", folder / "cache", "--output", self.out, "--"]
        begin = time.monotonic()
        self.process = subprocess.Popen([*(prefix if is_enclosed else []), harness.BIN / "manyhands-trainer", "serve",
                                         "--device", "cpu", "--threads", "1"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.receive()["type"] == "ready"
        self.seconds_to_ready = time.monotonic() - begin

    def receive(self):
        size = struct.unpack("<I", self.process.stdout.read(4))[0]
        return json.loads(self.process.stdout.read(size))

    def compute(self, frame, result):
        path = self.out / f"{result}.update"
        path.touch(mode=0o600)
        body = json.dumps({**frame, "result_id": result, "update_path": str(path)}).encode()
        self.process.stdin.write(struct.pack("<I", len(body)) + body)
        self.process.stdin.flush()
        while (answer := self.receive())["type"] == "progress":
            pass
        assert answer["type"] == "done", answer

    def close(self):
        """CPU seconds of all its processes."""
        self.process.stdin.close()
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.process.stdout.close()
        return usage.ru_utime + usage.ru_stime


def measure(folder, frame, count, is_enclosed):
    """(samples a second, samples a second of CPU, start included, seconds until it was ready)"""
    trainer = Trainer(folder, is_enclosed)
    trainer.compute(frame, 1)
    begin = time.monotonic()
    for index in range(count):
        trainer.compute(frame, 2 + index)
    taken = time.monotonic() - begin
    samples = frame["end"] - frame["begin"]
    return count * samples / taken, (count + 1) * samples / trainer.close(), trainer.seconds_to_ready


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--workunits", type=int, default=8, help="of 2,048 samples")
    options = parser.parse_args()
    with harness.Cluster() as cluster:
        frame, folder = first_workunit(cluster)
        rates, costs, starts = [], [], []
        for index in range(options.pairs):
            # Whoever comes first is not always the same.
            order = (False, True) if index % 2 else (True, False)
            made = {one: measure(folder, frame, options.workunits, one) for one in order}
            rates.append(made[True][0] / made[False][0])
            costs.append(made[True][1] / made[False][1])
            starts.append((made[True][2], made[False][2]))
            print(f"sandbox {made[True][0]:,.0f} samples/s, without {made[False][0]:,.0f}, ratio {rates[-1]:.3f}; "
                  f"of CPU {made[True][1]:,.0f} and {made[False][1]:,.0f}, ratio {costs[-1]:.3f}", flush=True)
    for what, ratios in (("samples/s", rates), ("samples for a second of CPU", costs)):
        print(f"{what}: ratio {statistics.median(ratios):.3f} (median of {len(ratios)} pairs, "
              f"{min(ratios):.3f} to {max(ratios):.3f})")
    print(f"ready after {1000 * statistics.median(s[0] for s in starts):.0f} ms, without "
          f"{1000 * statistics.median(s[1] for s in starts):.0f} ms")


if __name__ == "__main__":
    main()
