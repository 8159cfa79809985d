"""Play simulated Raft clusters, one for each seed, with all invariants checked after every step.

Exits 1 if a seed breaks an invariant; its line names the seed and the step, and `scripts/replay.py` shows it again.
With --mutation a rule of Raft is broken on purpose first: then a violation is what should come out.

Example: python scripts/simulate_raft.py --seeds 300
         python scripts/simulate_raft.py --seeds 10000 --nodes 5 --min-ms 60000 --events 0 --jobs 2
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raftgossip.sim.checks import Violation
from raftgossip.sim.world import Outcome, simulate
from tests.support.raft_mutations import MUTATIONS, applied

SEEDS_PER_PIECE = 10
PROGRESS_EVERY = 50


@dataclass(frozen=True, slots=True)
class Piece:
    """Some seeds for one process."""

    seeds: range
    num_events: int
    min_ms: int
    num_machines: int | None
    mutation: str | None


def play(piece: Piece) -> list[Outcome | str]:
    """Each seed's outcome, or what it violated."""
    found: list[Outcome | str] = []
    with applied(MUTATIONS[piece.mutation]) if piece.mutation else nullcontext():
        for seed in piece.seeds:
            try:
                found.append(simulate(seed, piece.num_events, min_ms=piece.min_ms, num_machines=piece.num_machines))
            except Violation as violation:
                found.append(str(violation))
    return found


def play_all(pieces: list[Piece], num_jobs: int) -> Iterator[Outcome | str]:
    """All seeds, in their order, in one process or several."""
    if num_jobs == 1:
        for piece in pieces:
            yield from play(piece)
        return
    with multiprocessing.get_context("spawn").Pool(num_jobs) as pool:
        for found in pool.imap(play, pieces):
            yield from found


def summary(outcomes: list[Outcome], violations: list[str], seconds: float) -> dict[str, int | float]:
    """The figures of the whole; those of a seed with a violation are left out, but for the seed itself."""
    return {
        "seeds": len(outcomes) + len(violations),
        "events": sum(outcome.num_events for outcome in outcomes),
        "shortest_virtual_seconds": min((outcome.duration_ms for outcome in outcomes), default=0) // 1000,
        "elections": sum(outcome.num_elections for outcome in outcomes),
        "crashes": sum(outcome.num_crashes for outcome in outcomes),
        "commits": sum(outcome.num_committed for outcome in outcomes),
        "membership_changes": sum(outcome.num_changes for outcome in outcomes),
        "joint_changes": sum(outcome.num_joint for outcome in outcomes),
        "snapshots_installed": sum(outcome.num_installed for outcome in outcomes),
        "calls": sum(outcome.num_calls for outcome in outcomes),
        "calls_answered": sum(outcome.num_answered for outcome in outcomes),
        "violations": len(violations),
        "seconds": round(seconds, 1),
    }


def main() -> int:
    """Read the arguments, play, print one summary line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=300, metavar="N", help="how many seeds (default 300)")
    parser.add_argument("--first", type=int, default=0, metavar="S", help="the first seed (default 0)")
    parser.add_argument("--events", type=int, default=4000, metavar="E", help="faulty events a seed (default 4000)")
    parser.add_argument("--min-ms", type=int, default=0, metavar="T", help="virtual time with faults, at least")
    parser.add_argument("--nodes", type=int, metavar="N", help="machines of every cluster (default: 3 to 7)")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="processes (default 1)")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break this rule first")
    parser.add_argument("--json", action="store_true", help="print the summary and the violations as JSON")
    options = parser.parse_args()
    started = time.perf_counter()
    seeds = range(options.first, options.first + options.seeds)
    pieces = [
        Piece(seeds[place : place + SEEDS_PER_PIECE], options.events, options.min_ms, options.nodes, options.mutation)
        for place in range(0, len(seeds), SEEDS_PER_PIECE)
    ]
    outcomes: list[Outcome] = []
    violations: list[str] = []
    for number, found in enumerate(play_all(pieces, options.jobs), start=1):
        if isinstance(found, Outcome):
            outcomes.append(found)
        else:
            violations.append(found)
            print(f"VIOLATION {found}", file=sys.stderr, flush=True)
        if number % PROGRESS_EVERY == 0 or number == len(seeds):
            print(f"{number} of {len(seeds)} seeds, {len(violations)} violations", file=sys.stderr, flush=True)
    figures = summary(outcomes, violations, time.perf_counter() - started)
    if options.json:
        print(json.dumps({**figures, "first_violations": violations[:10]}))
    else:
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()))
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
