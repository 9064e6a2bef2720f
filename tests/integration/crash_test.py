"""kill -9 of server, clients and trainers, at named points and at random moments, costs nothing.

    crash_test.py                              what `make test` runs: 50 kills, among them each named point
    crash_test.py --kills 1000 --seed 7        `make soak`: more of them; prints each kill, and the seed for a replay

Real processes, two jobs at a time; at the end parameters, counts, credit and acknowledgements are compared.
"""

import argparse
import os
import sys
import time
import unittest

import crash_checks
import crash_run
import harness

KILLS_IN_TEST = 50


def crash(kills, seed, tell=lambda text: None):
    """Returns (problems, figures, kinds of points that were passed)."""
    with harness.Cluster() as cluster:
        begin = time.monotonic()
        run = crash_run.CrashRun(cluster, kills, seed, tell)
        run.run()
        checks = crash_checks.Checks(run)
        problems = checks.all()
        checks.figures["kills in all"] = run.kill_count
        checks.figures["named points"] = sum(len(deck.done) for deck in run.decks.values()) + len(run.newcomers)
        checks.figures["seconds"] = round(time.monotonic() - begin)
        if problems:
            cluster.keep = cluster.keep or bool(os.environ.get("MANYHANDS_KEEP_FAILED"))
            print(cluster.describe_logs())
        return problems, checks.figures


class Crashes(unittest.TestCase):
    def test_nothing_is_lost_and_nothing_counts_twice(self):
        seed = int(os.environ.get("MH_SEED", "1"))
        problems, figures = crash(KILLS_IN_TEST, seed)
        print(f"crash_test: seed {seed}: {figures}", file=sys.stderr)
        self.assertEqual(problems, [])
        self.assertGreaterEqual(figures["kills in all"], KILLS_IN_TEST)


def soak():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    arguments = parser.parse_args()
    replay = f"replay with: make soak KILLS={arguments.kills} SEED={arguments.seed}"
    print(f"soak: {arguments.kills} kills, seed {arguments.seed}; {replay}", flush=True)
    try:
        problems, figures = crash(arguments.kills, arguments.seed,
                                  lambda text: print(f"{time.strftime('%H:%M:%S')} {text}", flush=True))
    except AssertionError as error:
        print(f"soak: FAILED: {error}\n{replay}")
        return 1
    for problem in problems:
        print(f"soak: FAILED: {problem}")
    print(f"soak: {figures}\nsoak: {'FAILED; ' + replay if problems else 'nothing lost, nothing twice, same bits'}")
    return 1 if problems else 0


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("--"):
        sys.exit(soak())
    unittest.main(verbosity=2)
