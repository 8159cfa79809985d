"""The gate judges a caller before it waits for a request, and waits for none without end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from raftgossip.runtime.grpc_gate import MAX_STREAMS, MESSAGE_PATIENCE_MS, SELDOM, STILL_JUDGED_MS, Gate
from raftgossip.runtime.guard import CALL_BURST, MAX_CALLS_AT_ONCE, Guard
from raftgossip.trust.callers import Caller
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.status import RETRY_KEY
from tests.support.fakes import FakePeer
from tests.support.keys import make_keys, now_s
from tests.support.secured import in_role, peer_identity, peer_of, revocation_list, shown_by
from tests.support.served_peer import ServedPeer, served_peer

PUBLISHED_AT_ONCE = int(SELDOM["PublishRevocations"][1])
DENIED, BUSY = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED


class SteppedClock:
    """Timers stand still until they are moved on; the wall clock is this machine's."""

    def __init__(self) -> None:
        self.ms = 1_000

    def now_ms(self) -> int:
        return self.ms

    def wall_ms(self) -> int:
        return int(now_s() * 1000)


class AbortedCall(Exception):
    """What gRPC raises through a handler when its call is aborted."""


class FakeContext:
    """A call on a connection that showed this certificate."""

    def __init__(self, pem: bytes) -> None:
        self.ending: tuple[grpc.StatusCode, str] | None = None
        self.is_cancelled = False
        self._pem = pem

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_pem_cert": [self._pem]}

    def peer(self) -> str:
        return "ipv4:10.0.0.1:5000"

    def is_active(self) -> bool:
        return self.ending is None

    def set_trailing_metadata(self, metadata: object) -> None:
        pass

    def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.ending = code, details
        raise AbortedCall

    def set_code(self, code: grpc.StatusCode) -> None:
        self.ending = code, ""

    def set_details(self, details: str) -> None:
        assert self.ending is not None
        self.ending = self.ending[0], details

    def cancel(self) -> None:
        self.is_cancelled = True


class GatedCalls:
    """Calls of node 1 through a gate, in this thread; `handled` are the requests that reached the handler."""

    def __init__(self, folder: KeyFolder) -> None:
        self.clock, self.peer = SteppedClock(), FakePeer()
        peer: Any = self.peer
        self.gate = Gate(Guard(peer, peer_of(folder, 2), self.clock), self.clock)
        self.context: Any = None
        """Of the call that began last."""
        self._pem = shown_by(folder, Role.PEER, "1").chain or b""
        self.handled: list[object] = []

    def call(self, method: str, requests: Iterator[bytes]) -> tuple[grpc.StatusCode, str] | None:
        """How the call ends; None: with an answer."""
        self.context = context = cast(Any, FakeContext(self._pem))
        if method == "FetchModel":
            behaviour: Any = self.gate.answering(method, pb.FetchModelRequest, self._stream).stream_stream
            behaviour(requests, context, lambda answer: None)
            return cast(FakeContext, context).ending
        behaviour = self.gate.unary(method, pb.StatusRequest, self._answer).stream_unary
        try:
            behaviour(requests, context)
        except AbortedCall:
            pass
        return cast(FakeContext, context).ending

    def _answer(self, request: pb.StatusRequest, _context: grpc.ServicerContext, _caller: Caller) -> pb.StatusResponse:
        self.handled.append(request)
        return pb.StatusResponse()

    def _stream(
        self, request: pb.FetchModelRequest, _context: grpc.ServicerContext, _caller: Caller
    ) -> Generator[pb.ModelChunk, None, None]:
        self.handled.append(request)
        yield pb.ModelChunk()


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return make_keys(tmp_path)


@pytest.fixture
def gated(folder: KeyFolder) -> GatedCalls:
    return GatedCalls(folder)


def after(wait: Callable[[], object], *messages: bytes) -> Iterator[bytes]:
    """What a caller sends that has something else to do first."""
    wait()
    yield from messages


# --- what a request is waited for


@pytest.mark.parametrize("method", ["Status", "FetchModel"])
def test_nothing_is_read_of_a_caller_that_may_not_call(gated: GatedCalls, method: str) -> None:
    gated.peer.removed.add(peer_identity(1).uri)
    requests = iter([b""])

    ending = gated.call(method, requests)

    assert ending is not None and ending[0] is DENIED and "member" in ending[1]
    assert list(requests) == [b""] and gated.handled == []


@pytest.mark.parametrize("method", ["Status", "FetchModel"])
@pytest.mark.parametrize(("waited_ms", "is_cut_off"), [(MESSAGE_PATIENCE_MS - 1, False), (MESSAGE_PATIENCE_MS, True)])
def test_a_call_is_cut_off_when_its_request_does_not_come_in_time(
    gated: GatedCalls, method: str, waited_ms: int, is_cut_off: bool
) -> None:
    def wait() -> None:
        gated.clock.ms += waited_ms
        gated.gate.sweep()

    gated.call(method, after(wait, b""))

    assert gated.context.is_cancelled is is_cut_off


