#!/usr/bin/env python3
"""How long a server with a long history takes from its start to its first lease, and what memory it then has.

  tests/bench/restart_bench.py FOLDER [--runs N] [--json]

FOLDER is made by fill_store with --live: its hosts' secrets are known. Each run starts the server, asks for work as one
of the hosts until it gets a lease, and kills the server with SIGKILL, so that every run but the first recovers its log.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
import harness  # noqa: E402

LEASE_SECONDS_MAX = 120


def host_secret(number):
    return f"fill-host-{number:033d}"


def exchange(port, host):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/manyhands.v1.WorkService/Exchange", data=b'{"wantedCount": 1}',
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {host_secret(host)}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def memory_mb(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {field}")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def one_run(folder, host):
    with tempfile.TemporaryDirectory() as directory:
        port_file = pathlib.Path(directory) / "port"
        begin = time.monotonic()
        server = subprocess.Popen([str(harness.BIN / "manyhands-server"), "run", str(folder), "--plain-http",
                                   "--listen", "127.0.0.1:0", "--port-file", str(port_file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            while not port_file.exists():
                if server.poll() is not None or time.monotonic() - begin > LEASE_SECONDS_MAX:
                    raise AssertionError("the server does not listen")
                time.sleep(0.002)
            listens = time.monotonic() - begin
            while not exchange(int(port_file.read_text()), host).get("assignments"):
                if time.monotonic() - begin > LEASE_SECONDS_MAX:
                    raise AssertionError("no lease: is there waiting work (fill_store --live)?")
            return {"listens": listens, "first_lease": time.monotonic() - begin, "cpu": cpu_seconds(server.pid),
                    "memory_mb": memory_mb(server.pid, "VmRSS"), "peak_mb": memory_mb(server.pid, "VmHWM")}
        finally:
            server.kill()
            server.wait(timeout=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    # A host each, so that every run gets a new lease.
    runs = [one_run(options.folder, number + 1) for number in range(options.runs)]
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    if options.json:
        print(json.dumps({"runs": runs, "median": median}))
        return
    for run in runs:
        print(f"listens after {run['listens']:.2f} s, first lease after {run['first_lease']:.2f} s "
              f"({run['cpu']:.2f} s of CPU), "
              f"{run['memory_mb']:.0f} MB (peak {run['peak_mb']:.0f} MB)")
    print(f"median: first lease after {median['first_lease']:.2f} s ({median['cpu']:.2f} s of CPU), {median['memory_mb']:.0f} MB")


if __name__ == "__main__":
    main()
