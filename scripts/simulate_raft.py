"""Play simulated Raft clusters, one for each seed, with all invariants checked after every step.

Exits 1 if a seed breaks an invariant; its line names the seed and the step, and `scripts/replay.py` shows it again.
With --mutation a rule of Raft is broken on purpose first: then a violation is what should come out.

Example: python scripts/simulate_raft.py --seeds 300
         python scripts/simulate_raft.py --seeds 10000 --nodes 5 --min-ms 60000 --events 0 --jobs 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raftgossip.sim.checks import Violation
from raftgossip.sim.outcome import Outcome
from raftgossip.sim.world import simulate
from tests.support.raft_mutations import MUTATIONS, applied

PROGRESS_EVERY = 50


def play(options: argparse.Namespace, seeds: range) -> tuple[list[Outcome], list[str]]:
    """Play the seeds, showing progress on stderr; the outcomes and the texts of the violations."""
    outcomes: list[Outcome] = []
    violations: list[str] = []
    for number, seed in enumerate(seeds, start=1):
        try:
            outcomes.append(simulate(seed, options.events, min_ms=options.min_ms, num_machines=options.nodes))
        except Violation as violation:
            violations.append(str(violation))
            print(f"VIOLATION {violation}", file=sys.stderr, flush=True)
        if number % PROGRESS_EVERY == 0 or number == len(seeds):
            print(f"{number} of {len(seeds)} seeds, {len(violations)} violations", file=sys.stderr, flush=True)
    return outcomes, violations


def play_in_processes(options: argparse.Namespace, arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The same in `--jobs` processes, a part of the seeds each; their summaries."""
    bounds = [options.first + options.seeds * place // options.jobs for place in range(options.jobs + 1)]
    running = []
    for first, stop in pairwise(bounds):
        part = ["--first", str(first), "--seeds", str(stop - first), "--jobs", "1", "--json"]
        running.append(subprocess.Popen([sys.executable, __file__, *arguments, *part], stdout=subprocess.PIPE))
    return [json.loads(process.communicate()[0]) for process in running]


def summary(outcomes: list[Outcome], violations: list[str]) -> dict[str, Any]:
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
        "first_violations": violations[:10],
    }


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary of several parts."""
    return {
        name: min(part[name] for part in parts)
        if name.startswith("shortest")
        else sum((part[name] for part in parts[1:]), start=parts[0][name])
        for name in parts[0]
        if name != "seconds"
    }


def main(arguments: Sequence[str]) -> int:
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
    options = parser.parse_args(arguments)
    if min(options.seeds, options.jobs) < 1 or (options.nodes is not None and options.nodes < 2):
        parser.error("--seeds and --jobs are at least 1, --nodes at least 2")
    if options.jobs > options.seeds:
        parser.error(f"--jobs {options.jobs} is more than there are seeds ({options.seeds})")
    started = time.perf_counter()
    if options.jobs > 1:
        figures = merged(play_in_processes(options, arguments))
    else:
        with applied(MUTATIONS[options.mutation]) if options.mutation else nullcontext():
            figures = summary(*play(options, range(options.first, options.first + options.seeds)))
    figures["seconds"] = round(time.perf_counter() - started, 1)
    if options.json:
        print(json.dumps(figures))
    else:
        shown = {name: value for name, value in figures.items() if name != "first_violations"}
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown.items()))
    return 1 if figures["violations"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
