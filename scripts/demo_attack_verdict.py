"""Reads 'manyhands host list --json' after demo-attack.sh and says whether it met its mark; exit status 1 if not.

    manyhands host list --json | demo_attack_verdict.py --accuracy 0.905 --cheats mallory,freddie
"""
import argparse
import json
import sys

ACCURACY_MIN = 0.90
# Standings of a host whose results were found wrong.
FOUND = ("probation", "limited", "banned")


def findings(hosts, accuracy, cheats):
    """(is it as it should be, what) for everything that the demo claims."""
    yield accuracy >= ACCURACY_MIN, f"test accuracy {accuracy}, at least {ACCURACY_MIN} wanted"
    for host in hosts:
        standing, credit = host.get("standing", ""), float(host.get("credit", 0))
        name, held = host["name"], float(host.get("creditHeld", 0))
        if name in cheats:
            is_found = standing in FOUND and int(host.get("differedCount", 0)) > 0
            yield is_found, (f"{name} is {standing}: {host.get('standingReason', '')} "
                                    f"({host.get('differedCount', 0)} of {host.get('checkedCount', 0)} checked differed)")
            yield credit == 0, f"{name} has {credit:,.1f} GFLOP of credit, and {held:,.1f} held back"
        else:
            yield standing not in FOUND, f"{name} is {standing}, with {credit:,.1f} GFLOP of credit"
    missing = set(cheats) - {host["name"] for host in hosts}
    yield not missing, f"hosts that should be there and are not: {', '.join(sorted(missing)) or 'none'}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accuracy", type=float, required=True)
    parser.add_argument("--cheats", type=lambda text: text.split(","), required=True)
    options = parser.parse_args()
    is_well = True
    for is_so, what in findings(json.load(sys.stdin)["hosts"], options.accuracy, options.cheats):
        print(("ok      " if is_so else "WRONG   ") + what)
        is_well = is_well and is_so
    sys.exit(0 if is_well else 1)


if __name__ == "__main__":
    main()
