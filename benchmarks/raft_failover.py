"""How long a cluster of real processes commits nothing after its leader was killed, beside PySyncObj.

Figures (seconds, less is better; a ratio is ours / PySyncObj): `raft.failover.median_s` and `raft.failover.p99_s`, from
the SIGKILL to the first commit that somebody else acknowledges, on 3 voters. PySyncObj is killed fewer times; its 99th
percentile is then its maximum.

Ours is judged, too. One client counts a register up, an increment after the other, and repeats each under its session
until it is acknowledged. Each answer must be the one before plus one, or something was lost or done twice; and in the
end every node must have executed every command once. The victim is started again after each kill, and the next kill
comes when it has caught up.

Example: python benchmarks/raft_failover.py --kills 10 --json
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pysyncobj_cluster import INSTALL, NAME, PySyncObjCluster, is_installed
from raft_figures import Figure, note, parser, percentile, show

from tests.support.register_cluster import RegisterClient, RegisterCluster, RegisterProcess, Unanswered

CLIENT = "failover"
KEY = "counter"
PAUSE_S = 0.005
ASK_TIMEOUT_MS = 1_000
PATIENCE_S = 30.0


class Counter:
    """A client that counts up until it is told to stop, whoever leads. One thread runs it; others may look."""

    def __init__(self, cluster: RegisterCluster) -> None:
        self._cluster = cluster
        self._clients: dict[int, tuple[int, RegisterClient]] = {}
        self._target = 1
        self._stop = threading.Event()
        self.num_acknowledged = 0
        self.last: tuple[int, float] = (0, 0.0)
        """Who gave the last acknowledgement, and when."""

    def run(self) -> None:
        """Count.

        Raises:
            AssertionError: an answer shows that something was lost or done twice.
        """
        try:
            while not self._stop.is_set():
                self._increment(self.num_acknowledged + 1)
        finally:
            for _, client in self._clients.values():
                client.close()

    def stop(self) -> None:
        """End after the increment that is under way."""
        self._stop.set()

    def _increment(self, sequence: int) -> None:
        while (result := self._try_once(sequence)) is None:
            time.sleep(PAUSE_S)
        assert result == sequence, f"increment {sequence} made the counter {result}"
        self.num_acknowledged = sequence

    def _try_once(self, sequence: int) -> object:
        node_id = self._target
        try:
            answer = self._client(self._cluster.nodes[node_id]).ask(
                "increment", key=KEY, amount=1, client=CLIENT, sequence=sequence, timeout_ms=ASK_TIMEOUT_MS
            )
        except (Unanswered, ConnectionError):
            self._target = node_id % len(self._cluster.nodes) + 1
            return None
        if "error" in answer:
            self._target = answer.get("leader") or node_id % len(self._cluster.nodes) + 1
            return None
        self.last = (node_id, time.perf_counter())
        return answer["result"]

    def _client(self, node: RegisterProcess) -> RegisterClient:
        """A connection to the node's present life."""
        port, client = self._clients.get(node.node_id, (0, None))
        if client is None or port != node.client_port:
            client = node.client(timeout_s=2 * ASK_TIMEOUT_MS / 1000)
            self._clients[node.node_id] = (node.client_port, client)
        return client

    def wait_other(self, victim: int, killed_s: float) -> float:
        """Seconds from the kill to the first acknowledgement of another node."""
        while time.perf_counter() < killed_s + PATIENCE_S:
            node_id, at_s = self.last
            if node_id != victim and at_s > killed_s:
                return at_s - killed_s
            if self._stop.is_set():
                break
            time.sleep(PAUSE_S / 5)
        raise RuntimeError(f"no commit within {PATIENCE_S} s after node {victim} was killed")


def fail_over(cluster: RegisterCluster, counter: Counter) -> float:
    """Kill the leader; seconds until somebody else commits. Then start the victim again, and let it catch up."""
    victim = cluster.leader()
    victim.kill()
    killed_s = time.perf_counter()
    waited_s = counter.wait_other(victim.node_id, killed_s)
    cluster.start(victim.node_id)
    status = cluster.leader().ask("status")
    assert status is not None
    cluster.wait_applied(victim, status["commit_index"])
    return waited_s


def our_times(num_kills: int) -> list[float]:
    """Kill our leader so often, and judge what the client saw."""
    with RegisterCluster(3) as cluster, ThreadPoolExecutor(1) as threads:
        counter = Counter(cluster)
        counting = threads.submit(counter.run)
        times: list[float] = []
        try:
            for _ in range(num_kills):
                if counting.done():
                    counting.result()
                times.append(fail_over(cluster, counter))
                note(f"kill {len(times)}: {times[-1]:.3f} s")
        finally:
            counter.stop()
            counting.result(PATIENCE_S)
        judge(cluster, counter.num_acknowledged)
    return times


def judge(cluster: RegisterCluster, num_acknowledged: int) -> None:
    """Nothing lost, nothing twice.

    Raises:
        AssertionError: something was.
    """
    for node in cluster.nodes.values():
        value = node.ask("read", key=KEY)
        assert value == {"result": num_acknowledged}, f"node {node.node_id} holds {value}, not {num_acknowledged}"
        counts = node.ask("executions", client=CLIENT, **{"from": 1, "to": num_acknowledged + 1})
        assert counts is not None and set(counts["counts"]) == {1}, f"node {node.node_id} executed {counts}"
    note(f"{num_acknowledged} acknowledged increments: none lost, none executed twice, on all nodes")


def measure(num_kills: int, num_baseline_kills: int) -> Iterator[Figure]:
    """Both figures."""
    ours = our_times(num_kills)
    theirs: list[float] = []
    if num_baseline_kills:
        with PySyncObjCluster(3) as cluster:
            theirs = [cluster.fail_over() for _ in range(num_baseline_kills)]
        note(f"{NAME}: {', '.join(f'{one:.3f}' for one in theirs)} s")
    for name, share in (("median_s", 0.5), ("p99_s", 0.99)):
        value = percentile(ours, share)
        if theirs:
            baseline = percentile(theirs, share)
            yield Figure(f"raft.failover.{name}", value, "s", NAME, baseline, value / baseline)
        else:
            yield Figure(f"raft.failover.{name}", value, "s")


def main() -> int:
    """Measure and print."""
    options_of = parser(__doc__)
    options_of.add_argument("--kills", type=int, default=100, help="of our leader; default: %(default)s")
    options_of.add_argument("--baseline-kills", type=int, default=20, help=f"of {NAME}'s leader; default: %(default)s")
    options_of.add_argument("--no-baseline", action="store_true", help=f"without {NAME}")
    options = options_of.parse_args()
    num_kills, num_baseline_kills = (3, 2) if options.quick else (options.kills, options.baseline_kills)
    if options.no_baseline:
        num_baseline_kills = 0
    elif not is_installed():
        options_of.error(INSTALL)
    show(measure(num_kills, num_baseline_kills), "Raft: the leader is killed", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
