#!/usr/bin/env python3
"""Does the simulator find bugs? Breaks one rule of the scheduler or of the client core at a time and runs seeds until one is caught.

    mutants.py [--build FOLDER] [--seeds N] [--jobs N] [--only NAME]...

A mutation replaces a text that must stand exactly once in its file. Only that file is compiled anew, into a folder of its own; the
object stands before the libraries in the link line, so the rest of the simulator is the one of the build. Prints a table; exit status
1 if a mutation survives all seeds, 2 if one does not fit the source any more.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SECONDS_MAX = 60


@dataclass(frozen=True)
class Mutation:
    name: str  # the rule that it disables, in words
    file: str
    find: str
    replace: str


# Not here, because no invariant can tell them from a host that is merely unlucky or slow: a client that forgets a result before
# its verdict (the workunit is given to another), and a host that backs up its own workunit (backups go to hosts without leases).
MUTATIONS = (
    Mutation("a late report counts a second time", "scheduler/validator.cpp",
             "    if (workunit.row.state == WorkunitState::kDone) {\n"
             "      MH_PROBE(\"an expired result comes after its workunit was done\");\n"
             "      return repeated(result.row, report);\n    }",
             "    if (workunit.row.state == WorkunitState::kDone) {\n"
             "      host_.row.credit += workunit.gflop;\n      state_.changed(host_);\n"
             "      return repeated(result.row, report);\n    }"),
    Mutation("a report is taken from another host", "scheduler/validator.cpp",
             "    if (result.row.host != host_.row.id) {", "    if (false) {"),
    Mutation("a repeated report earns credit again", "scheduler/validator.cpp",
             "    if (row.state != ResultState::kValid && row.state != ResultState::kReported) {\n      state_.effects()",
             "    host_.row.credit += row.credit;\n    state_.changed(host_);\n"
             "    if (row.state != ResultState::kValid && row.state != ResultState::kReported) {\n      state_.effects()"),
    Mutation("leases never expire", "scheduler/state.cpp",
             "  while (!state.deadlines.empty() && state.deadlines.begin()->first <= now) {", "  while (false) {"),
    Mutation("a lost lease does not halve the quota", "scheduler/state.cpp",
             "    host.row.lease_quota = std::max<std::uint32_t>(1, host.row.lease_quota / 2);\n    state.changed(host);",
             "    state.changed(host);"),
    Mutation("hosts get work beyond their quota", "scheduler/assigner.cpp",
             "reply_.assignments.size() < event_.wanted && host_.leases.size() < most;",
             "reply_.assignments.size() < event_.wanted;"),
    Mutation("a step ends with a workunit missing", "scheduler/state.h",
             "  bool is_step_complete() const { return !workunits.empty() && done_count == workunits.size(); }",
             "  bool is_step_complete() const { return !workunits.empty() && done_count + 1 >= workunits.size(); }"),
    Mutation("work is not kept for other hosts", "scheduler/spread.cpp",
             "  return after >= hosts_min_ || after >= least_;", "  return after > 0;"),
    Mutation("updates are not in the order of shards", "scheduler/counted_shards.cpp",
             "    ready.update_digests.push_back(shard.result->update_digest);",
             "    ready.update_digests.insert(ready.update_digests.begin(), shard.result->update_digest);"),
    Mutation("the loss is summed in the order of results", "scheduler/counted_shards.cpp",
             "  Sums sums;\n  for (const CountedShard& shard : shards) {",
             "  Sums sums;\n  CountedShards order = shards;\n"
             "  std::sort(order.begin(), order.end(), [](const CountedShard& a, const CountedShard& b) {\n"
             "    return a.result->id < b.result->id;\n  });\n"
             "  for (const CountedShard& shard : order) {"),
    Mutation("lost leases are not sent again", "scheduler/assigner.cpp",
             "      if (!is_old && !event_.description) {", "      if (true) {"),
    Mutation("a restart forgets expired results", "scheduler/restore.cpp",
             "    const auto found = state_.workunits.find(row.workunit);\n    HostEntry& host",
             "    if (row.state == ResultState::kExpired) return;\n"
             "    const auto found = state_.workunits.find(row.workunit);\n    HostEntry& host"),
    Mutation("a restart forgets accepted updates' blobs", "scheduler/restore.cpp",
             "        state_.blobs.add(result.row.update_digest);", "        static_cast<void>(0);"),
    Mutation("backup copies are unbounded", "scheduler/state.cpp",
             "  if (target.leases.empty() || target.leases.size() >= options.copies_max) return;",
             "  if (target.leases.empty()) return;"),
    Mutation("an update is given up while the step needs it", "scheduler/job_steps.cpp",
             "    state.blobs.add(result.row.update_digest);\n    state.effects().updates_accepted",
             "    state.blobs.add(result.row.update_digest);\n    state.release(result.row.update_digest);\n"
             "    state.effects().updates_accepted"),
    Mutation("parameters go before their evaluation", "scheduler/checkpoints.cpp",
             "  return job.evaluations.contains(step);", "  return false;"),
    Mutation("evaluations go to any host", "scheduler/assigner.cpp",
             "      if (host_.row.is_trusted) workunit = waiting_in(*job, job->waiting_evaluations);",
             "      workunit = waiting_in(*job, job->waiting_evaluations);"),
    Mutation("failing hosts do not pause", "scheduler/outcomes.cpp",
             "  host.paused_until = now + failure_pause(state.options, host.failures_in_row);", ""),
    Mutation("leases can be renewed for ever", "scheduler/assigner.cpp",
             "      received < renewable_until(state.options, result.row.leased, result.row.lease_length);",
             "      received < TimePoint::max();"),
    Mutation("a missing update counts", "scheduler/validator.cpp",
             "    if (report.outcome == Outcome::kSuccess && report.screening != Screening::kMissing) {",
             "    if (report.outcome == Outcome::kSuccess) {"),
    Mutation("screening's refusal is ignored", "scheduler/validator.cpp",
             "  if (report.screening == Screening::kRefused) return report.screening_reason;", ""),
    Mutation("results are checked now and then where all should be", "scheduler/checks.cpp",
             "  if (policy.mode == ValidationMode::kAll || host.row.standing != Standing::kRecord) return true;", ""),
    Mutation("any two results agree", "scheduler/agreement.cpp",
             "  if (!(distance.relative_l2 <= tolerance.relative_l2)) return false;", "  return true;"),
    Mutation("who confirms another earns twice", "scheduler/quorum.cpp",
             "    pay(host, false, result.row);\n",
             "    pay(host, false, result.row);\n    pay(host, false, result.row);\n"),
    Mutation("a restart forgets what waits for a check", "scheduler/restore.cpp",
             "        restore_reported(workunit, result);\n", ""),
    Mutation("an update that waits for a check is given up", "scheduler/checks.cpp",
             "  state.blobs.add(result.row.update_digest);\n  state.effects().updates_reported",
             "  state.effects().updates_reported"),
    Mutation("the client reports before it uploads", "client/daemon/host_work.cpp",
             "  work.state = is_gradient ? WorkState::kUploading : WorkState::kReporting;",
             "  work.state = WorkState::kReporting;"),
    Mutation("the client takes a result again that it has delivered", "client/daemon/host_work.cpp",
             "  if (work_.contains(result) || std::find(closed_.begin(), closed_.end(), result) != closed_.end())\n    return;",
             "  if (work_.contains(result)) return;"),
    Mutation("the client trusts its clock", "client/daemon/host_core.cpp",
             "  last_now_ = now;\n  return steady_now_;", "  last_now_ = now;\n  steady_now_ = now;\n  return steady_now_;"),
)


class Toolchain:
    """How the build compiles a file and links the simulator."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        with open(os.path.join(self.build, "compile_commands.json"), encoding="utf-8") as file:
            self.commands = {entry["file"]: entry for entry in json.load(file)}
        lines = subprocess.run(["ninja", "-C", self.build, "-t", "commands", "manyhands-sim"], check=True, text=True,
                               capture_output=True).stdout.splitlines()
        self.link = next(line for line in reversed(lines) if "-o bin/manyhands-sim" in line)

    def sources(self, file):
        """What must be compiled anew: a source file itself, for a header every source of its folder."""
        if file.endswith(".cpp"):
            return [file]
        folder = os.path.join(ROOT, os.path.dirname(file)) + "/"
        return sorted(os.path.relpath(path, ROOT) for path in self.commands if path.startswith(folder))

    def compile(self, source, tree, output):
        entry = self.commands[os.path.join(ROOT, source)]
        words = [word for word in shlex.split(entry["command"]) if not word.endswith("ccache")]
        words[words.index("-o") + 1] = output
        changed = os.path.join(tree, source)
        words[-1] = changed if os.path.exists(changed) else entry["file"]
        words = [words[0], f"-I{tree}", *words[1:], "-O1", "-Wno-error", "-w"]
        subprocess.run(words, cwd=entry["directory"], check=True, text=True, capture_output=True)

    def link_with(self, objects, output):
        command = self.link.replace("-o bin/manyhands-sim", " ".join([*map(shlex.quote, objects), "-o", shlex.quote(output)]))
        subprocess.run(command, shell=True, cwd=self.build, check=True, text=True, capture_output=True)


