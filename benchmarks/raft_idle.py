"""What a cluster of real processes costs while nobody wants anything of it.

Figure: `raft.idle.cpu_percent`, the processor time of the busiest node of an idle cluster of 5 voters, in per cent of
one core. The leader sends heartbeats, the others answer them; timers are the defaults. Needs Linux (`/proc`).

Example: python benchmarks/raft_idle.py --json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from raft_figures import Figure, note, parser, show

from tests.support.register_cluster import RegisterCluster

NUM_VOTERS = 5
SETTLE_S = 3.0


def measure(seconds: float) -> Iterator[Figure]:
    """Let a cluster idle for so long."""
    with RegisterCluster(NUM_VOTERS) as cluster:
        leader = cluster.leader().node_id
        time.sleep(SETTLE_S)
        before = {node_id: node.cpu_s() for node_id, node in cluster.nodes.items()}
        start_s = time.perf_counter()
        time.sleep(seconds)
        lasted_s = time.perf_counter() - start_s
        used = {node_id: node.cpu_s() - before[node_id] for node_id, node in cluster.nodes.items()}
        assert cluster.leader().node_id == leader, "an idle cluster changed its leader"
    percent = {node_id: 100 * cpu_s / lasted_s for node_id, cpu_s in used.items()}
    shown = ", ".join(f"{node_id}: {one:.2f} %" for node_id, one in percent.items())
    note(f"{shown}; node {leader} led")
    yield Figure("raft.idle.cpu_percent", max(percent.values()), "% of a core")


def main() -> int:
    """Measure and print."""
    options_of = parser(__doc__)
    options_of.add_argument("--seconds", type=float, default=20.0, help="of idleness; default: %(default)s")
    options = options_of.parse_args()
    figures = measure(5.0 if options.quick else options.seconds)
    show(figures, "Raft: an idle cluster", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
