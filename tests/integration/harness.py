"""Starts the real programs on loopback in a folder of their own, and stops all of them again.

Used by the integration tests and by tests/bench/pipeline_bench. Standard library only. Every wait
has a deadline; whatever a test does, `Cluster.close` leaves no process behind.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

REPO = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MANYHANDS_BIN", REPO / "build" / "release" / "bin"))
FASHION_MNIST = pathlib.Path(
    os.environ.get("MANYHANDS_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
FASHION_CLASSES = ("T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot")


class CommandFailed(AssertionError):
    """A program ended with another exit code than the caller expected."""


def fashion_mnist_files():
    """Import options for the Debian package's files."""
    return [
        "--train-inputs", str(FASHION_MNIST / "train-images-idx3-ubyte.gz"),
        "--train-targets", str(FASHION_MNIST / "train-labels-idx1-ubyte.gz"),
        "--test-inputs", str(FASHION_MNIST / "t10k-images-idx3-ubyte.gz"),
        "--test-targets", str(FASHION_MNIST / "t10k-labels-idx1-ubyte.gz"),
        "--class-names", FASHION_CLASSES,
    ]


def run(*command, expect=0, timeout=120, env=None, text_input=None):
    """Runs a program to its end. Returns (stdout, stderr); another exit code is an error."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=timeout, env=env, input=text_input)
    if expect is not None and done.returncode != expect:
        raise CommandFailed(f"{' '.join(map(str, command))}: exit code {done.returncode}, "
                            f"expected {expect}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}")
    return done.stdout, done.stderr


def wait_until(condition, timeout, what):
    """Polls until `condition()` is true; its value is returned."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for: {what}")
        time.sleep(0.02)


class Volunteer:
    """One attached client with a directory of its own."""

    def __init__(self, cluster, name, run_options):
        self.cluster = cluster
        self.name = name
        self.directory = cluster.directory / name
        self.run_options = run_options
        self.process = None

    def start(self, extra_environment=None):
        log = open(self.cluster.directory / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(
            [str(BIN / "manyhands-client"), "run", "--dir", str(self.directory), *self.run_options],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(extra_environment or {})})
        log.close()

    def kill(self):
        """kill -9 of the daemon alone: its trainer must notice and end by itself."""
        self.process.kill()
        self.process.wait(timeout=10)

    def stop(self, timeout=15):
        """SIGTERM; returns the exit code."""
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=timeout)

    def status(self):
        """What its daemon says of itself; None: it does not run (yet)."""
        out, _ = run(BIN / "manyhands-client", "status", "--json", "--dir", self.directory,
                     expect=None)
        status = json.loads(out) if out.startswith("{") else {}
        return status if status.get("running") else None

    def log_text(self):
        return (self.cluster.directory / f"{self.name}.log").read_text(errors="replace")


