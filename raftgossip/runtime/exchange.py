"""One edge of one step: stream out, stream in, fold as it arrives, complete or leave no trace.

Each edge is one bidirectional gRPC stream of raw bytes: a header, chunks, and an end record in each direction that
carries data. The smaller node id dials. The other side's handler waits in the waiting room until its own round has
come to the same step, and is sent away with `StaleEpoch` once that step is over.

The synchronous stack is used, in worker threads: a chunk is received, checked, hashed and folded by one thread while
it is hot in the cache, back-pressure is gRPC's flow control, and the event loop never sees a model byte. Copies per
byte: out, one (vector to message) beside gRPC's own; in, none beside gRPC's own (a chunk is folded where it lies).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from raftgossip.errors import (
    IntegrityError,
    Oversized,
    PermissionDenied,
    RaftGossipError,
    TransportError,
    WireError,
)
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.exchange_room import Place, WaitingRoom
from raftgossip.runtime.grpc_client import CHANNEL_OPTIONS
from raftgossip.runtime.grpc_link import ServerNameOf, Way
from raftgossip.trust.callers import Caller
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.policy import require_own_node
from raftgossip.update import FloatVector
from raftgossip.wire.channels import open_channel
from raftgossip.wire.status import error_from_rpc
from raftgossip.wire.update_codec import (
    CHUNK_BYTES,
    ContentHash,
    ExchangeHeader,
    ExpectedTransfer,
    Receiver,
    check_header,
    chunks,
    encode_end,
)


class Cancellation:
    """A stop flag that threads share: set once, and every hook runs once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks: list[Callable[[], object]] = []
        self._set = False

    def __bool__(self) -> bool:
        return self._set

    def cancel(self) -> None:
        """Set the flag and run the hooks, in the caller's thread."""
        with self._lock:
            self._set = True
            hooks, self._hooks = self._hooks, []
        for hook in hooks:
            hook()

    def add_hook(self, hook: Callable[[], object]) -> None:
        """Run `hook` when the flag is set; at once if it is set already."""
        with self._lock:
            if not self._set:
                self._hooks.append(hook)
                return
        hook()


class EdgeSink(Protocol):
    """Where one neighbour's span goes."""

    def fold(self, start: int, span: FloatVector) -> None:
        """Take the elements from `start` on; `span` is only valid during the call."""

    def complete(self) -> None:
        """The transfer is whole and verified."""

    def discard(self) -> None:
        """The transfer broke; nothing of it may remain in a result."""


@dataclass(frozen=True, slots=True)
class Edge:
    """What passes between this node and one neighbour in one step; element ranges are half-open."""

    neighbour: NodeId
    sends: tuple[int, int] | None
    receives: tuple[int, int] | None
    open_sink: Callable[[float], EdgeSink]
    """Called with the neighbour's mass when its header was accepted."""


@dataclass(frozen=True, slots=True)
class StepWork:
    """One step of one attempt, as this node sees it. `vector`: (P,) float32, only read."""

    cluster_id: str
    epoch: int
    attempt: int
    step: int
    node_id: NodeId
    schema_digest: bytes
    plan_digest: bytes
    vector: FloatVector
    mass: float
    edges: tuple[Edge, ...]
    timeout_s: float
    chunk_bytes: int = CHUNK_BYTES

    def header_to(self, edge: Edge) -> ExchangeHeader:
        """The header of what this node sends over `edge`."""
        start, stop = edge.sends or (0, 0)
        return ExchangeHeader(
            cluster_id=self.cluster_id,
            epoch=self.epoch,
            attempt=self.attempt,
            step=self.step,
            sender=self.node_id,
            receiver=edge.neighbour,
            schema_digest=self.schema_digest,
            plan_digest=self.plan_digest,
            start=start,
            stop=stop,
            mass=self.mass,
            byte_count=4 * (stop - start),
            chunk_bytes=self.chunk_bytes,
        )

    def expected_from(self, edge: Edge) -> ExpectedTransfer:
        """What the neighbour's header must say."""
        start, stop = edge.receives or (0, 0)
        return ExpectedTransfer(
            cluster_id=self.cluster_id,
            epoch=self.epoch,
            attempt=self.attempt,
            step=self.step,
            sender=edge.neighbour,
            receiver=self.node_id,
            schema_digest=self.schema_digest,
            plan_digest=self.plan_digest,
            start=start,
            stop=stop,
        )


@dataclass(frozen=True, slots=True)
class EdgeOutcome:
    """How an edge ended. `error` empty: both directions completed here."""

    sent_bytes: int
    received_bytes: int
    error: str = ""
    refused: bool = False
    """What the neighbour sent was wrong, rather than missing."""


