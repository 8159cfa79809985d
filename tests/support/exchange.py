"""Nodes that exchange vectors over real sockets, and raw callers and servers that break the rules."""

from __future__ import annotations

import asyncio
import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

import grpc
import numpy as np

from raftgossip.ids import Address, NodeId
from raftgossip.runtime.exchange import Cancellation, Edge, EdgeOutcome, EdgeSink, ExchangeHub, StepWork
from raftgossip.runtime.grpc_server import PeerServer
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.update import FloatVector
from raftgossip.wire.update_codec import ExchangeHeader, chunks, encode_end
from tests.support.fakes import FakePeer

NUM_ELEMENTS = 20
CHUNK_BYTES = 32
WHOLE = (0, NUM_ELEMENTS)


def vector_of(node_id: int, num_elements: int = NUM_ELEMENTS) -> FloatVector:
    """The vector of a node: all nodes' elements are different."""
    return np.arange(num_elements, dtype=np.float32) + 1000 * node_id


class RecordingSink:
    """Keeps what is folded, and how it ended. `opened` and `folded` let a test wait without polling."""

    def __init__(self, num_elements: int = NUM_ELEMENTS) -> None:
        self.vector = np.full(num_elements, np.nan, dtype=np.float32)
        self.mass = float("nan")
        self.opened = threading.Event()
        self.folded = threading.Semaphore(0)
        self.completed = threading.Event()
        self.discarded = threading.Event()

    def open(self, mass: float) -> EdgeSink:
        self.mass = mass
        self.opened.set()
        return self

    def fold(self, start: int, span: FloatVector) -> None:
        self.vector[start : start + len(span)] = span
        self.folded.release()

    def complete(self) -> None:
        self.completed.set()

    def discard(self) -> None:
        self.discarded.set()


class ExchangeNode:
    """One node: a hub behind a real server on a port of its own."""

    def __init__(
        self,
        node_id: int,
        addresses: dict[NodeId, Address],
        max_threads: int = 16,
        credentials: LiveCredentials | None = None,
        server_name_of: Callable[[NodeId], str] | None = None,
    ) -> None:
        self.node_id = NodeId(node_id)
        self.hub = ExchangeHub(addresses.get, credentials, server_name_of, max_threads)
        self._loop = asyncio.new_event_loop()  # exchanges never use it
        self._server = PeerServer(FakePeer(), self.hub, self._loop, credentials)
        self.address = Address("127.0.0.1", self._server.start("127.0.0.1", 0))
        addresses[self.node_id] = self.address
        self._threads = ThreadPoolExecutor(4)
        self._stops: list[Cancellation] = []

    def work(self, edges: tuple[Edge, ...], **changes: object) -> StepWork:
        """A step of this node with these edges."""
        work = StepWork(
            cluster_id="c1",
            epoch=5,
            attempt=1,
            step=0,
            node_id=self.node_id,
            schema_digest=b"s" * 32,
            plan_digest=b"p" * 32,
            vector=vector_of(self.node_id),
            mass=float(self.node_id),
            edges=edges,
            timeout_s=20.0,
            chunk_bytes=CHUNK_BYTES,
        )
        return replace(work, **changes)  # type: ignore[arg-type]

    def start_step(self, work: StepWork, stop: Cancellation | None = None) -> Future[dict[NodeId, EdgeOutcome]]:
        """Run a step in a thread of its own."""
        stop = Cancellation() if stop is None else stop  # one that is not set is false
        self._stops.append(stop)
        return self._threads.submit(self.hub.run_step, work, stop)

    def close(self) -> None:
        for stop in self._stops:
            stop.cancel()
        self._server.stop(0)
        self.hub.close()
        self._threads.shutdown()
        self._loop.close()


Make = Callable[..., ExchangeNode]
"""The fixture `make` of tests/runtime: builds nodes that know each other."""


def edge(
    neighbour: int,
    sink: RecordingSink,
    sends: tuple[int, int] | None = WHOLE,
    receives: tuple[int, int] | None = WHOLE,
) -> Edge:
    """An edge that sends and receives everything, unless told otherwise."""
    return Edge(NodeId(neighbour), sends, receives, sink.open)


HEADER = ExchangeHeader(
    cluster_id="c1",
    epoch=5,
    attempt=1,
    step=0,
    sender=1,
    receiver=2,
    schema_digest=b"s" * 32,
    plan_digest=b"p" * 32,
    start=0,
    stop=NUM_ELEMENTS,
    mass=1.0,
    byte_count=4 * NUM_ELEMENTS,
    chunk_bytes=CHUNK_BYTES,
)
"""What node 1 announces to node 2."""


def header(**changes: object) -> bytes:
    """`HEADER` with some things changed."""
    return replace(HEADER, **changes).encode()  # type: ignore[arg-type]


def data_frames(vector: FloatVector) -> list[bytes]:
    """The chunks and the end record of a whole vector."""
    frames = list(chunks(vector, CHUNK_BYTES))
    return [*frames, encode_end(vector.nbytes, hashlib.sha256(b"".join(frames)).digest())]


class RawDial:
    """A caller that sends whatever it is told. It ends its direction only when told, and reads when told."""

    def __init__(self, address: Address, frames: list[bytes], timeout_s: float | None = 20.0) -> None:
        self._channel = grpc.insecure_channel(str(address))
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for frame in frames:
            self._frames.put(frame)
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream("/PeerService/Exchange")
        self._call = method(iter(self._frames.get, None), timeout=timeout_s)

    def send(self, frame: bytes) -> None:
        self._frames.put(frame)

    def half_close(self) -> None:
        self._frames.put(None)

    def cancel(self) -> None:
        self._call.cancel()

    def read(self) -> tuple[list[bytes], grpc.StatusCode]:
        """Everything that comes, and how it ends."""
        frames: list[bytes] = []
        try:
            for frame in self._call:
                frames.append(frame)
        except grpc.RpcError:
            pass
        return frames, self._call.code()

    def details(self) -> str:
        return self._call.details()

    def close(self) -> None:
        self._frames.put(None)
        self._channel.close()


@contextmanager
def dialling(address: Address, frames: list[bytes], timeout_s: float | None = 20.0) -> Iterator[RawDial]:
    """A raw caller, closed at the end."""
    dial = RawDial(address, frames, timeout_s)
    try:
        yield dial
    finally:
        dial.close()


Answer = Callable[[Iterator[bytes], grpc.ServicerContext], Iterator[bytes]]


@contextmanager
def raw_server(answer: Answer) -> Iterator[Address]:
    """A neighbour that answers an exchange in its own way."""
    threads = ThreadPoolExecutor(2)
    server = grpc.server(threads)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Exchange": grpc.stream_stream_rpc_method_handler(answer)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("PeerService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Address("127.0.0.1", port)
    finally:
        server.stop(None).wait()
        threads.shutdown()