class Cluster:
    """A server and its volunteers in a temporary folder; use as a context manager."""

    def __init__(self, keep=False, tls=False):
        """`tls`: the server speaks TLS with its own certificate, as it does by default; else plain
        HTTP, so that a test can speak to it over plain sockets."""
        self.tls = tls
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="manyhands-test-"))
        self.keep = keep or bool(os.environ.get("MANYHANDS_KEEP"))
        self.server_dir = self.directory / "server"
        self.port = 0
        self.server = None
        # Of the server's command line: what comes before the program, and further options; and of
        # its process (subprocess.Popen).
        self.server_prefix = []
        self.server_options = []
        self.init_options = ["--invitation-uses", "100000"]
        self.server_process_options = {}
        self.volunteers = {}
        self.invitation = None
        self.environment = {**os.environ, "XDG_CONFIG_HOME": str(self.directory / "config"),
                            "MANYHANDS_TOKEN": "", "MANYHANDS_SERVER": ""}
        for name in ("MANYHANDS_TOKEN", "MANYHANDS_SERVER", "MANYHANDS_CLIENT_DIR"):
            self.environment.pop(name, None)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.keep = self.keep or bool(os.environ.get("MANYHANDS_KEEP_FAILED"))
            print(self.describe_logs())
        self.close()

    def close(self):
        for volunteer in self.volunteers.values():
            try:
                volunteer.stop()
            except subprocess.TimeoutExpired:
                volunteer.process.kill()
                volunteer.process.wait(timeout=10)
        if self.server and self.server.poll() is None:
            self.server.terminate()
            try:
                self.server.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait(timeout=10)
        if self.keep:
            print(f"kept {self.directory}")
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def describe_logs(self):
        parts = []
        for log in sorted(self.directory.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-25:]
            parts.append(f"--- {log.name}\n" + "\n".join(lines))
        return "\n".join(parts)

    # --- the server -------------------------------------------------------------------------

    def init_server(self):
        run(*self.server_prefix, BIN / "manyhands-server", "init", self.server_dir, *self.init_options)

    def spawn_server(self, extra_environment=None):
        """Starts it and does not wait until it listens."""
        port_file = self.directory / "port"
        port_file.unlink(missing_ok=True)
        log = open(self.directory / "server.log", "ab")
        self.server = subprocess.Popen(
            [*self.server_prefix, str(BIN / "manyhands-server"), "run", str(self.server_dir),
             "--listen", f"127.0.0.1:{self.port}", "--port-file", str(port_file),
             *([] if self.tls else ["--plain-http"]), *map(str, self.server_options)],
            stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **(extra_environment or {})}, **self.server_process_options)
        log.close()

    def start_server(self):
        self.spawn_server()
        port_file = self.directory / "port"

        def ready():
            if self.server.poll() is not None:
                raise AssertionError("the server ended at start\n" + self.describe_logs())
            return port_file.exists() and port_file.read_text().strip()

        self.port = int(str(wait_until(ready, 30, "the server's port file")).rsplit(":", 1)[-1])

    def kill_server(self):
        self.server.kill()
        self.server.wait(timeout=10)

    def start(self):
        self.init_server()
        self.start_server()
        self.log_in()

    def log_in(self):
        url = f"{self.url}/#@{self.fingerprint()}" if self.tls else self.url
        self.cli("login", url, "--token-file", self.server_dir / "admin.token", as_json=False)

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def fingerprint(self):
        """Of the server's own key, as `manyhands-server certificate` tells it."""
        out, _ = run(BIN / "manyhands-server", "certificate", self.server_dir, "--json")
        return json.loads(out)["fingerprint"]

    def trust(self):
        """For urllib: trusts the server's own certificate; nothing without TLS."""
        return ssl.create_default_context(cafile=self.server_dir / "tls.crt") if self.tls else None

    def token(self):
        return (self.server_dir / "admin.token").read_text().strip()

    # --- the command line -------------------------------------------------------------------

    def cli(self, *arguments, as_json=True, expect=0, timeout=180):
        """Runs `manyhands …`; returns its parsed JSON, or (stdout, stderr)."""
        extra = ["--json"] if as_json else []
        out, err = run(BIN / "manyhands", *arguments, *extra, expect=expect, timeout=timeout,
                       env=self.environment)
        return json.loads(out) if as_json and expect == 0 else (out, err)

    def call(self, method, message, token=None, expect=200, timeout=40):
        """One RPC as curl would do it: JSON over POST. Returns the parsed reply, else its text."""
        request = urllib.request.Request(
            f"{self.url}/manyhands.v1.{method}", data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json",
                     "Authorization": f"Bearer {token if token is not None else self.token()}"})
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self.trust()) as reply:
                status, headers, body = reply.status, reply.headers, reply.read()
        except urllib.error.HTTPError as error:
            status, headers, body = error.code, error.headers, error.read()
        if status != expect:
            raise AssertionError(f"{method}: HTTP {status}, expected {expect}: {body[:500]!r}")
        is_json = headers.get("Content-Type", "").startswith("application/json")
        return json.loads(body) if is_json else body.decode()

    # --- volunteers -------------------------------------------------------------------------

    def join_url(self):
        if self.invitation is None:
            line = self.cli("account", "invite", "--uses", 1000)["joinLine"]
            self.invitation = re.search(r"#([^'\s]+)", line).group(1)
        return f"{self.url}/#{self.invitation}"

    def add_volunteer(self, name, trusted=False, run_options=("--device", "cpu", "--threads", "1"),
                      by_way_of=None):
        """Attaches a client and starts its daemon. `by_way_of`: port of a relay before the server."""
        volunteer = Volunteer(self, name, list(run_options))
        url = self.join_url()
        if by_way_of is not None:
            url = url.replace(f":{self.port}/", f":{by_way_of}/")
        run(BIN / "manyhands-client", "attach", url, "--dir", volunteer.directory,
            "--name", name, "--yes", env=self.environment)
        self.volunteers[name] = volunteer
        if trusted:
            self.cli("host", "trust", self.host(name)["id"])
        volunteer.start()
        return volunteer

    def host(self, name):
        hosts = [host for host in self.cli("host", "list")["hosts"] if host["name"] == name]
        assert hosts, f"no host named {name}"
        return hosts[-1]

    # --- jobs -------------------------------------------------------------------------------

    def import_fashion_mnist(self, name="fashion-mnist"):
        self.cli("dataset", "import", name, *fashion_mnist_files(), as_json=False)

    def submit(self, yaml_text):
        path = self.directory / f"job-{time.monotonic_ns()}.yaml"
        path.write_text(yaml_text)
        return int(self.cli("job", "submit", path)["job"]["id"])

    def job(self, job_id):
        return self.call("JobService/GetJob", {"id": job_id})["job"]

    def step(self, job_id):
        return int(self.job(job_id).get("step", 0))

    def wait_for_step(self, job_id, step, timeout=120):
        wait_until(lambda: self.step(job_id) >= step, timeout, f"step {step} of job {job_id}")

    def wait_for_job(self, job_id, timeout=180):
        self.cli("job", "wait", job_id, "--timeout", timeout, as_json=False, timeout=timeout + 20)
        return self.job(job_id)

    def step_digests(self, job_id):
        """SHA-256 of the parameters after step 1, 2, … as the server recorded them."""
        steps = self.call("JobService/GetJobMetrics", {"id": job_id, "pointCountMax": 10000})["steps"]
        return [step["parametersDigest"] for step in steps]

    def records(self, job_id):
        """The job's step records, parsed, in order."""
        records, count = [], 1
        while len(records) < count:
            page = self.call("JobService/ListStepRecords", {"jobId": job_id, "fromSequence": len(records)})
            records += [json.loads(record["record"]) for record in page["records"]]
            count = int(page["recordCount"])
        return records

    def summary(self, job_id):
        return self.call("JobService/GetJobSummary", {"id": job_id})


def reference_digests(job_yaml, data_dir, directory):
    """Digests after every step of `manyhands-trainer reference`, the same job alone."""
    path = pathlib.Path(directory) / "reference.yaml"
    path.write_text(job_yaml)
    digests = pathlib.Path(directory) / "reference.digests"
    run(BIN / "manyhands-trainer", "reference", path, "--data", data_dir, "--digests", digests,
        timeout=300)
    return [line.split()[1] for line in digests.read_text().splitlines()]
