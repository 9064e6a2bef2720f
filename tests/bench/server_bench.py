#!/usr/bin/env python3
"""What the server bears: the table of docs/testing.md, each row from one run.

  tests/bench/server_bench.py [a] [b] [c] [d] [e] [f] [g] [t] [--json] [--seconds N]     (default: all)

a  durable "report a result and get the next workunit" exchanges/s with 256 kept connections, and the
   server's CPU for each; load generator on the same machine. Reports of evaluations (validated,
   credited, committed; nothing to upload), and of gradients (screened and aggregated, too; all
   workunits of a step report one update that was uploaded before)
b  the evaluations of (a) with 100,000 hosts and 1,000,000 workunits in the database, against an
   empty one, in turns
c  10,000 idle long polls: the server's memory for each
d  from sending the last report of a step to the first lease of the next one, 80 k parameters
e  exact mean of 16 updates of 10 M numbers from the page cache, against memcpy; memory beyond
f  download of a blob of 256 MiB
g  5,000 hosts come back at once after an outage: status calls meanwhile
t  the evaluations of (a) over TLS, against plain HTTP, in turns; handshakes

Real programs on loopback. Run it on a quiet machine; ratios are taken within one run.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import re
import resource
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

TOOLS = harness.REPO / "build" / "release" / "bench"
GENERATOR = TOOLS / "load_generator"
# One byte a sample: the evaluations of one checkpoint are 65,536 workunits of one sample.
SAMPLES = 65_536
EVALUATION_JOB = """
name: load-evaluation
dataset: bytes
model: {layers: [{linear: {out: 2}}]}
loss: cross_entropy
training: {steps: 1000, batch: 1, shard: 1}
optimizer: {kind: sgd, learning_rate: 0.01}
validation: {mode: none}
evaluation: {split: test, every_steps: 1, shard: 1}
"""
GRADIENT_JOB = """
name: load-gradient
dataset: bytes
model: {{layers: {layers}}}
loss: cross_entropy
training: {{steps: {steps}, batch: {batch}, shard: 1}}
optimizer: {{kind: sgd, learning_rate: 0.01}}
validation: {{mode: none}}
"""
TINY_LAYERS = "[{linear: {out: 2}}]"
SMALL_LAYERS = "[{linear: {out: 280}}, relu, {linear: {out: 280}}, relu, {linear: {out: 2}}]"


class Bench(harness.Cluster):
    """A server, data of one byte a sample, and hosts that only the load generator plays."""

    def import_bytes(self):
        """65,536 training and test samples of four bytes."""
        folder = self.directory / "bytes"
        folder.mkdir()
        header = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }"
        for split in ("train", "test"):
            write_npy(folder / f"{split}-x.npy", header % f"({SAMPLES}, 4)",
                      bytes(i * 7 % 251 for i in range(4 * SAMPLES)))
            write_npy(folder / f"{split}-y.npy", header % f"({SAMPLES},)",
                      bytes(i % 2 for i in range(SAMPLES)))
        self.cli("dataset", "import", "bytes", "--train-inputs", folder / "train-x.npy",
                 "--train-targets", folder / "train-y.npy", "--test-inputs", folder / "test-x.npy",
                 "--test-targets", folder / "test-y.npy", as_json=False)

    def load(self, verb, *options, timeout=300):
        server = f"{self.url}/#@{self.fingerprint()}" if self.tls else f"127.0.0.1:{self.port}"
        out, err = harness.run(GENERATOR, verb, "--server", server, "--secrets",
                               self.directory / "secrets", "--process", self.server.pid, *options,
                               timeout=timeout)
        if err:
            print(err, file=sys.stderr)
        return json.loads(out.splitlines()[-1])

    def attach(self, count):
        invitation = (self.server_dir / "invitation").read_text().strip()
        made = self.load("attach", "--connections", count, "--invitation", invitation)
        self.hosts = range(int(made["first_host"]), int(made["last_host"]) + 1)

    def trust_all(self):
        for host in self.hosts:
            self.call("HostService/SetHostTrust", {"id": host, "trusted": True})

    def upload(self, content, token):
        """Stores a blob by one tus request; returns its digest in hex."""
        name = hashlib.sha256(content).hexdigest()
        request = urllib.request.Request(
            f"{self.url}/upload", data=content, method="POST",
            headers={"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0",
                     "Upload-Length": str(len(content)),
                     "Upload-Metadata": "sha256 " + base64.b64encode(name.encode()).decode(),
                     "Content-Type": "application/offset+octet-stream"})
        urllib.request.urlopen(request, timeout=60, context=self.trust()).close()
        return name

    def blob(self, name):
        with urllib.request.urlopen(f"{self.url}/blob/sha256/{name}", timeout=60, context=self.trust()) as reply:
            return reply.read()

    def secrets(self):
        return (self.directory / "secrets").read_text().split()

    def updates_for(self, job_id, steps):
        """Uploads one update for each step of a job and writes the generator's list of them. They
        come from several hosts because one host may not have too much under way."""
        parameters = self.blob(self.job(job_id)["parametersDigest"])
        secrets = self.secrets()
        lines = []
        for step in range(steps):
            content = update_of(parameters, step)
            name = self.upload(content, secrets[step % len(secrets)])
            lines.append(f"{step} {name} {len(content)}\n")
        (self.directory / "updates").write_text("".join(lines))
        return self.directory / "updates"


def write_npy(path, header, content):
    text = header.encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content)


def update_of(parameters, step, samples=1):
    """A gradient of zeros for the model whose parameters are given (docs/file-formats.md)."""
    count = struct.unpack_from("<Q", parameters, 24)[0]
    head = b"MHPACK1\n" + struct.pack("<IIIIQQQQ", 1, 2, 1, 1, count, 4 * count, step, samples)
    head += parameters[56:88]
    return head + struct.pack("<II", zlib.crc32(head), 0) + bytes(4 * count)


def start_bench(hosts, options=(), history=(), tls=False):
    """A server with data and hosts; `history`: options of fill_store for what was before."""
    bench = Bench(tls=tls)
    bench.server_options = list(options)
    if history:
        bench.init_server = lambda: harness.run(TOOLS / "fill_store", bench.server_dir, *history, timeout=1800)
    bench.start()
    bench.import_bytes()
    bench.attach(hosts)
    return bench


def begin_evaluations(bench, count):
    """`count` steps of one gradient each; each leaves an evaluation of 65,536 workunits."""
    job_id = bench.submit(EVALUATION_JOB)
    updates = bench.updates_for(job_id, count)
    digests = [line.split() for line in updates.read_text().splitlines()]
    secret = bench.secrets()[0]
    for step, name, size in digests:
        work = []
        while not work:
            reply = bench.call("WorkService/Exchange", {"wantedCount": 1, "maxWaitMs": 5000}, secret)
            work = reply.get("assignments", [])
        digest = base64.b64encode(bytes.fromhex(name)).decode()
        report = {"resultId": work[0]["resultId"], "outcome": "OUTCOME_SUCCESS",
                  "updateDigest": digest, "updateBytes": size}
        verdict = bench.call("WorkService/Exchange", {"reports": [report]}, secret)["verdicts"][0]
        assert verdict["verdict"] == "VERDICT_VALID", verdict
        harness.wait_until(lambda: bench.step(job_id) == int(step) + 1, 60, "the next step")


def measure_exchange(bench, seconds, warm_up=2):
    return bench.load("exchange", "--connections", 256, "--seconds", seconds, "--warm-up", warm_up)


def measure_a(seconds):
    with start_bench(256) as bench:
        begin_evaluations(bench, 7)
        bench.trust_all()
        evaluations = measure_exchange(bench, seconds)
    with start_bench(256) as bench:
        job_id = bench.submit(GRADIENT_JOB.format(layers=TINY_LAYERS, steps=100, batch=16_384))
        updates = bench.updates_for(job_id, 40)
        gradients = bench.load("exchange", "--connections", 256, "--seconds", seconds,
                               "--updates", updates)
    return {"evaluation": evaluations, "gradient": gradients}


def measure_b(seconds, turns=3):
    """In turns, because the machine's speed changes."""
    history = ("--hosts", 100_000, "--workunits", 1_000_000)
    with start_bench(256) as empty, start_bench(256, history=history) as full:
        for bench in (empty, full):
            begin_evaluations(bench, 7)
            bench.trust_all()
        # As long as there are workunits: 458,752 on each.
        rows = [[measure_exchange(bench, seconds, warm_up=1) for bench in (empty, full)] for _ in range(turns)]
    return {"ratio": statistics.median(full["exchanges_per_second"] / empty["exchanges_per_second"]
                                       for empty, full in rows),
            "cpu_ratio": statistics.median(full["server_cpu_us_per_exchange"] / empty["server_cpu_us_per_exchange"]
                                           for empty, full in rows),
            "turns": rows}


