#!/usr/bin/env python3
"""How far honest results of one workunit differ: the table "How far honest results differ" of docs/validation.md.

    tests/bench/numerics_bench.py [--steps N] [--shard N] [--seconds S] [--json FILE]

A server, one volunteer for N steps, then the same workunits (of the first and of the latest parameters) computed by
`manyhands-trainer serve` under many settings: vector units of ATen and oneDNN, threads, micro-batches, pinned
numerics. Each update is compared with the one of the usual settings: relative L2 distance and 1 - cosine, over the
whole update and for the tensor group in which they are largest. At last the speed of pinned numerics as a ratio
(`manyhands-trainer bench`, in turns). Standard library only.
"""
import argparse
import array
import hashlib
import json
import math
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

PACK_HEADER_BYTES = 96
MODELS = {
    "convnet": "{preset: cnn}",
    "MLP, GELU": "{preset: mlp, hidden: [256, 128], activation: gelu}",
    "convnet, group norm, ReLU": "{layers: [{conv2d: {out: 16, kernel: 5}}, {group_norm: {groups: 4}}, relu, "
                                 "{max_pool: {kernel: 2}}, {conv2d: {out: 32, kernel: 5}}, {group_norm: {groups: 4}}, "
                                 "relu, {max_pool: {kernel: 2}}, flatten, {linear: {out: 128}}, relu, linear]}",
}
JOB = """
name: numerics-{index}
dataset: fashion-mnist
seed: 3
model: {model}
loss: cross_entropy
training: {{steps: {steps}, batch: {batch}, shard: {shard}, micro_batch: 64}}
optimizer: {{kind: sgd, learning_rate: 0.05, momentum: 0.9}}
"""
PINNED = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
NAMES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")
# name, environment, what changes in the job, and the name of the setting it is compared with.
SETTINGS = (
    ("usual", {}, {}, None),
    ("again, another process", {}, {}, "usual"),
    ("ATen AVX2", {"ATEN_CPU_CAPABILITY": "avx2"}, {}, "usual"),
    ("ATen without AVX", {"ATEN_CPU_CAPABILITY": "default"}, {}, "usual"),
    ("oneDNN AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}, {}, "usual"),
    ("oneDNN SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}, {}, "usual"),
    ("MKL AVX2", {"MKL_ENABLE_INSTRUCTIONS": "AVX2"}, {}, "usual"),
    ("all AVX2", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}, {},
     "usual"),
    ("2 threads", {}, {"threads": 2}, "usual"),
    ("micro-batch 32", {}, {"micro_batch": 32}, "usual"),
    ("micro-batch 16", {}, {"micro_batch": 16}, "usual"),
    ("micro-batch = shard", {}, {"micro_batch": 0}, "usual"),
    ("pinned", PINNED, {"numerics": "pinned"}, "usual"),
    ("pinned, again", PINNED, {"numerics": "pinned"}, "pinned"),
    ("pinned, MKL AVX2", {**PINNED, "MKL_ENABLE_INSTRUCTIONS": "AVX2"}, {"numerics": "pinned"}, "pinned"),
    ("pinned, MKL AVX512", {**PINNED, "MKL_ENABLE_INSTRUCTIONS": "AVX512"}, {"numerics": "pinned"}, "pinned"),
    ("pinned, MKL SSE4.2", {**PINNED, "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}, {"numerics": "pinned"}, "pinned"),
    ("pinned, 2 threads", PINNED, {"numerics": "pinned", "threads": 2}, "pinned"),
)


class Trainer:
    """`manyhands-trainer serve` under one environment."""

    def __init__(self, environment):
        clean = {name: value for name, value in os.environ.items() if name not in NAMES}
        self.process = subprocess.Popen([harness.BIN / "manyhands-trainer", "serve", "--device", "cpu", "--threads", "2"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**clean, **environment})
        self.ready = self.receive()

    def receive(self):
        while True:
            size, = struct.unpack("<I", self.process.stdout.read(4))
            message = json.loads(self.process.stdout.read(size))
            if message["type"] != "progress":
                return message

    def compute(self, request):
        body = json.dumps(request).encode()
        self.process.stdin.write(struct.pack("<I", len(body)) + body)
        self.process.stdin.flush()
        answer = self.receive()
        if answer["type"] != "done":
            sys.exit(f"numerics_bench: the trainer says: {answer}")

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


class Blobs:
    """What the workunit needs, as files."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder

    def path(self, digest):
        path = self.folder / digest
        if not path.exists():
            request = urllib.request.Request(f"{self.cluster.url}/blob/sha256/{digest}",
                                             headers={"Authorization": f"Bearer {self.cluster.token()}"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                path.write_bytes(reply.read())
        return path

    def keep(self, content):
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / digest).write_bytes(content)
        return digest


def changed_job(text, changes):
    job = json.loads(text)
    for key, value in changes.items():
        if key == "micro_batch":
            job["training"]["micro_batch"] = value or job["training"]["shard"]
        else:
            job[key] = value
    return json.dumps(job, separators=(",", ":")).encode()


def values_of(path):
    values = array.array("f")
    values.frombytes(path.read_bytes()[PACK_HEADER_BYTES:])
    return values


def distances(update, base):
    """Relative L2 distance and 1 - cosine, in double."""
    difference = sum((a - b) ** 2 for a, b in zip(update, base))
    square_a, square_b = (sum(a * a for a in vector) for vector in (update, base))
    if square_a == 0 or square_b == 0:
        return (0.0, 0.0) if square_a == square_b else (math.inf, 1.0)
    # From the distance of the two directions: 1 - a·b/(|a||b|) would lose all of these digits.
    scale_a, scale_b = 1 / math.sqrt(square_a), 1 / math.sqrt(square_b)
    cosine = sum((a * scale_a - b * scale_b) ** 2 for a, b in zip(update, base)) / 2
    return math.sqrt(difference / square_b), cosine


def compare(update, base, groups):
    whole = distances(update, base)
    by_group = [distances(update[begin:end], base[begin:end]) for begin, end in groups]
    equal = sum(a == b for a, b in zip(update, base)) / len(base)
    return {"l2": whole[0], "cosine": whole[1], "l2_group": max(d[0] for d in by_group),
            "cosine_group": max(d[1] for d in by_group), "equal": equal}


def groups_of(cluster, job_id, step, path):
    """Where each tensor lies in an update, from the downloaded model's head."""
    cluster.cli("model", "download", job_id, "--which", step, "--output", path, as_json=False)
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        head = json.loads(file.read(size))
    offsets = sorted(tensor["data_offsets"] for name, tensor in head.items() if name != "__metadata__")
    return [(begin // 4, end // 4) for begin, end in offsets]


def updates_of(blobs, job, point, shard, folder):
    """For each setting the update of one workunit."""
    updates = {}
    manifest = job["manifest"]
    for index, (name, environment, changes, _) in enumerate(SETTINGS):
        digest = blobs.keep(changed_job(job["text"], changes))
        trainer = Trainer(environment)
        target = folder / f"{index}.update"
        trainer.compute({"type": "compute", "result_id": 1, "kind": "gradient", "job_path": str(blobs.path(digest)),
                         "job_digest": digest, "parameters_path": str(blobs.path(point["parameters"])),
                         "parameters_digest": point["parameters"], "manifest_path": str(blobs.path(manifest)),
                         "manifest_digest": manifest, "chunk_dir": str(blobs.folder), "step": point["step"],
                         "begin": point["step"] * job["batch"], "end": point["step"] * job["batch"] + shard,
                         "split": "train", "update_path": str(target)})
        trainer.close()
        updates[name] = values_of(target)
    return updates


def measure_model(cluster, blobs, index, model, arguments, folder):
    batch = 2 * arguments.shard
    text = JOB.format(index=index, model=MODELS[model], steps=arguments.steps, batch=batch, shard=arguments.shard)
    job_id = cluster.submit(text)
    first = cluster.job(job_id)
    points = [{"step": int(first.get("step", 0)), "parameters": first["parametersDigest"]}]
    blobs.path(first["parametersDigest"])  # at once, for it is soon dropped
    cluster.wait_for_job(job_id, timeout=900)
    job = {"text": blobs.path(first["jobDigest"]).read_text(), "batch": batch}
    job["manifest"] = json.loads(job["text"])["manifest"]
    last = arguments.steps - 1
    points.append({"step": last, "parameters": cluster.step_digests(job_id)[last - 1]})
    rows = []
    groups = groups_of(cluster, job_id, arguments.steps, folder / f"model-{index}.safetensors")
    for point in points:
        updates = updates_of(blobs, job, point, arguments.shard, folder)
        for name, _, _, base in SETTINGS:
            if base:
                rows.append({"model": model, "step": point["step"], "setting": name, "base": base,
                             **compare(updates[name], updates[base], groups)})
    return rows


def speed(arguments, folder, model):
    """Samples a second of pinned numerics / usual, in turns: median ratio."""
    ratios = []
    paths = {}
    for name, more in (("usual", ""), ("pinned", "numerics: pinned\n")):
        paths[name] = folder / f"{name}.yaml"
        paths[name].write_text(JOB.format(index=0, model=MODELS[model], steps=1, batch=512, shard=512) + more)
    for _ in range(5):
        rates = {}
        for name, path in paths.items():
            out, _ = harness.run(harness.BIN / "manyhands-trainer", "bench", "--job", path, "--only", "trainer",
                                 "--seconds", arguments.seconds, "--json", timeout=300)
            rates[name] = json.loads(out)["trainer_samples_per_second"]
        ratios.append(rates["pinned"] / rates["usual"])
    return statistics.median(ratios)


def text_of(value):
    return "0" if value == 0 else f"{value:.1e}"


def print_table(rows, ratios):
    print("| model | setting | against | relative L2 | worst tensor | 1 - cosine | worst tensor | equal numbers |")
    print("|---|---|---|---|---|---|---|---|")
    for model in MODELS:
        for name, _, _, base in SETTINGS:
            of = [row for row in rows if row["model"] == model and row["setting"] == name]
            if not of:
                continue
            worst = {key: max(row[key] for row in of) for key in ("l2", "l2_group", "cosine", "cosine_group")}
            equal = min(row["equal"] for row in of)
            print(f"| {model} | {name} | {base} | {text_of(worst['l2'])} | {text_of(worst['l2_group'])} | "
                  f"{text_of(worst['cosine'])} | {text_of(worst['cosine_group'])} | {100 * equal:.1f} % |")
    for model, ratio in ratios.items():
        print(f"\npinned numerics compute {model} at {ratio:.2f} of the usual speed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="steps of training before the comparison (default 40)")
    parser.add_argument("--shard", type=int, default=256, help="samples of the workunit that is compared")
    parser.add_argument("--seconds", type=float, default=3, help="length of a turn of the speed comparison; 0: none")
    parser.add_argument("--json", help="also write the rows to this file")
    arguments = parser.parse_args()
    rows, ratios = [], {}
    with tempfile.TemporaryDirectory(prefix="manyhands-numerics-") as scratch, harness.Cluster() as cluster:
        folder = pathlib.Path(scratch)
        harness.run(harness.BIN / "manyhands", "dataset", "import", "fashion-mnist", *harness.fashion_mnist_files(),
                    "--to-dir", folder / "data")
        cluster.start()
        cluster.import_fashion_mnist()
        cluster.add_volunteer("only", trusted=True)
        chunks = pathlib.Path(next(path for path, _, files in os.walk(folder / "data") if len(files) > 1))
        blobs = Blobs(cluster, chunks)
        for index, model in enumerate(MODELS):
            rows += measure_model(cluster, blobs, index, model, arguments, folder)
            if arguments.seconds > 0:
                ratios[model] = speed(arguments, folder, model)
            print(f"{model}: measured", file=sys.stderr)
    print_table(rows, ratios)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps({"rows": rows, "speed": ratios}, indent=1) + "\n")


if __name__ == "__main__":
    main()