@dataclass(slots=True)
class _Slot:
    """An edge that this node answers: waits for the neighbour to dial."""

    work: StepWork
    edge: Edge
    stop: Cancellation
    done: threading.Event = field(default_factory=threading.Event)
    outcome: EdgeOutcome | None = None
    given_up: Cancellation = field(default_factory=Cancellation)
    """Set when the round no longer waits: a handler that still streams is ended, or it would hold its threads."""

    def finish(self, outcome: EdgeOutcome) -> EdgeOutcome:
        """The first outcome counts; returns it."""
        if self.outcome is None:
            self.outcome = outcome
        self.done.set()
        return self.outcome


class ExchangeHub:
    """Runs this node's edges: dials its larger neighbours and answers its smaller ones. Thread-safe."""

    def __init__(
        self,
        address_of: Callable[[NodeId], Address | None],
        credentials: LiveCredentials | None = None,
        server_name_of: ServerNameOf | None = None,
        max_threads: int = 64,
    ) -> None:
        """`credentials`, `server_name_of`: as for `PeerLinks`. `max_threads` bounds edges in work at once; they are
        started only when needed."""
        self._address_of = address_of
        self._credentials = credentials
        self._server_name_of = server_name_of
        self._clock = SystemClock()
        self._room: WaitingRoom[_Slot] = WaitingRoom()
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="exchange")
        self._channels: dict[NodeId, tuple[Way, grpc.Channel]] = {}
        self._channels_lock = threading.Lock()

    def advance(self, epoch: int, attempt: int) -> None:
        """Earlier attempts are over: neighbours that still ask for them get `StaleEpoch`."""
        self._room.advance(epoch, attempt, 0)

    def run_step(self, work: StepWork, stop: Cancellation) -> dict[NodeId, EdgeOutcome]:
        """Exchange with all neighbours of one step; blocks until every edge completed, failed, or `stop` was set."""
        dialled: dict[NodeId, Future[EdgeOutcome]] = {}
        slots: dict[NodeId, tuple[Place, _Slot]] = {}
        for edge in work.edges:
            if work.node_id < edge.neighbour:
                dialled[edge.neighbour] = self._threads.submit(self._dial, work, edge, stop)
            else:
                slot = _Slot(work, edge, stop)
                stop.add_hook(slot.done.set)
                place = Place(work.epoch, work.attempt, work.step, edge.neighbour)
                self._room.open(place, slot)
                slots[edge.neighbour] = (place, slot)
        deadline_ms = self._clock.now_ms() + int(1000 * work.timeout_s)
        outcomes: dict[NodeId, EdgeOutcome] = {}
        for neighbour, (place, slot) in slots.items():
            slot.done.wait(max(0, deadline_ms - self._clock.now_ms()) / 1000)
            self._room.close(place)
            missing = EdgeOutcome(0, 0, f"node {neighbour} did not come in time")
            outcomes[neighbour] = slot.finish(missing)
            if outcomes[neighbour] is missing:  # else the handler's own status must still get through
                slot.given_up.cancel()
        for neighbour, future in dialled.items():
            outcomes[neighbour] = future.result()
        self._room.advance(work.epoch, work.attempt, work.step + 1)
        return outcomes

    def close(self) -> None:
        """Close every channel and wait for the threads; `stop` of running steps must be set before."""
        with self._channels_lock:
            channels = [channel for _, channel in self._channels.values()]
            self._channels.clear()
        for channel in channels:
            channel.close()
        self._threads.shutdown(wait=True)

    # --- the dialling side

    def _dial(self, work: StepWork, edge: Edge, stop: Cancellation) -> EdgeOutcome:
        sent = _ByteCounter()
        try:
            channel = self._channel(edge.neighbour)
        except TransportError as error:
            return _failed(edge, sent, error)
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/PeerService/Exchange")
        call = method(_outgoing(work, edge, sent, stop), timeout=work.timeout_s)
        stop.add_hook(call.cancel)
        sink = None
        try:
            header = ExchangeHeader.decode(_next_frame(call))
            check_header(header, work.expected_from(edge))
            sink = edge.open_sink(header.mass)
            received = _receive(call, header, sink)
            _expect_end(call)
            sink.complete()
        except RaftGossipError as error:
            call.cancel()
            if sink is not None:
                sink.discard()
            return _failed(edge, sent, error)
        return EdgeOutcome(sent.value, received)

    def _channel(self, neighbour: NodeId) -> grpc.Channel:
        address = self._address_of(neighbour)
        if address is None:
            raise TransportError(f"no address is known for node {neighbour}")
        way = Way.to(neighbour, address, self._credentials, self._server_name_of)
        with self._channels_lock:
            known = self._channels.get(neighbour)
            if known is not None and known[0] == way:
                return known[1]
            channel = open_channel(way.address, self._credentials, way.server_name, CHANNEL_OPTIONS)
            self._channels[neighbour] = (way, channel)
        if known is not None:
            known[1].close()
        return channel

    # --- the answering side

    def serve(
        self, frames: Iterator[bytes], context: grpc.ServicerContext, caller: Caller
    ) -> Generator[bytes, None, None]:
        """Answer one dialled edge: wait for the own round, then stream both ways.

        Raises:
            PermissionDenied: the header says that another node sends it than the one that calls.
            StaleEpoch: that attempt is over here, or far ahead.
            RaftGossipError: as the header or the data deserve; the own round learns the same.
        """
        header = ExchangeHeader.decode(_next_frame(frames))
        require_own_node(caller, header.sender, "send as its own")
        place = Place(header.epoch, header.attempt, header.step, NodeId(header.sender))
        slot = self._room.take(place, context, caller.principal if caller.identity is not None else "")
        slot.stop.add_hook(context.cancel)
        slot.given_up.add_hook(context.cancel)
        sent = _ByteCounter()
        try:
            check_header(header, slot.work.expected_from(slot.edge))
            sink = slot.edge.open_sink(header.mass)
            receiving = self._threads.submit(_receive_all, frames, header, sink)
            yield from _outgoing(slot.work, slot.edge, sent, slot.stop)
            received = receiving.result()
        except RaftGossipError as error:
            slot.finish(_failed(slot.edge, sent, error))
            raise
        except GeneratorExit:  # the neighbour cancelled while this side was sending
            slot.finish(EdgeOutcome(sent.value, 0, f"node {slot.edge.neighbour} broke the stream"))
            raise
        slot.finish(EdgeOutcome(sent.value, received))


