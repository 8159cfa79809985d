"""Play one simulated Raft cluster again and show everything that happens in it, a line each.

A seed is a run: the same seed gives the same lines to the byte, on every machine. So what a test names as "seed N, step
M" can be looked at here. Exits 1 if the run breaks a rule.

Example: python scripts/replay.py --seed 7 | tail -50
         python scripts/replay.py --seed 7 --from-ms 900 --to-ms 1200
"""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raftgossip.sim.checks import Violation
from raftgossip.sim.world import World
from tests.support.raft_mutations import MUTATIONS, applied


def main() -> int:
    """Read the arguments and play."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, required=True, metavar="N", help="the run")
    parser.add_argument("--events", type=int, default=4000, metavar="E", help="faulty events (default 4000)")
    parser.add_argument("--min-ms", type=int, default=0, metavar="T", help="virtual time with faults, at least")
    parser.add_argument("--nodes", type=int, metavar="N", help="so many machines, as the failed run had")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break this rule first")
    parser.add_argument("--from-ms", type=int, default=0, metavar="T", help="show what happens from then on")
    parser.add_argument("--to-ms", type=int, metavar="T", help="... until then")
    options = parser.parse_args()
    if options.nodes is not None and options.nodes < 2:
        parser.error("--nodes is at least 2")

    def show(line: str) -> None:
        at_ms = int(line.split(" ", 1)[0])
        if at_ms >= options.from_ms and (options.to_ms is None or at_ms <= options.to_ms):
            sys.stdout.write(line + "\n")

    with applied(MUTATIONS[options.mutation]) if options.mutation else nullcontext():
        world = World(options.seed, show, options.nodes)
        show(f"0 {world.knobs}")
        try:
            outcome = world.run(options.events, options.min_ms)
        except Violation as violation:
            sys.stdout.flush()
            print(f"VIOLATION {violation}", file=sys.stderr)
            return 1
    sys.stdout.flush()
    print(outcome, file=sys.stderr)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