def measure_c(connections=10_000):
    options = ("--connections-max", "11000", "--connections-per-address-max", "11000")
    with start_bench(connections, options) as bench:
        # The hosts are there already: what is measured is the connections.
        bench.server.terminate()
        bench.server.wait(timeout=30)
        bench.start_server()
        return bench.load("park", "--connections", connections, "--seconds", 30)


def measure_d(steps=600):
    with start_bench(3) as bench:
        text = GRADIENT_JOB.format(layers=SMALL_LAYERS, steps=steps, batch=2)
        job_id = bench.submit(text)
        parameters = int(bench.call("JobService/GetJob", {"id": job_id})["plan"]["parameterCount"])
        updates = bench.updates_for(job_id, steps)
        result = bench.load("exchange", "--connections", 3, "--warm-up", 0.3, "--seconds", 1.5,
                            "--updates", updates)
    return {"parameters": parameters, **result}


def measure_e():
    out, _ = harness.run(TOOLS / "aggregate_bench", timeout=300)
    return json.loads(out)


def measure_f(turns=9, size=256 << 20):
    with start_bench(1) as bench:
        name = bench.upload(os.urandom(1 << 20) * (size >> 20), bench.token())
        speeds = []
        for _ in range(turns):
            out, _ = harness.run("curl", "-sS", "-o", "/dev/null", "-w", "%{speed_download}",
                                 f"{bench.url}/blob/sha256/{name}")
            speeds.append(float(out))
    return {"bytes_per_second_median": statistics.median(speeds), "bytes_per_second_best": max(speeds)}


