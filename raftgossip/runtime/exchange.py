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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import grpc

from raftgossip.errors import (
    AlreadyExists,
    Busy,
    DeadlineExceeded,
    IntegrityError,
    Oversized,
    PermissionDenied,
    RaftGossipError,
    StaleEpoch,
    TransportError,
    WireError,
)
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.grpc_client import CHANNEL_OPTIONS
from raftgossip.update import FloatVector
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

MAX_WAITING = 64
"""Handlers that may wait for this node's round at once; more are refused with `Busy`."""
MAX_WAIT_S = 900.0
"""The longest wait for this node's round, whatever deadline the caller asked for."""


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
    taken: bool = False
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


_SlotKey = tuple[int, int, int, NodeId]


class _WaitingRoom:
    """Brings the handlers of dialled edges together with the round's slots. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slots: dict[_SlotKey, _Slot] = {}
        self._horizon = (0, 0, 0)
        self._num_waiting = 0

    def open(self, slot: _Slot) -> _SlotKey:
        work = slot.work
        key = (work.epoch, work.attempt, work.step, slot.edge.neighbour)
        with self._changed:
            self._slots[key] = slot
            self._changed.notify_all()
        return key

    def close(self, key: _SlotKey) -> None:
        with self._changed:
            self._slots.pop(key, None)

    def advance(self, epoch: int, attempt: int, step: int) -> None:
        """Everything before this step is over: whoever waits for it is sent away."""
        with self._changed:
            self._horizon = max(self._horizon, (epoch, attempt, step))
            self._changed.notify_all()

    def take(self, header: ExchangeHeader, context: grpc.ServicerContext) -> _Slot:
        """Wait until the round has opened the slot that this header is for."""
        key = (header.epoch, header.attempt, header.step, NodeId(header.sender))
        wanted = (header.epoch, header.attempt, header.step)
        context.add_callback(self._wake)
        remaining_s = context.time_remaining()
        limit_s = MAX_WAIT_S if remaining_s is None else min(remaining_s, MAX_WAIT_S)
        with self._changed:
            if self._num_waiting >= MAX_WAITING:
                raise Busy(f"{MAX_WAITING} exchanges wait here already; retry later")
            self._num_waiting += 1
            try:
                came = self._changed.wait_for(
                    lambda: key in self._slots or wanted < self._horizon or not context.is_active(), limit_s
                )
            finally:
                self._num_waiting -= 1
            if wanted < self._horizon:
                raise StaleEpoch(f"epoch {header.epoch} attempt {header.attempt} step {header.step} is over here")
            if not came or not context.is_active():
                raise DeadlineExceeded(f"this node did not reach epoch {header.epoch} step {header.step} in time")
            slot = self._slots[key]
            if slot.taken:
                raise AlreadyExists(f"epoch {header.epoch} step {header.step} of node {header.sender} came before")
            slot.taken = True
            return slot

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class ExchangeHub:
    """Runs this node's edges: dials its larger neighbours and answers its smaller ones. Thread-safe."""

    def __init__(self, address_of: Callable[[NodeId], Address | None], max_threads: int = 64) -> None:
        """`max_threads` bounds edges in work at once; they are started only when needed."""
        self._address_of = address_of
        self._clock = SystemClock()
        self._room = _WaitingRoom()
        self._threads = ThreadPoolExecutor(max_threads, thread_name_prefix="exchange")
        self._channels: dict[NodeId, tuple[Address, grpc.Channel]] = {}
        self._channels_lock = threading.Lock()

    def advance(self, epoch: int, attempt: int) -> None:
        """Earlier attempts are over: neighbours that still ask for them get `StaleEpoch`."""
        self._room.advance(epoch, attempt, 0)

    def run_step(self, work: StepWork, stop: Cancellation) -> dict[NodeId, EdgeOutcome]:
        """Exchange with all neighbours of one step; blocks until every edge completed, failed, or `stop` was set."""
        dialled: dict[NodeId, Future[EdgeOutcome]] = {}
        slots: dict[NodeId, tuple[_SlotKey, _Slot]] = {}
        for edge in work.edges:
            if work.node_id < edge.neighbour:
                dialled[edge.neighbour] = self._threads.submit(self._dial, work, edge, stop)
            else:
                slot = _Slot(work, edge, stop)
                stop.add_hook(slot.done.set)
                slots[edge.neighbour] = (self._room.open(slot), slot)
        deadline_ms = self._clock.now_ms() + int(1000 * work.timeout_s)
        outcomes: dict[NodeId, EdgeOutcome] = {}
        for neighbour, (key, slot) in slots.items():
            slot.done.wait(max(0, deadline_ms - self._clock.now_ms()) / 1000)
            self._room.close(key)
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
        with self._channels_lock:
            known = self._channels.get(neighbour)
            if known is not None and known[0] == address:
                return known[1]
            channel = grpc.insecure_channel(str(address), options=CHANNEL_OPTIONS)
            self._channels[neighbour] = (address, channel)
        if known is not None:
            known[1].close()
        return channel

    # --- the answering side

    def serve(self, frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Answer one dialled edge: wait for the own round, then stream both ways.

        Raises:
            StaleEpoch: that attempt is over here.
            RaftGossipError: as the header or the data deserve; the own round learns the same.
        """
        header = ExchangeHeader.decode(_next_frame(frames))
        slot = self._room.take(header, context)
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
