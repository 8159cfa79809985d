"""How many commands a cluster of real processes commits, beside PySyncObj, and how many linearizable reads it answers.

Figures (a ratio is ours / PySyncObj, more is better), on 3 voters, and with the suffix `.v5` on 5:

- `raft.commits.p1`, `.p16`, `.p128`: commits per second with so many proposals of 256 bytes outstanding;
- `raft.p99_ms.p64`: the 99th percentile of a commit's latency with 64 outstanding (a ratio below 1 is better);
- `raft.reads.p16`: linearizable reads per second by 16 clients. PySyncObj has none: its reads are local and stale.

Both sides are one process per voter on loopback, and both make their load inside the leader's process: ours by so many
asyncio tasks, PySyncObj by callbacks that propose again. Ours writes SQLite with fsync before anything is acknowledged;
PySyncObj writes its journal into a memory map and never calls fsync (see `pysyncobj_cluster.py`).

Method: the processes of both sides stay, and each side is idle while the other works, in turn A B A B …, after one pair
that does not count. Each figure is a median, the ratio that of the pairs' ratios.

Example: python benchmarks/raft_commit.py --quick --json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from pysyncobj_cluster import INSTALL, NAME, PySyncObjCluster, is_installed
from raft_figures import COMMAND_BYTES, Figure, note, parser, show

from tests.support.register_cluster import RegisterCluster

PROPOSERS = (1, 16, 64, 128)
NUM_READERS = 16
WARM_UP_S = 0.5

Report = dict[str, Any]
Loads = tuple[Callable[[int, float], Report], Callable[[int, float], Report] | None]


def our_load(cluster: RegisterCluster, kind: str, num_clients: int, seconds: float) -> Report:
    """Let our leader make a load; what it came to.

    Raises:
        RuntimeError: it gave no answer, or proposals failed although nothing is broken.
    """
    fields = {"kind": kind, "proposers": num_clients, "seconds": seconds, "bytes": COMMAND_BYTES}
    report = cluster.leader().ask("load", timeout_s=seconds + 30, **fields)
    if report is None or "error" in report or report["failed"]:
        raise RuntimeError(f"the load of {num_clients} went wrong: {report}")
    return report


def run_pairs(loads: Loads, num_clients: int, seconds: float, num_pairs: int) -> list[tuple[Report, Report | None]]:
    """Both sides in turn, after one short pair to warm up."""
    ours, theirs = loads

    def pair(lasting_s: float) -> tuple[Report, Report | None]:
        return ours(num_clients, lasting_s), theirs(num_clients, lasting_s) if theirs is not None else None

    pair(min(WARM_UP_S, seconds))
    return [pair(seconds) for _ in range(num_pairs)]


def figure(name: str, unit: str, key: str, pairs: list[tuple[Report, Report | None]]) -> Figure:
    """One figure of the reports; how they differ goes to standard error."""
    values = [(ours[key], theirs[key] if theirs is not None else None) for ours, theirs in pairs]
    shown = ", ".join(f"{one['per_s']:,.0f}/s p50 {one['p50_ms']:.2f} p99 {one['p99_ms']:.2f} ms" for one, _ in pairs)
    note(f"{name}: {shown}")
    return Figure.of_pairs(name, unit, NAME, values)


def measure(num_voters: int, seconds: float, num_pairs: int, *, with_baseline: bool) -> Iterator[Figure]:
    """All figures of a cluster of this size."""
    suffix = "" if num_voters == 3 else f".v{num_voters}"
    with ExitStack() as stack:
        ours = stack.enter_context(RegisterCluster(num_voters))
        theirs = stack.enter_context(PySyncObjCluster(num_voters)) if with_baseline else None
        loads: Loads = (
            lambda count, lasting_s: our_load(ours, "write", count, lasting_s),
            None if theirs is None else lambda count, lasting_s: theirs.load(count, lasting_s, COMMAND_BYTES),
        )
        for count in PROPOSERS:
            pairs = run_pairs(loads, count, seconds, num_pairs)
            if count == 64:
                yield figure(f"raft.p99_ms.p64{suffix}", "ms", "p99_ms", pairs)
            else:
                yield figure(f"raft.commits.p{count}{suffix}", "1/s", "per_s", pairs)
        reads: Loads = (lambda count, lasting_s: our_load(ours, "read", count, lasting_s), None)
        pairs = run_pairs(reads, NUM_READERS, seconds, num_pairs)
        yield figure(f"raft.reads.p{NUM_READERS}{suffix}", "1/s", "per_s", pairs)


def main() -> int:
    """Measure and print."""
    options_of = parser(__doc__)
    options_of.add_argument("--seconds", type=float, default=3.0, help="of one run; default: %(default)s")
    options_of.add_argument("--pairs", type=int, default=5, help="runs of each side; default: %(default)s")
    options_of.add_argument("--voters", type=int, nargs="+", default=[3, 5], help="cluster sizes; default: 3 5")
    options_of.add_argument("--no-baseline", action="store_true", help=f"without {NAME}")
    options = options_of.parse_args()
    seconds, num_pairs = (1.0, 1) if options.quick else (options.seconds, options.pairs)
    if not options.no_baseline and not is_installed():
        options_of.error(INSTALL)
    lines = (
        line
        for num_voters in options.voters
        for line in measure(num_voters, seconds, num_pairs, with_baseline=not options.no_baseline)
    )
    show(lines, "Raft: commits and reads", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
