"""How fast a follower that was away catches up, and whether the cluster goes on committing meanwhile.

Figures, on 3 voters, `WAY` being `log` or `snapshot`:

- `raft.catch_up.WAY.seconds`: from when the follower's new process listens until it has applied what was committed
  before it was started;
- `raft.catch_up.WAY.entries_per_s`: the entries that it lacked, by that time;
- `raft.catch_up.WAY.commits_per_s`: what the cluster committed meanwhile, with 16 proposals outstanding. The baseline
  is the same load on the same cluster just before, while the follower was still away.

By log: nothing is compacted. By snapshot: a snapshot is taken every 2,000 entries and 100 older ones are kept, so that
the follower needs one; that it got one is checked. The commands write many registers, so that snapshots have a size.

Example: python benchmarks/raft_catch_up.py --entries 5000 --json
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from raft_figures import COMMAND_BYTES, Figure, note, parser, show

from tests.support.register_cluster import RegisterCluster, RegisterProcess

NEVER = 10**12
WAYS = {
    "log": {"snapshot_entries": NEVER, "snapshot_bytes": NEVER},
    "snapshot": {"snapshot_entries": 2_000, "snapshot_trailing": 100},
}
NUM_PROPOSERS = 128
NUM_BUSY_PROPOSERS = 16
NUM_KEYS = 200
"""Registers for each proposer."""
PATIENCE_S = 120.0
NUM_ATTEMPTS = 5

Report = dict[str, Any]


def load(cluster: RegisterCluster, num_proposers: int, seconds: float) -> Report:
    """Let the leader commit as fast as it can; once more if it lost its leadership before it committed anything.

    Raises:
        RuntimeError: nothing is committed, again and again.
    """
    fields = {"proposers": num_proposers, "seconds": seconds, "bytes": COMMAND_BYTES, "keys": NUM_KEYS}
    report: Report | None = None
    for _ in range(NUM_ATTEMPTS):
        report = cluster.leader().ask("load", timeout_s=seconds + PATIENCE_S, **fields)
        if report is not None and report.get("count"):
            return report
    raise RuntimeError(f"the load went wrong {NUM_ATTEMPTS} times: {report}")


def status_of(node: RegisterProcess) -> Report:
    """What a node knows of itself.

    Raises:
        RuntimeError: it does not answer.
    """
    status = node.ask("status", timeout_s=10.0)
    if status is None:
        raise RuntimeError(f"node {node.node_id} does not answer: {node.complaints()}")
    return status


def catch_up(way: str, num_entries: int, load_s: float) -> Iterator[Figure]:
    """Kill a follower, commit so many entries, start it again, and watch. `load_s`: how long one load lasts."""
    with RegisterCluster(3, WAYS[way]) as cluster, ThreadPoolExecutor(1) as threads:
        leader = cluster.leader()
        load(cluster, NUM_PROPOSERS, load_s / 4)
        follower = cluster.others(leader)[0]
        held_index = status_of(follower)["last_index"]
        follower.kill()
        while status_of(cluster.leader())["commit_index"] < held_index + num_entries:
            load(cluster, NUM_PROPOSERS, load_s)
        before = load(cluster, NUM_BUSY_PROPOSERS, load_s)
        goal = status_of(cluster.leader())["commit_index"]
        busy = threads.submit(load, cluster, NUM_BUSY_PROPOSERS, load_s)
        cluster.start(follower.node_id)
        start_s = time.perf_counter()
        cluster.wait_applied(follower, goal, PATIENCE_S)
        seconds = time.perf_counter() - start_s
        meanwhile = busy.result()
        status = status_of(follower)
        assert (status["first_index"] > held_index + 1) == (way == "snapshot"), f"not by {way}: {status}"
        note(f"{way}: {goal - held_index} entries in {seconds:.2f} s; log from {status['first_index']} on")
    yield Figure(f"raft.catch_up.{way}.seconds", seconds, "s")
    yield Figure(f"raft.catch_up.{way}.entries_per_s", (goal - held_index) / seconds, "1/s")
    rate, baseline = meanwhile["per_s"], before["per_s"]
    yield Figure(f"raft.catch_up.{way}.commits_per_s", rate, "1/s", "without it", baseline, rate / baseline)


def main() -> int:
    """Measure and print."""
    options_of = parser(__doc__)
    options_of.add_argument("--entries", type=int, default=50_000, help="that it lacks at least; default: %(default)s")
    options = options_of.parse_args()
    num_entries, load_s = (2_500, 0.5) if options.quick else (options.entries, 2.0)
    figures = (figure for way in WAYS for figure in catch_up(way, num_entries, load_s))
    show(figures, "Raft: a follower catches up", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