def measure_g(hosts=5_000):
    with start_bench(hosts) as bench:
        job_id = bench.submit(GRADIENT_JOB.format(layers=TINY_LAYERS, steps=100, batch=8_192))
        updates = bench.updates_for(job_id, 1)
        storm = subprocess.Popen(
            [str(GENERATOR), "storm", "--server", f"127.0.0.1:{bench.port}", "--secrets",
             str(bench.directory / "secrets"), "--connections", str(hosts), "--updates", str(updates)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert storm.stdout.readline().strip() == "leased"
        bench.kill_server()
        bench.start_server()
        out, _ = storm.communicate("go\n", timeout=300)
        return json.loads(out)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def handshakes(bench, kind, seconds=3, clients=8):
    """New connections by openssl, `clients` at a time; `kind`: -new, -reuse (of the session)."""
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{bench.port}", kind, "-time", str(seconds)]
    before, begin = cpu_seconds(bench.server.pid), time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    told = [process.communicate(timeout=60)[0] for process in running]
    cpu, real = cpu_seconds(bench.server.pid) - before, time.monotonic() - begin
    # With -reuse the first line is about the connection that made the session.
    count = sum(int(re.findall(r"(\d+) connections in \d+ real seconds", text)[-1]) for text in told)
    return {"per_second": count / real, "server_cpu_us": cpu / count * 1e6}


def measure_t(seconds, turns=3):
    """TLS against plain HTTP, in turns, because the machine's speed changes."""
    with start_bench(256) as plain, start_bench(256, tls=True) as secure:
        for bench in (plain, secure):
            begin_evaluations(bench, 7)
            bench.trust_all()
        rows = [[measure_exchange(bench, seconds) for bench in (plain, secure)] for _ in range(turns)]
        shakes = {kind: handshakes(secure, f"-{kind}") for kind in ("new", "reuse")}
    ratios = {key: statistics.median(secure_row[key] / plain_row[key] for plain_row, secure_row in rows)
              for key in ("exchanges_per_second", "server_cpu_us_per_exchange")}
    return {**ratios, "plain_cpu_us": statistics.median(row[0]["server_cpu_us_per_exchange"] for row in rows),
            "handshakes": shakes, "turns": rows}


def rows_of(report):
    """(what, figure, must, aim) for people."""
    if "a" in report:
        for kind, row in report["a"].items():
            yield (f"a {kind} exchanges/s, 256 clients", f"{row['exchanges_per_second']:,.0f}", "5,000", "15,000")
            yield (f"a {kind} server CPU per exchange", f"{row['server_cpu_us_per_exchange']:.0f} µs", "150 µs", "50 µs")
            yield (f"a {kind} exchanges per CPU second", f"{row['exchanges_per_cpu_second']:,.0f}", "", "")
            yield (f"a {kind} latency p50 / p99", f"{row['latency_ms_p50']:.1f} / {row['latency_ms_p99']:.1f} ms", "", "")
    if "b" in report:
        yield ("b exchanges/s, full database against empty", f"{report['b']['ratio']:.2f}", "0.8", "0.95")
    if "c" in report:
        row = report["c"]
        yield (f"c memory per long poll, {row['connections_open']:,.0f} open",
               f"{row['bytes_per_connection_later'] / 1000:.1f} KB", "20 KB", "8 KB")
    if "d" in report:
        row = report["d"]
        yield (f"d last report to next lease, {row['parameters']:,} parameters, p50 / p99",
               f"{row['step_ms_p50']:.1f} / {row['step_ms_p99']:.1f} ms", "20 ms", "5 ms")
    if "e" in report:
        row = report["e"]
        yield ("e mean of 16 x 10 M, share of memcpy", f"{row['ratio']:.2f}", "0.5", "1.0")
        yield ("e memory beyond a tile and the accumulator", f"{row['extra_bytes'] / 1e6:.1f} MB", "none", "none")
    if "f" in report:
        row = report["f"]
        yield ("f download of 256 MiB, median / best", f"{row['bytes_per_second_median'] / 1e9:.2f} / "
               f"{row['bytes_per_second_best'] / 1e9:.2f} GB/s", "1 GB/s", "2 GB/s")
    if "g" in report:
        row = report["g"]
        yield ("g status p99 while 5,000 come back, fresh / kept connection",
               f"{row['status_fresh_ms_p99']:.0f} / {row['status_kept_ms_p99']:.0f} ms", "250 ms", "")
        yield (f"g {row['valid']:,.0f} of {row['hosts']:,.0f} back, p50 / last",
               f"{row['back_ms_p50']:.0f} / {row['back_ms_max']:.0f} ms", "all", "")
    if "t" in report:
        yield from rows_of_tls(report["t"])


def rows_of_tls(row):
    yield ("t exchanges/s, TLS against plain", f"{row['exchanges_per_second']:.2f}", "", "")
    yield (f"t server CPU per exchange, TLS against plain ({row['plain_cpu_us']:.0f} µs)",
           f"{row['server_cpu_us_per_exchange']:.2f}", "", "")
    for kind, shake in row["handshakes"].items():
        yield (f"t handshakes/s, eight at a time, {kind}; CPU of the server for one",
               f"{shake['per_second']:,.0f}; {shake['server_cpu_us']:.0f} µs", "", "")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures = {"a": None, "b": None, "c": measure_c, "d": measure_d, "e": measure_e, "f": measure_f, "g": measure_g,
                "t": None}
    parser.add_argument("parts", nargs="*", choices=[*measures, []], metavar="PART")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=int, default=10, help="of each exchange run")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    measures["a"] = lambda: measure_a(options.seconds)
    measures["b"] = lambda: measure_b(min(options.seconds, 3))
    measures["t"] = lambda: measure_t(min(options.seconds, 4))
    report = {}
    for part in options.parts or measures:
        report[part] = measures[part]()
        if not options.json:
            for what, figure, must, aim in rows_of({part: report[part]}):
                print(f"{what:<62} {figure:>20}   must {must or '-':<8} aim {aim or '-'}", flush=True)
    if options.json:
        print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
