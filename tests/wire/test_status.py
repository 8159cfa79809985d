"""Errors travel as status codes and come back as errors, over both of gRPC's stacks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import grpc.aio
import pytest

from raftgossip import errors
from raftgossip.errors import (
    Busy,
    CommandRefused,
    IntegrityError,
    NotLeader,
    RaftGossipError,
    RemoteError,
    SchemaMismatch,
    TransportError,
    WireError,
)
from raftgossip.runtime.grpc_gate import abort
from raftgossip.wire.status import MAX_DETAILS, error_from_rpc, status_of, trailing_metadata_of

CODES = {
    "RaftGossipError": "INTERNAL",
    "ConfigError": "INVALID_ARGUMENT",
    "RemoteError": "INTERNAL",
    "WireError": "INVALID_ARGUMENT",
    "SchemaMismatch": "INVALID_ARGUMENT",
    "IntegrityError": "DATA_LOSS",
    "Oversized": "RESOURCE_EXHAUSTED",
    "StaleEpoch": "OUT_OF_RANGE",
    "NotFound": "NOT_FOUND",
    "AlreadyExists": "ALREADY_EXISTS",
    "Unauthenticated": "UNAUTHENTICATED",
    "PermissionDenied": "PERMISSION_DENIED",
    "WrongCluster": "PERMISSION_DENIED",
    "NotLeader": "FAILED_PRECONDITION",
    "CommandRefused": "FAILED_PRECONDITION",
    "Busy": "RESOURCE_EXHAUSTED",
    "NoQuorum": "UNAVAILABLE",
    "ClusterUnreachable": "UNAVAILABLE",
    "StorageError": "DATA_LOSS",
    "StorageFull": "RESOURCE_EXHAUSTED",
    "TransportError": "UNAVAILABLE",
    "DeadlineExceeded": "DEADLINE_EXCEEDED",
    "TrainingFailed": "INTERNAL",
    "TrainingStopped": "INTERNAL",
}
"""The whole table. INTERNAL: never meant to travel, or the class says too little."""

KINDS: dict[str, type[RaftGossipError]] = {
    name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, RaftGossipError)
}


def make(kind: type[RaftGossipError], text: str = "why") -> RaftGossipError:
    return NotLeader(3) if kind is NotLeader else kind(text)


@pytest.mark.parametrize("name", KINDS)
def test_every_error_has_the_code_of_the_table(name: str) -> None:
    code, text = status_of(make(KINDS[name]))

    assert code.name == CODES[name]
    assert text == str(make(KINDS[name]))


class FailedCall(grpc.RpcError):
    """What a stub of the synchronous stack raises, as far as anybody reads it."""

    def __init__(self, code: grpc.StatusCode, text: str | None, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        # Set by name, because the stubs promise a text where gRPC sometimes gives None.
        vars(self).update(code=lambda: code, details=lambda: text, trailing_metadata=lambda: metadata)


grpc.Call.register(FailedCall)


@pytest.mark.parametrize("name", [name for name, code in CODES.items() if code != "INTERNAL"])
def test_an_error_comes_back_as_one_that_travels_on_under_the_same_code(name: str) -> None:
    sent = make(KINDS[name])
    code, text = status_of(sent)

    back = error_from_rpc(FailedCall(code, text, trailing_metadata_of(sent)))

    assert status_of(back) == (code, text)


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_code_comes_back_as_an_error_of_ours(code: grpc.StatusCode) -> None:
    error = error_from_rpc(FailedCall(code, "why"))

    assert isinstance(error, RaftGossipError)
    assert "why" in str(error)
    assert status_of(error)[0] is not grpc.StatusCode.UNKNOWN


def test_a_failed_precondition_with_a_leader_is_a_redirection_and_without_one_a_refusal() -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION

    redirected = error_from_rpc(FailedCall(code, "x", (("raftgossip-leader", "7"),)))
    leaderless = error_from_rpc(FailedCall(code, "x", (("raftgossip-leader", "0"),)))

    assert isinstance(redirected, NotLeader) and redirected.leader == 7
    assert isinstance(leaderless, NotLeader) and leaderless.leader is None
    assert type(error_from_rpc(FailedCall(code, "x"))) is CommandRefused


@pytest.mark.parametrize("value", ["", "-1", "x", "1.5", "²"])
def test_a_leader_that_is_no_number_is_no_leader(value: str) -> None:
    failure = FailedCall(grpc.StatusCode.FAILED_PRECONDITION, "x", (("raftgossip-leader", value),))

    assert type(error_from_rpc(failure)) is CommandRefused


def test_a_call_that_failed_without_any_status_is_a_transport_error() -> None:
    assert type(error_from_rpc(grpc.RpcError("gone"))) is TransportError


def test_a_code_that_the_table_does_not_know_names_itself() -> None:
    error = error_from_rpc(FailedCall(grpc.StatusCode.UNIMPLEMENTED, None))

    assert type(error) is RemoteError
    assert "UNIMPLEMENTED" in str(error)


# --- over real calls


@contextmanager
def server_that_raises(error: RaftGossipError) -> Iterator[str]:
    """A synchronous server on a free port, whose only method fails with `error`."""

    def fail(data: bytes, context: grpc.ServicerContext) -> bytes:
        abort(context, error)

    threads = ThreadPoolExecutor(1)
    server = grpc.server(threads)
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {"Fail": grpc.unary_unary_rpc_method_handler(fail)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
        threads.shutdown()


def call_sync(address: str) -> RaftGossipError:
    with grpc.insecure_channel(address) as channel:
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/Test/Fail")
        with pytest.raises(grpc.RpcError) as caught:
            method(b"", timeout=5)
    return error_from_rpc(caught.value)


def call_aio(address: str) -> RaftGossipError:
    async def main() -> RaftGossipError:
        async with grpc.aio.insecure_channel(address) as channel:
            method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/Test/Fail")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await method(b"", timeout=5)
        return error_from_rpc(caught.value)

    return asyncio.run(main())


CALLS = pytest.mark.parametrize("call", [call_sync, call_aio])
Call = Callable[[str], RaftGossipError]


@CALLS
@pytest.mark.parametrize("leader", [3, None])
def test_not_leader_carries_the_leader_over_the_network(call: Call, leader: int | None) -> None:
    with server_that_raises(NotLeader(leader)) as address:
        error = call(address)

    assert isinstance(error, NotLeader)
    assert error.leader == leader


@CALLS
def test_the_sentence_of_an_error_arrives_whole(call: Call) -> None:
    with server_that_raises(SchemaMismatch("tensor 'größe' differs\nin its shape")) as address:
        error = call(address)

    assert type(error) is WireError
    assert str(error) == "tensor 'größe' differs\nin its shape"


@CALLS
@pytest.mark.parametrize("character", ["x", "é", "\N{SNOWMAN}", "\N{PILE OF POO}"])
def test_a_text_that_is_too_long_is_shortened_and_keeps_its_code(call: Call, character: str) -> None:
    with server_that_raises(IntegrityError(character * 20_000)) as address:
        error = call(address)

    assert type(error) is IntegrityError
    assert set(str(error)) == {character}
    assert MAX_DETAILS - 4 < len(str(error).encode()) <= MAX_DETAILS


@CALLS
def test_a_server_that_is_not_there_is_a_transport_error(call: Call) -> None:
    with server_that_raises(Busy("x")) as address:
        pass

    assert type(call(address)) is TransportError
