"""A gateway process that dies and comes back, and peers that find each other by it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import grpc

from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from tests.support.processes import ROOT, NodeProcess, wait_for

LINE = "gateway listening on "


class LiveGateway:
    """One gateway on loopback: its port stays the same, its disk and `gateway-NAME.log` are below `folder`."""

    def __init__(self, name: str, folder: Path, *arguments: str, port: int = 0) -> None:
        self.data_dir = folder / f"gateway-{name}"
        self.log = folder / f"gateway-{name}.log"
        self.address = f"127.0.0.1:{port}"
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> LiveGateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self, *arguments: str) -> LiveGateway:
        """Start it, and return when it listens."""
        own = ["--host", "127.0.0.1", "--port", self.address.rpartition(":")[2], "--data-dir", str(self.data_dir)]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *own, *self._arguments, *arguments],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(LINE), f"{line}\n{self.log.read_text()}"
        self.address = line.removeprefix(LINE).strip()
        return self

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def lose_disk(self) -> None:
        """What it had written is gone; it must not run."""
        shutil.rmtree(self.data_dir, ignore_errors=True)

    def ask(self) -> tuple[set[int], pb.GetStatsResponse] | None:
        """The ids of the active nodes, and its statistics; None: it does not answer."""
        with grpc.insecure_channel(self.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = pb_grpc.GatewayServiceStub(channel)
            try:
                nodes = stub.GetNodes(pb.GetNodesRequest(), timeout=2).nodes
                stats = stub.GetStats(pb.GetStatsRequest(), timeout=2)
            except grpc.RpcError:
                return None
        return {node.node_id for node in nodes}, stats

    def leader(self) -> int:
        """Whom it takes for the leader; 0: nobody, or it does not answer."""
        with grpc.insecure_channel(self.address, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            try:
                answer = pb_grpc.GatewayServiceStub(channel).GetLeader(pb.GetLeaderRequest(), timeout=2)
            except grpc.RpcError:
                return 0
        return int(answer.leader.node_id)

    def wait_until_it_lists(self, node_ids: set[int], cluster_id: str, seconds: float) -> float:
        """Until exactly these nodes are on its list, of that cluster; returns how many seconds that took."""
        started_s = time.monotonic()  # noqa: TID251 - a test's own patience
        last: list[object] = []

        def lists_them() -> bool:
            answer = self.ask()
            last[:] = [answer]
            return answer is not None and answer[0] == node_ids and answer[1].cluster_id == cluster_id

        try:
            wait_for(lists_them, seconds, f"list of the nodes {sorted(node_ids)}", every_s=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}; last: {last}; log:\n{self.log.read_text()[-3000:]}") from None
        return time.monotonic() - started_s  # noqa: TID251


def cluster_id_of(node: NodeProcess, seconds: float = 30) -> str:
    """The cluster that the node belongs to, as soon as it does."""

    def look() -> str | None:
        status = node.status()
        return status.cluster_id if status is not None and status.peers else None

    return wait_for(look, seconds, f"cluster of node {node.node_id}", every_s=0.05)