class _ByteCounter:
    """Model bytes that left over one edge."""

    def __init__(self) -> None:
        self.value = 0


def _outgoing(work: StepWork, edge: Edge, sent: _ByteCounter, stop: Cancellation) -> Iterator[bytes]:
    """Header, chunks and end record of one direction; header alone if this node sends nothing."""
    yield work.header_to(edge).encode()
    if edge.sends is None:
        return
    start, end = edge.sends
    if start == end:
        return
    content_hash = ContentHash()
    for chunk in chunks(work.vector[start:end], work.chunk_bytes):
        if stop:
            return
        content_hash.update(chunk)
        sent.value += len(chunk)
        yield chunk
    yield encode_end(sent.value, content_hash.digest())


def _receive(frames: Iterator[bytes], header: ExchangeHeader, sink: EdgeSink) -> int:
    """Feed a verified direction into its sink; returns its bytes.

    Raises:
        TransportError: the stream ended before the end record.
        RemoteError: the data is not what the header promised.
    """
    if header.byte_count == 0:
        return 0
    receiver = Receiver(header, sink)
    while not receiver.feed(_next_frame(frames)):
        pass
    return header.byte_count


def _receive_all(frames: Iterator[bytes], header: ExchangeHeader, sink: EdgeSink) -> int:
    """`_receive` on the answering side, where the stream's end is the neighbour's half-close."""
    try:
        received = _receive(frames, header, sink)
        _expect_end(frames)
        sink.complete()
    except BaseException:
        sink.discard()
        raise
    return received


def _next_frame(frames: Iterator[bytes]) -> bytes:
    try:
        return next(frames)
    except StopIteration:
        raise TransportError("the stream ended before its end record") from None
    except grpc.RpcError as error:
        raise _broken(error) from None


def _expect_end(frames: Iterator[bytes]) -> None:
    """Wait for the end: the dialler's half-close, or the answerer's verdict: OK only if it verified everything."""
    try:
        next(frames)
    except StopIteration:
        return
    except grpc.RpcError as error:
        raise _broken(error) from None
    raise WireError("more follows after the end record")


def _broken(error: grpc.RpcError) -> TransportError:
    """Whatever the neighbour's status says, it is its verdict on us: never a reason to accuse the neighbour."""
    return TransportError(f"the neighbour ended the stream: {error_from_rpc(error)}")


def _failed(edge: Edge, sent: _ByteCounter, error: RaftGossipError) -> EdgeOutcome:
    refused = isinstance(error, WireError | IntegrityError | Oversized | PermissionDenied)
    return EdgeOutcome(sent.value, 0, f"node {edge.neighbour}: {error}", refused)
