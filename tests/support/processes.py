"""Clusters of real peer processes on loopback, for tests that kill them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import grpc
import numpy as np

from raftgossip.errors import RaftGossipError
from raftgossip.ids import Address
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc

ROOT = Path(__file__).resolve().parents[2]
T = TypeVar("T")


class NodeProcess:
    """One peer: node id = shard + 1, its state below `folder`, its complaints in `folder/node-N.log`."""

    def __init__(self, node_id: int, folder: Path, task: dict[str, object], settings: dict[str, object]) -> None:
        self.node_id = node_id
        self.log = folder / f"node-{node_id}.log"
        self._arguments: dict[str, dict[str, object]] = {
            "task": {"shard": node_id - 1, **task},
            "peer": {"node_id": node_id, "data_dir": str(folder / f"node-{node_id}"), **settings},
        }
        self._process: subprocess.Popen[str] | None = None
        self._operator: OperatorClient | None = None
        self.address = ""

    def start(self, *, at_same_address: bool = False) -> NodeProcess:
        """Start it, and return when it listens: at a free port, or where it listened before."""
        if at_same_address:
            self._arguments["peer"]["listen"] = self.address
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.target_node", json.dumps(self._arguments)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        assert self.address, f"node {self.node_id} did not start: {self.log.read_text()}"
        self._operator = OperatorClient(Address.parse(self.address), timeout_ms=2_000)
        return self

    @property
    def operator(self) -> OperatorClient:
        assert self._operator is not None
        return self._operator

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(20)
        finally:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()

    def status(self) -> pb.StatusResponse | None:
        """What it knows; None: it does not answer."""
        try:
            return self.operator.status()
        except RaftGossipError:
            return None

    def epochs(self) -> list[pb.EpochRecord]:
        """All ended epochs."""
        records: list[pb.EpochRecord] = []
        while True:
            page = self.operator.epochs(len(records) + 1, 0).epochs
            if not page:
                return records
            records.extend(page)

    def model(self, digest: bytes) -> np.ndarray | None:
        """A model that it holds, (P,) float32; None: it does not hold it."""
        with grpc.insecure_channel(self.address) as channel:
            request = pb.FetchModelRequest(cluster_id=self.operator.status().cluster_id, digest=digest)
            try:
                chunks = [chunk.data for chunk in pb_grpc.PeerServiceStub(channel).FetchModel(request, timeout=10)]
            except grpc.RpcError as error:
                if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                raise
        return np.frombuffer(b"".join(chunks), dtype="<f4")


class Cluster:
    """`num_nodes` peers; node 1 founds, the others know its address. Ends them all on exit."""

    def __init__(self, num_nodes: int, folder: Path, task: dict[str, object], **settings: object) -> None:
        first = NodeProcess(1, folder, task, {**settings, "found": True})
        self.nodes = [first]
        self._rest = [(node_id, folder, task, settings) for node_id in range(2, num_nodes + 1)]

    def __enter__(self) -> Cluster:
        try:
            first = self.nodes[0].start()
            for node_id, folder, task, settings in self._rest:
                self.nodes.append(NodeProcess(node_id, folder, task, {**settings, "peers": [first.address]}))
                self.nodes[-1].start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    def others(self, node: NodeProcess) -> list[NodeProcess]:
        """All but one."""
        return [other for other in self.nodes if other is not node]

    def leader(self) -> NodeProcess:
        """Who leads now; waits until somebody does."""

        def find() -> NodeProcess | None:
            for node in self.nodes:
                status = node.status() if node.address else None
                if status is not None and status.role == "leader":
                    return node
            return None

        return wait_for(find, 20, "a leader")


def wait_for(look: Callable[[], T | None], seconds: float, what: str, every_s: float = 0.01) -> T:
    """Ask a foreign process again and again until it answers with something true; fails when the time is up."""
    deadline = time.monotonic() + seconds  # noqa: TID251 - a test's own patience
    while time.monotonic() < deadline:  # noqa: TID251
        found = look()
        if found:
            return found
        time.sleep(every_s)
    raise AssertionError(f"no {what} within {seconds} s")


def relative_difference(vector: np.ndarray, reference: Iterable[float] | np.ndarray) -> float:
    """max |a - b| / max |b|."""
    reference = np.asarray(reference, dtype=np.float64)
    return float(np.abs(vector - reference).max() / np.abs(reference).max())
