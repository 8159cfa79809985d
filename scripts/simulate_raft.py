"""Play simulated Raft clusters, one for each seed, with all invariants checked after every step.

Exits 1 if a seed breaks an invariant; its line names the seed and the step, and the same seed shows it again. With
--mutation a rule of Raft is broken on purpose first: then a violation is what should come out.

Example: python scripts/simulate_raft.py --seeds 200
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raftgossip.sim.checks import Violation
from raftgossip.sim.world import Outcome, simulate
from tests.support.raft_mutations import MUTATIONS, applied

PROGRESS_EVERY = 50


def play(first: int, num_seeds: int, num_events: int) -> tuple[list[Outcome], list[str]]:
    """Play the seeds, showing progress on stderr; the outcomes and the texts of the violations."""
    outcomes: list[Outcome] = []
    violations: list[str] = []
    for number, seed in enumerate(range(first, first + num_seeds), start=1):
        try:
            outcomes.append(simulate(seed, num_events))
        except Violation as violation:
            violations.append(str(violation))
            print(f"VIOLATION {violation}", file=sys.stderr)
        if number % PROGRESS_EVERY == 0 or number == num_seeds:
            print(f"{number} of {num_seeds} seeds, {len(violations)} violations", file=sys.stderr)
    return outcomes, violations


def summary(outcomes: list[Outcome], violations: list[str], seconds: float) -> dict[str, int | float]:
    """The figures of the whole; those of a seed with a violation are left out, but for the seed itself."""
    return {
        "seeds": len(outcomes) + len(violations),
        "events": sum(outcome.num_events for outcome in outcomes),
        "elections": sum(outcome.num_elections for outcome in outcomes),
        "crashes": sum(outcome.num_crashes for outcome in outcomes),
        "commits": sum(outcome.num_committed for outcome in outcomes),
        "membership_changes": sum(outcome.num_changes for outcome in outcomes),
        "violations": len(violations),
        "seconds": round(seconds, 1),
    }


def main() -> int:
    """Read the arguments, play, print one summary line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, metavar="N", help="how many seeds (default 200)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first seed (default 0)")
    parser.add_argument("--events", type=int, default=3000, metavar="E", help="faulty events a seed (default 3000)")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break this rule first")
    parser.add_argument("--json", action="store_true", help="print the summary and the violations as JSON")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with applied(MUTATIONS[arguments.mutation]) if arguments.mutation else nullcontext():
        outcomes, violations = play(arguments.first, arguments.seeds, arguments.events)
    figures = summary(outcomes, violations, time.perf_counter() - started)
    if arguments.json:
        print(json.dumps({**figures, "first_violations": violations[:10]}))
    else:
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