def mutate(mutation, tree):
    """Writes the changed file into `tree`; false if the text does not stand there exactly once."""
    with open(os.path.join(ROOT, mutation.file), encoding="utf-8") as file:
        text = file.read()
    if text.count(mutation.find) != 1:
        return False
    path = os.path.join(tree, mutation.file)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(mutation.find, mutation.replace))
    return True


def hunt(program, seeds):
    """(seed, invariant) of the first seed that fails; (None, ...) if none does."""
    done = subprocess.run([program, "run", "--seeds", str(seeds), "--json"], text=True, capture_output=True, timeout=SECONDS_MAX,
                          check=False)
    if done.returncode == 0:
        return None, "SURVIVES"
    if done.returncode < 0:
        return "?", f"the simulator died of signal {-done.returncode}"
    failure = json.loads(done.stdout).get("failure")
    if not failure:
        return None, done.stderr.strip() or "SURVIVES"
    return failure["seed"], re.sub(r"\s+", " ", failure["text"])


def try_one(mutation, tools, seeds):
    tree = tempfile.mkdtemp(prefix="mutant-")
    try:
        if not mutate(mutation, tree):
            return mutation, None, "does not fit: its text must stand exactly once in " + mutation.file, True
        objects = []
        for number, source in enumerate(tools.sources(mutation.file)):
            objects.append(os.path.join(tree, f"{number}.o"))
            tools.compile(source, tree, objects[-1])
        program = os.path.join(tree, "manyhands-sim")
        tools.link_with(objects, program)
        seed, text = hunt(program, seeds)
        return mutation, seed, text, False
    except subprocess.CalledProcessError as error:
        return mutation, None, "does not build: " + (error.stderr or "")[-300:], True
    except subprocess.TimeoutExpired:
        return mutation, "?", f"hangs (more than {SECONDS_MAX} s)", False
    finally:
        shutil.rmtree(tree)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build/release"))
    parser.add_argument("--seeds", type=int, default=25000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", action="append", default=[], help="part of a mutation's name")
    parser.add_argument("--check", action="store_true", help="only look whether every mutation fits the source")
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if not arguments.only or any(part in m.name for part in arguments.only)]
    if arguments.check:
        misfits = [m.name for m in chosen if not mutate(m, tempfile.mkdtemp(prefix="mutant-"))]
        print("\n".join(f"does not fit: {name}" for name in misfits) or f"{len(chosen)} mutations fit")
        sys.exit(2 if misfits else 0)
    tools = Toolchain(arguments.build)
    survived = broken = 0
    print(f"{'rule that is disabled':58} {'caught by seed':>14}  invariant")
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for mutation, seed, text, is_broken in pool.map(lambda m: try_one(m, tools, arguments.seeds), chosen):
            print(f"{mutation.name:58} {'-' if seed is None else seed:>14}  {text[:110]}", flush=True)
            broken += is_broken
            survived += seed is None and not is_broken
    print(f"{len(chosen)} mutations, {len(chosen) - survived - broken} caught, {survived} survived"
          + (f", {broken} could not be tried" if broken else ""))
    sys.exit(2 if broken else 1 if survived else 0)


if __name__ == "__main__":
    main()
