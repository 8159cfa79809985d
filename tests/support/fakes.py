"""Small stand-ins: a peer behind the gRPC server, a disk, a network, a state machine, and a call's context."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence

from raftgossip.core.epoch.command import EpochRecord
from raftgossip.core.raft.message import Entry, HardState, Message, SnapshotSave
from raftgossip.errors import NotFound, PermissionDenied, RaftGossipError, StorageError
from raftgossip.facts import Fact, Notice
from raftgossip.ids import Address, LogIndex, NodeId
from raftgossip.runtime.service import JoinAnswer, JoinAsk, ProposeAnswer, StatusView
from raftgossip.runtime.store import StoredLog
from raftgossip.trust.callers import Caller
from raftgossip.update import FloatVector
from tests.support.golden import SPECIFICATION

STATUS = StatusView(
    cluster_id="c1",
    node_id=NodeId(2),
    role="leader",
    term=3,
    leader=NodeId(2),
    commit_index=7,
    applied_index=7,
    last_index=8,
    peers=(),
    specification=SPECIFICATION,
    open_epoch=None,
    last_closed_epoch=4,
    model_digest=b"d" * 32,
    phase="waiting",
    metrics=(("loss", 0.5),),
    message="",
    uptime_ms=9,
    run_finished=False,
)


class FakePeer:
    """Satisfies `PeerService`: keeps what it is given, answers what it is told, or raises `error`."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.waits = False
        self.delivered: list[Message] = []
        self.arrived = threading.Condition()
        self.asked = threading.Event()
        self.asks: list[JoinAsk] = []
        self.envelopes: list[bytes] = []
        self.proposers: list[Caller] = []
        self.removed: set[str] = set()
        """SPIFFE names of members that were."""
        self.server_names: dict[NodeId, str] = {}
        self.models: dict[bytes, FloatVector] = {}

    def deliver(self, messages: Sequence[Message]) -> None:
        with self.arrived:
            self.delivered.extend(messages)
            self.arrived.notify_all()

    def wait_for(self, condition: Callable[[list[Message]], bool], timeout_s: float = 10) -> bool:
        """Block until `condition` holds for what was delivered; False: not in time."""
        with self.arrived:
            return self.arrived.wait_for(lambda: condition(self.delivered), timeout_s)

    async def _come(self) -> None:
        self.asked.set()
        if self.waits:
            await asyncio.get_running_loop().create_future()
        if self.error is not None:
            raise self.error

    def check_member(self, caller: Caller) -> None:
        if caller.identity is not None and caller.identity.uri in self.removed:
            raise PermissionDenied(f"rule member: {caller.identity.uri} was taken out of the cluster")

    def server_name_of(self, node_id: NodeId) -> str:
        return self.server_names.get(node_id, "")

    async def propose_forwarded(self, envelope: bytes, caller: Caller) -> ProposeAnswer:
        await self._come()
        self.envelopes.append(envelope)
        self.proposers.append(caller)
        return ProposeAnswer(9, applied=False, reason="too late")

    async def join(self, ask: JoinAsk) -> JoinAnswer:
        await self._come()
        self.asks.append(ask)
        peers = ((NodeId(1), Address("10.0.0.1", 7001)), (NodeId(2), Address("::1", 7002)))
        return JoinAnswer("c1", peers, NodeId(2), SPECIFICATION)

    async def leave(self) -> str:
        await self._come()
        return "left"

    async def status(self) -> StatusView:
        await self._come()
        return STATUS

    async def epochs(self, first: int, limit: int) -> tuple[EpochRecord, ...]:
        await self._come()
        return ()

    def model(self, digest: bytes) -> FloatVector:
        if isinstance(self.error, RaftGossipError):
            raise self.error
        try:
            return self.models[digest]
        except KeyError:
            raise NotFound("no such model") from None


class FakeContext:
    """A `grpc.ServicerContext` as far as a waiting handler uses it; `waits` is set when the handler looks at it."""

    def __init__(self, remaining_s: float = 30.0) -> None:
        self.waits = threading.Event()
        self._remaining_s = remaining_s
        self._active = True
        self._callbacks: list[Callable[[], None]] = []

    def is_active(self) -> bool:
        self.waits.set()
        return self._active

    def time_remaining(self) -> float:
        return self._remaining_s

    def add_callback(self, callback: Callable[[], None]) -> bool:
        self._callbacks.append(callback)
        return True

    def cancel(self) -> None:
        self._active = False
        for callback in self._callbacks:
            callback()


class RecordingDisk:
    """Satisfies `Storage`: writes down what it is told; fails when `broken`, and hangs while `open` is clear."""

    def __init__(self, journal: list[object]) -> None:
        self.broken = False
        self.open = threading.Event()
        self.open.set()
        self._journal = journal

    def load(self) -> StoredLog:
        return StoredLog(None, None, ())

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        snapshot: SnapshotSave | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        if not self.open.wait(20):
            raise AssertionError("the test never let the disk go on")
        if self.broken:
            raise StorageError("the disk is full")
        self._journal.append(("save", hard_state, tuple(entries), snapshot, threading.current_thread().name))

    def get_meta(self, key: str) -> str | None:
        return None

    def set_meta(self, key: str, value: str) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to let go of."""


class RecordingTransport:
    """Satisfies `Transport`: writes down what is sent."""

    def __init__(self, journal: list[object]) -> None:
        self._journal = journal

    def send(self, message: Message) -> None:
        self._journal.append(("send", message))


class ListMachine:
    """A state machine that keeps its commands. The result is how many there are; one that begins with `!` is a fact."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.encoding = threading.Event()
        """Cleared, it makes the encoding of a snapshot hang."""
        self.encoding.set()

    def apply(self, index: LogIndex, data: bytes) -> tuple[int, Sequence[Fact]]:
        self.commands.append(data)
        return len(self.commands), (Notice(data.decode()),) if data.startswith(b"!") else ()

    def capture(self) -> Callable[[], bytes]:
        held = tuple(self.commands)

        def encode() -> bytes:
            if not self.encoding.wait(20):
                raise AssertionError("the test never let the encoding go on")
            return b",".join(held)

        return encode

    def restore(self, data: bytes) -> Callable[[], Sequence[Fact]]:
        if data.startswith(b"?"):
            raise ValueError("another version's state")
        commands = data.split(b",")

        def install() -> Sequence[Fact]:
            self.commands = commands
            return (Notice(f"restored {len(commands)}"),)

        return install
