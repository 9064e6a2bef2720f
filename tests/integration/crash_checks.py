"""What must hold after any number of kills: the model's bits, each sample once, credit exact, no acknowledgement broken.

Looks at the server's answers, then, once it has stopped in order, at its database and its blobs.
"""

import hashlib
import json
import math
import re
import sqlite3
import tempfile

import crash_run
import harness

# Numbers of scheduler/rows.h.
RESULT_VALID = 2
RESULT_AGREED = 9
WORKUNIT_DONE = 3
KIND_GRADIENT = 1
VERDICT = re.compile(r"debug verdict result=(\d+) is_valid=(\d) credit=(\S+)")


def same(first, second):
    """Equal sums, added in another order."""
    return math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-12)


class Checks:
    def __init__(self, run):
        self.run = run
        self.cluster = run.cluster
        self.problems = []
        self.figures = {"kills": dict(run.deaths), "jobs": len(run.finished)}

    def expect(self, holds, what):
        if not holds:
            self.problems.append(what)

    def all(self):
        self.check_answers()
        self.stop()
        database = sqlite3.connect(f"file:{self.cluster.server_dir}/manyhands.db?mode=ro", uri=True)
        try:
            self.check_database(database)
            self.check_acknowledged(database)
            self.check_blobs(database)
        finally:
            database.close()
        self.check_folder()
        return self.problems

    # --- what the server says -------------------------------------------------------------------

    def check_answers(self):
        with tempfile.TemporaryDirectory(prefix="manyhands-reference-") as scratch:
            data = f"{scratch}/data"
            harness.run(harness.BIN / "manyhands", "dataset", "import", "stripes",
                        *crash_run.write_stripes(self.cluster.directory), "--to-dir", data)
            reference = {kind: harness.reference_digests(text, data, scratch)
                         for kind, text in crash_run.JOBS.items()}
        for slot in self.run.finished:
            job, digests = slot["id"], reference[slot["kind"]]
            self.expect(self.cluster.step_digests(job) == digests, f"job {job}: parameters differ from the reference")
            summary = self.cluster.summary(job)
            wanted = len(digests) * 64
            counts = [int(summary.get(key, 0)) for key in
                      ("samplesCounted", "samplesExpected", "samplesDoubled", "samplesMissing")]
            self.expect(counts == [wanted, wanted, 0, 0],
                        f"job {job}: counted, expected, doubled, missing are {counts}, wanted {wanted}")
        jobs = self.cluster.call("JobService/ListJobs", {}).get("jobs", [])
        self.expect(len(jobs) == self.run.submitted, f"{len(jobs)} jobs, {self.run.submitted} were submitted")
        names = [host["name"] for host in self.cluster.cli("host", "list")["hosts"]]
        self.expect(len(names) == len(set(names)) == crash_run.CLIENTS + len(self.run.newcomers),
                    f"hosts are {names}: each was attached once")

    def stop(self):
        for volunteer in self.cluster.volunteers.values():
            self.expect(volunteer.stop() == 0, f"{volunteer.name} did not stop in order")
        self.cluster.server.terminate()
        self.expect(self.cluster.server.wait(timeout=30) == 0, "the server did not stop in order")

    # --- what it has kept -----------------------------------------------------------------------

    def check_database(self, database):
        self.expect(database.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the database is damaged")
        twice = database.execute("SELECT workunit, count(*) FROM results WHERE state=? GROUP BY workunit"
                                 " HAVING count(*) > 1", (RESULT_VALID,)).fetchall()
        self.expect(not twice, f"workunits with two valid results: {twice[:5]}")
        wrong = database.execute(
            "SELECT w.id FROM workunits w LEFT JOIN results r ON r.id = w.canonical WHERE w.state=?"
            " AND (r.id IS NULL OR r.workunit <> w.id OR r.state <> ?)", (WORKUNIT_DONE, RESULT_VALID)).fetchall()
        self.expect(not wrong, f"workunits done without a valid canonical result: {wrong[:5]}")
        self.check_credit(database)
        self.figures["results"] = database.execute("SELECT count(*) FROM results").fetchone()[0]

    def check_credit(self, database):
        earned = {}
        for host, job, credit in database.execute("SELECT host, job, credit FROM results WHERE state IN (?, ?)",
                                                  (RESULT_VALID, RESULT_AGREED)):
            earned.setdefault((host, job), []).append(credit)
        for host, credit, count in database.execute("SELECT id, credit + credit_held, valid_count FROM hosts"):
            mine = [value for key, values in earned.items() if key[0] == host for value in values]
            self.expect(same(credit, math.fsum(mine)) and count == len(mine),
                        f"host {host} has credit {credit} for {count} results; {len(mine)} are worth {math.fsum(mine)}")
        for host, job, credit, count in database.execute("SELECT host, job, credit + credit_held, valid_count FROM contributions"):
            mine = earned.get((host, job), [])
            self.expect(same(credit, math.fsum(mine)) and count == len(mine),
                        f"host {host}, job {job}: credit {credit} for {count} results, {len(mine)} are kept")
        for job, steps, batch, flops in database.execute("SELECT id, step, batch, training_flops FROM jobs"):
            given = [credit for (credit,) in database.execute(
                "SELECT r.credit FROM results r JOIN workunits w ON w.id = r.workunit"
                " WHERE r.job=? AND r.state=? AND w.kind=?", (job, RESULT_VALID, KIND_GRADIENT))]
            self.expect(same(math.fsum(given), steps * batch * flops / 1e9),
                        f"job {job}: credit {math.fsum(given)}, its work is {steps * batch * flops / 1e9}")

    def check_acknowledged(self, database):
        """Each verdict that a client has seen is what the database says."""
        kept = {row[0]: row[1:] for row in database.execute("SELECT id, state, credit FROM results")}
        seen = set()
        for name in self.cluster.volunteers:
            for number, is_valid, credit in VERDICT.findall(self.cluster.volunteers[name].log_text()):
                if is_valid != "1":
                    continue
                seen.add(int(number))
                row = kept.get(int(number))
                self.expect(row in ((RESULT_VALID, float(credit)), (RESULT_AGREED, float(credit))),
                            f"result {number} was acknowledged as valid with credit {credit}, kept is {row}")
        self.expect(seen, "no client has logged a verdict")
        self.figures["acknowledged"] = len(seen)

    def check_blobs(self, database):
        blobs = {path.name: path for path in (self.cluster.server_dir / "blobs").glob("*/*")}
        for name, path in blobs.items():
            self.expect(hashlib.sha256(path.read_bytes()).hexdigest() == name, f"blob {name} has other bytes")
        needed = set()
        for columns, table in (("job_digest, manifest_digest, parameters_digest", "jobs"),
                               ("parameters_digest", "checkpoints"), ("manifest", "datasets")):
            for row in database.execute(f"SELECT {columns} FROM {table}"):
                needed.update(value.hex() for value in row)
        for (manifest,) in database.execute("SELECT manifest FROM datasets"):
            text = json.loads(blobs[manifest.hex()].read_bytes())
            needed.update(re.findall(r'"([0-9a-f]{64})"', json.dumps(text)))
        self.expect(needed <= blobs.keys(), f"blobs that are needed and gone: {sorted(needed - blobs.keys())}")
        delivered = set(self.run.courier.delivered)
        self.expect(delivered <= blobs.keys(), f"uploads acknowledged and gone: {sorted(delivered - blobs.keys())}")
        self.figures["uploads"] = len(delivered)
        self.figures["orphans"] = len(blobs.keys() - needed - delivered)
        unfinished = [path.name for path in (self.cluster.server_dir / "uploads").glob("*")]
        self.figures["unfinished uploads"] = len({name.split(".")[0] for name in unfinished})

    # --- what gc leaves -------------------------------------------------------------------------

    def check_folder(self):
        folder = str(self.cluster.server_dir)
        server = str(harness.BIN / "manyhands-server")
        harness.run(server, "gc", folder, "--older-than", "0s")
        report = json.loads(harness.run(server, "check", folder, "--json")[0])
        self.expect(report["isWhole"], f"damage: {report['damage']}")
        self.expect(report["orphanCount"] == 0, f"{report['orphanCount']} orphan blobs after gc")
