"""How long a gateway with 5,000 nodes is incomplete after `kill -9` and a restart, with its disk and without.

The nodes send a heartbeat every 5 s and register again when they are not known, as ours do. Figures:
`gateway.restart.disk.serving_s`, from the kill until the restarted gateway answers, `gateway.restart.disk.known`, the
share of the nodes that it lists in its first answer, `gateway.restart.disk.active_s`, from the kill until all nodes are
active; `gateway.restart.empty.…`, the same when its disk is lost.

Example: python benchmarks/gateway_restart.py --json
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
from gateway_processes import UNLIMITED, Served, call, gateway, start_callers
from raft_figures import Figure, parser, show

from raftgossip.ids import Address
from raftgossip.wire.channels import open_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc

BEAT_S = 5.0
PATIENCE_S = 60.0
POLL_S = 0.02
SETTLE_S = 3.0
"""Longer than what was registered waits for the disk."""


def stats_of(address: str) -> pb.GetStatsResponse | None:
    """None: it does not answer."""
    with open_channel(Address.parse(address), None, "") as channel:
        try:
            answer: pb.GetStatsResponse = pb_grpc.GatewayServiceStub(channel).GetStats(pb.GetStatsRequest(), timeout=2)
        except grpc.RpcError:
            return None
        return answer


def restart(num_nodes: int, folder: Path, *, keeps_disk: bool) -> tuple[float, float, float]:
    """One kill: seconds until it answers, the share known then, and seconds until all are active."""
    flags = (*UNLIMITED, "--data-dir", str(folder))
    with gateway(*flags) as first:
        port = Address.parse(first.address).port
        call("register", first.address, (1, num_nodes), callers=64)
        nodes = start_callers("live", first.address, (1, num_nodes), rate=num_nodes / BEAT_S, seconds=SETTLE_S + 40)
        time.sleep(SETTLE_S)
        first.process.kill()
        first.process.wait()
        killed_s = time.perf_counter()
    if not keeps_disk:
        shutil.rmtree(folder)
    try:
        with gateway(*flags, port=port) as second:
            return _watch(second, num_nodes, killed_s)
    finally:
        nodes.kill()
        nodes.communicate()


def _watch(gateway_now: Served, num_nodes: int, killed_s: float) -> tuple[float, float, float]:
    serving_s = known = 0.0
    while time.perf_counter() < killed_s + PATIENCE_S:
        stats = stats_of(gateway_now.address)
        if stats is not None:
            now_s = time.perf_counter() - killed_s
            if not serving_s:
                serving_s, known = now_s, stats.total_nodes / num_nodes
            if stats.active_nodes == num_nodes:
                return serving_s, known, now_s
        time.sleep(POLL_S)
    raise RuntimeError(f"not all of {num_nodes} nodes were active again within {PATIENCE_S:.0f} s")


def measure(num_nodes: int, num_runs: int) -> Iterator[Figure]:
    """With the disk, then without."""
    for name, keeps_disk in (("disk", True), ("empty", False)):
        runs = []
        for _ in range(num_runs):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(restart(num_nodes, Path(folder) / "state", keeps_disk=keeps_disk))
        serving, known, active = (statistics.median(column) for column in zip(*runs, strict=True))
        yield Figure(f"gateway.restart.{name}.serving_s", serving, "s")
        yield Figure(f"gateway.restart.{name}.known", known, "of the nodes")
        yield Figure(f"gateway.restart.{name}.active_s", active, "s", "a heartbeat", BEAT_S, active / BEAT_S)


def main() -> int:
    """Measure and print."""
    options = parser(__doc__).parse_args()
    figures = measure(*((500, 1) if options.quick else (5_000, 5)))
    show(figures, "The gateway restarts", as_json=options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