@pytest.mark.parametrize("method", ["Status", "FetchModel"])
def test_a_call_whose_request_has_come_may_take_its_time(gated: GatedCalls, method: str) -> None:
    requests = iter([b"", b""])
    assert gated.call(method, requests) is None
    gated.clock.ms += 2 * MESSAGE_PATIENCE_MS
    gated.gate.sweep()

    assert len(gated.handled) == 1 and not gated.context.is_cancelled


@pytest.mark.parametrize("method", ["Status", "FetchModel"])
def test_a_request_that_took_its_time_is_not_handled_when_its_caller_was_taken_out_meanwhile(
    gated: GatedCalls, method: str
) -> None:
    def wait() -> None:
        gated.clock.ms += STILL_JUDGED_MS + 1
        gated.peer.removed.add(peer_identity(1).uri)

    ending = gated.call(method, after(wait, b""))

    assert ending is not None and ending[0] is DENIED
    assert gated.handled == []


@pytest.mark.parametrize("method", ["Status", "FetchModel"])
def test_a_call_that_brings_no_request_is_an_invalid_argument(gated: GatedCalls, method: str) -> None:
    ending = gated.call(method, iter(()))

    assert ending is not None and ending[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert f"brought no {method}Request" in ending[1]


def test_a_call_counts_before_its_request_has_come(gated: GatedCalls) -> None:
    def endings(num_waiting: int) -> list[tuple[grpc.StatusCode, str] | None]:
        """How so many calls end, each of which waits until the next has ended; the innermost one first."""
        inner: list[tuple[grpc.StatusCode, str] | None] = []
        ending = gated.call("Status", after(lambda: inner.extend(endings(num_waiting - 1) if num_waiting else ()), b""))
        return [*inner, ending]

    refused, *answered = endings(MAX_CALLS_AT_ONCE)

    assert refused is not None and refused[0] is BUSY and "under way" in refused[1]
    assert answered == [None] * MAX_CALLS_AT_ONCE


def test_calls_without_a_request_are_calls_like_others_to_the_rate(gated: GatedCalls) -> None:
    for _ in range(CALL_BURST):
        gated.call("Status", iter(()))
    ending = gated.call("Status", iter(()))

    assert ending is not None and ending[0] is BUSY and "times a second" in ending[1]


# --- on the wire


@contextmanager
def silent_calls(channel: grpc.Channel, method: str, number: int) -> Iterator[queue.SimpleQueue[Any]]:
    """Calls whose request does not come as long as this lasts; gives those that have ended all the same."""
    never, ended = threading.Event(), queue.SimpleQueue[Any]()

    def wait() -> Iterator[bytes]:
        never.wait(30)
        yield from ()

    def begin() -> Any:
        path = f"/PeerService/{method}"
        if method != "FetchModel":
            unary: grpc.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(path)
            return unary.future(wait(), timeout=30)
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        return stream(wait(), timeout=30)

    calls = [begin() for _ in range(number)]
    for call in calls:
        if not call.add_callback(lambda call=call: ended.put(call)):
            ended.put(call)  # it has ended already
    try:
        yield ended
    finally:
        never.set()
        for call in calls:
            call.cancel()


def answered(channel: grpc.Channel, method: str, request: bytes = b"") -> Any:
    """A call that sends its request, when it has ended."""
    unary: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/PeerService/{method}")
    call: Any = unary.future(request, timeout=10)
    call.code()
    return call


@pytest.mark.parametrize(
    ("role", "method", "at_once"),
    [
        (Role.OBSERVER, "Status", MAX_CALLS_AT_ONCE),
        (Role.PEER, "Propose", MAX_CALLS_AT_ONCE),
        (Role.PEER, "FetchModel", MAX_STREAMS["FetchModel"]),
    ],
)
def test_one_certificate_cannot_keep_the_others_out_with_requests_that_do_not_come(
    folder: KeyFolder, role: Role, method: str, at_once: int
) -> None:
    num_workers = at_once + 2
    with (
        served_peer(credentials=peer_of(folder, 2), max_workers=num_workers) as served,
        in_role(folder, role).channel(served.address) as silent,
        shown_by(folder, Role.OPERATOR, "alice").channel(served.address) as honest,
        silent_calls(silent, method, num_workers + 4) as ended,
    ):
        codes = [ended.get(timeout=10).code() for _ in range(num_workers + 4 - at_once)]
        assert set(codes) == {BUSY}
        assert answered(honest, "Status").code() is grpc.StatusCode.OK
        assert ended.empty()


@pytest.mark.parametrize("method", ["Status", "FetchModel"])
@pytest.mark.parametrize("is_secured", [True, False])
def test_a_call_whose_request_never_comes_ends_and_gives_its_thread_back(
    folder: KeyFolder, monkeypatch: pytest.MonkeyPatch, is_secured: bool, method: str
) -> None:
    monkeypatch.setattr("raftgossip.runtime.grpc_gate.MESSAGE_PATIENCE_MS", 0)
    credentials = peer_of(folder, 2) if is_secured else None
    with served_peer(credentials=credentials, max_workers=1, check_s=0.05) as served:
        shown = shown_by(folder, Role.PEER, "1")
        channel = shown.channel(served.address) if is_secured else grpc.insecure_channel(str(served.address))
        with channel, silent_calls(channel, method, 1) as ended:
            assert ended.get(timeout=10).code() is grpc.StatusCode.CANCELLED
            assert answered(channel, "Status").code() is grpc.StatusCode.OK


def test_a_role_that_may_not_call_hears_so_at_once(folder: KeyFolder) -> None:
    with (
        served_peer(credentials=peer_of(folder, 2)) as served,
        in_role(folder, Role.OBSERVER).channel(served.address) as channel,
    ):
        for method in ("ChangeMembers", "FetchModel"):
            with silent_calls(channel, method, 1) as ended:
                assert ended.get(timeout=10).code() is DENIED


# --- revocations that are published again and again


class Published:
    """A node that was given a revocation list; `passed_on` are those that it brought to the others."""

    def __init__(self, folder: KeyFolder, served: ServedPeer, passed_on: list[bytes]) -> None:
        self.served, self.passed_on = served, passed_on
        self._lists = [revocation_list(folder, in_role(folder, Role.OBSERVER), number) for number in (1, 2, 3)]

    def publish(self, channel: grpc.Channel, number: int) -> Any:
        """The call that brings the list of this number, when it has ended."""
        request = pb.PublishRevocationsRequest(revocation_list=self._lists[number - 1]).SerializeToString()
        return answered(channel, "PublishRevocations", request)

    def is_passed_on(self, channel: grpc.Channel, number: int) -> bool:
        before = len(self.passed_on)
        call = self.publish(channel, number)
        assert call.code() is grpc.StatusCode.OK, call.details()
        said = pb.PublishRevocationsResponse.FromString(call.result()).message
        assert ("; passed on to 3 other nodes" in said) is (len(self.passed_on) > before), said
        return len(self.passed_on) > before


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def published(folder: KeyFolder, clock: SteppedClock) -> Iterator[Published]:
    passed_on: list[bytes] = []

    async def pass_on(data: bytes) -> int:
        passed_on.append(data)
        return 3

    with served_peer(
        credentials=peer_of(folder, 2),
        add_revocations=folder.add_revocations,
        pass_on_revocations=pass_on,
        clock=clock,
    ) as served:
        yield Published(folder, served, passed_on)


def test_what_a_peer_publishes_is_passed_on_only_when_it_is_new(
    published: Published, folder: KeyFolder, clock: SteppedClock
) -> None:
    with shown_by(folder, Role.PEER, "1").channel(published.served.address) as channel:
        outcomes = []
        for number in (2, 2, 1, 3):
            outcomes.append(published.is_passed_on(channel, number))
            clock.ms += 60_000

    assert outcomes == [True, False, False, True]


def test_an_operator_has_what_is_known_passed_on_again_but_once_a_second(
    published: Published, folder: KeyFolder, clock: SteppedClock
) -> None:
    with (
        shown_by(folder, Role.OPERATOR, "alice").channel(published.served.address) as alice,
        in_role(folder, Role.OPERATOR).channel(published.served.address) as other,
    ):
        assert [published.is_passed_on(alice, number) for number in (1, 1, 1, 2)] == [True, True, False, True]
        assert published.is_passed_on(other, 2)
        clock.ms += 1_000
        assert [published.is_passed_on(alice, 2) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("role", [Role.PEER, Role.OPERATOR])
def test_who_publishes_without_end_is_told_when_to_come_again(
    published: Published, folder: KeyFolder, clock: SteppedClock, role: Role
) -> None:
    with in_role(folder, role).channel(published.served.address) as channel:
        for _ in range(PUBLISHED_AT_ONCE):
            assert published.publish(channel, 1).code() is grpc.StatusCode.OK
        refused = published.publish(channel, 1)
        assert refused.code() is BUSY
        assert dict(refused.trailing_metadata())[RETRY_KEY] == "1000"
        assert answered(channel, "Status").code() is grpc.StatusCode.OK
        clock.ms += 1_000
        assert published.publish(channel, 1).code() is grpc.StatusCode.OK
