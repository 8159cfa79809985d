"""The answering side: gRPC handlers decode, hand over to the peer's event loop, and answer.

The synchronous gRPC stack serves: its threads move model bytes without touching the event loop that Raft's timers
live on. This file is the one door through which those threads reach the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, NoReturn, TypeVar

import grpc

from raftgossip._version import __version__
from raftgossip.core.epoch.command import OpenEpochState
from raftgossip.core.raft.message import Message
from raftgossip.errors import (
    ConfigError,
    DeadlineExceeded,
    PermissionDenied,
    RaftGossipError,
    TransportError,
    WireError,
    WrongCluster,
)
from raftgossip.ids import Address, Incarnation, NodeId, parse_node_id
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.raft_socket import OFFER_KEY, RaftSockets
from raftgossip.runtime.service import JoinAsk, LogView, PeerService, StatusView
from raftgossip.wire.ledger_codec import record_to_proto, specification_to_proto
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import frame_from_bytes
from raftgossip.wire.status import status_of, trailing_metadata_of

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CALLS = 512
"""Concurrent calls; more are refused with RESOURCE_EXHAUSTED by gRPC itself."""
ANSWER_TIMEOUT_S = 30.0
"""The longest that a handler waits for the event loop, whatever deadline the caller asked for."""
MODEL_CHUNK_BYTES = 1 << 20
EPOCHS_LIMIT = 500
LOG_LIMIT = 500

SERVER_OPTIONS = (
    # Without this two servers on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8 * 1024),
    # Half-open sockets would otherwise hold their descriptors for minutes.
    ("grpc.server_handshake_timeout_ms", 3_000),
)

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Result = TypeVar("Result")


def abort(context: grpc.ServicerContext, error: RaftGossipError) -> NoReturn:
    """End the call with the status that `wire.status` gives this error."""
    code, details = status_of(error)
    context.set_trailing_metadata(trailing_metadata_of(error))
    context.abort(code, details)
    raise AssertionError("abort() raises")


class PeerServer:
    """One gRPC server on one port for control and data."""

    def __init__(
        self, service: PeerService, hub: ExchangeHub, loop: asyncio.AbstractEventLoop, max_workers: int = 128
    ) -> None:
        """`max_workers`: threads, started only when needed; each open Raft stream and waiting exchange holds one."""
        self._service = service
        self._hub = hub
        self._loop = loop
        self.cluster_id = ""
        self.sockets = RaftSockets(self._deliver, lambda cluster_id: cluster_id == self.cluster_id != "")
        """Not served unless somebody runs it."""
        self._threads = ThreadPoolExecutor(max_workers, thread_name_prefix="grpc")
        self._server = grpc.server(self._threads, options=SERVER_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._server.add_generic_rpc_handlers((self._handlers(),))

    def start(self, host: str, port: int) -> int:
        """Bind and serve; returns the port. Port 0 picks a free one.

        Raises:
            ConfigError: the address is in use or not of this machine.
        """
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = self._server.add_insecure_port(target)
        except RuntimeError:
            bound = 0
        if bound == 0:
            raise ConfigError(
                f"cannot listen on {target}: the port is in use or the address is not this machine's; "
                "choose another with --listen, or end the program that holds it"
            )
        self._server.start()
        return bound

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, give open ones `grace_s` seconds, and wait until the port is free."""
        self._server.stop(grace_s).wait()
        self._threads.shutdown(wait=True)

    # --- handing over

    def _deliver(self, messages: Sequence[Message]) -> None:
        self._service.deliver(messages)

    def _ask(self, context: grpc.ServicerContext, coroutine: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine of the peer on its loop and wait for it within the caller's deadline."""
        remaining = context.time_remaining()
        timeout_s = ANSWER_TIMEOUT_S if remaining is None else min(remaining, ANSWER_TIMEOUT_S)
        if self._loop.is_closed():
            coroutine.close()
            abort(context, TransportError("this node is stopping"))
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)  # noqa: TID251 - the one door
        try:
            return future.result(timeout_s)
        except RaftGossipError as error:
            abort(context, error)
        except TimeoutError:
            future.cancel()
            abort(context, DeadlineExceeded(f"no answer within {timeout_s:.1f} s"))
        except CancelledError:
            abort(context, TransportError("this node is stopping"))

    def _check_cluster(self, context: grpc.ServicerContext, cluster_id: str) -> None:
        if not self.cluster_id or cluster_id != self.cluster_id:
            mine = self.cluster_id or "none yet"
            abort(context, WrongCluster(f"the sender's cluster is {cluster_id!r}, this node's is {mine!r}"))

    # --- handlers

    def _handlers(self) -> grpc.GenericRpcHandler:
        unary: dict[str, tuple[type[Any], Callable[..., Any]]] = {
            "Propose": (pb.ProposeRequest, self._propose),
            "Join": (pb.JoinRequest, self._join),
            "Leave": (pb.LeaveRequest, self._leave),
            "FetchEpochs": (pb.FetchEpochsRequest, self._epochs),
            "Status": (pb.StatusRequest, self._status),
            "FetchLog": (pb.FetchLogRequest, self._log),
            "ChangeMembers": (pb.ChangeMembersRequest, self._change_members),
            "TransferLeadership": (pb.TransferLeadershipRequest, self._transfer_leadership),
        }
        methods: dict[str, grpc.RpcMethodHandler[bytes, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                _decoding(message, handler), response_serializer=lambda answer: answer.SerializeToString()
            )
            for name, (message, handler) in unary.items()
        }
        methods["Raft"] = grpc.stream_stream_rpc_method_handler(self._raft)
        methods["Exchange"] = grpc.stream_stream_rpc_method_handler(self._exchange)
        methods["FetchModel"] = grpc.unary_stream_rpc_method_handler(
            _decoding(pb.FetchModelRequest, self._fetch_model),
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        return grpc.method_handlers_generic_handler("PeerService", methods)

    def _raft(self, frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Read a neighbour's Raft messages until its stream ends; what goes back is where else it may bring them."""
        context.send_initial_metadata(((OFFER_KEY, self.sockets.offer),))
        try:
            for frame in frames:
                cluster_id, messages = frame_from_bytes(frame)
                self._check_cluster(context, cluster_id)
                try:
                    self._loop.call_soon_threadsafe(self._deliver, messages)
                except RuntimeError:  # the loop is closed: this node is stopping
                    abort(context, TransportError("this node is stopping"))
        except RaftGossipError as error:
            abort(context, error)
        except grpc.RpcError:
            pass  # the sender went away; it will open a new stream
        yield from ()

    def _exchange(self, frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            yield from self._hub.serve(frames, context)
        except RaftGossipError as error:
            abort(context, error)
        except Exception:
            _blame_ourselves(context)
            raise

    def _propose(self, request: pb.ProposeRequest, context: grpc.ServicerContext) -> pb.ProposeResponse:
        self._check_cluster(context, request.cluster_id)
        answer = self._ask(context, self._service.propose_forwarded(request.envelope))
        return pb.ProposeResponse(index=answer.index, applied=answer.applied, reason=answer.reason)

    def _join(self, request: pb.JoinRequest, context: grpc.ServicerContext) -> pb.JoinResponse:
        try:
            ask = _join_ask(request)
        except RaftGossipError as error:
            abort(context, error)
        answer = self._ask(context, self._service.join(ask))
        response = pb.JoinResponse(cluster_id=answer.cluster_id, leader=answer.leader or 0)
        for node_id, address in answer.peers:
            response.peers.add(node_id=node_id, host=address.host, port=address.port)
        if answer.specification is not None:
            response.specification.CopyFrom(specification_to_proto(answer.specification))
        return response

    def _leave(self, request: pb.LeaveRequest, context: grpc.ServicerContext) -> pb.LeaveResponse:
        if request.cluster_id and request.cluster_id != self.cluster_id:
            self._check_cluster(context, request.cluster_id)
        if not _is_local(context.peer()):
            abort(context, PermissionDenied("rule leave-is-local: run `raftgossip leave` on the node's own machine"))
        return pb.LeaveResponse(message=self._ask(context, self._service.leave()))

    def _epochs(self, request: pb.FetchEpochsRequest, context: grpc.ServicerContext) -> pb.FetchEpochsResponse:
        if request.linearizable:
            self._ask(context, self._service.catch_up_for_read())
        limit = min(request.limit or EPOCHS_LIMIT, EPOCHS_LIMIT)
        records = self._ask(context, self._service.epochs(request.first_epoch, limit))
        status = self._ask(context, self._service.status())
        return pb.FetchEpochsResponse(
            epochs=[record_to_proto(record) for record in records], last_epoch=status.last_closed_epoch
        )

    def _status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:
        if request.linearizable:
            self._ask(context, self._service.catch_up_for_read())
        return _status_to_proto(self._ask(context, self._service.status()))

    def _log(self, request: pb.FetchLogRequest, context: grpc.ServicerContext) -> pb.FetchLogResponse:
        limit = min(request.limit or LOG_LIMIT, LOG_LIMIT)
        return _log_to_proto(self._ask(context, self._service.log(request.first_index, limit)))

    def _change_members(
        self, request: pb.ChangeMembersRequest, context: grpc.ServicerContext
    ) -> pb.ChangeMembersResponse:
        if request.cluster_id:
            self._check_cluster(context, request.cluster_id)
        try:
            change = self._change_asked(request)
        except RaftGossipError as error:
            abort(context, error)
        return pb.ChangeMembersResponse(message=self._ask(context, change))

    def _change_asked(self, request: pb.ChangeMembersRequest) -> Coroutine[object, object, str]:
        try:
            node_id = parse_node_id(request.node_id)
            match request.action:
                case "add":
                    return self._service.add_member(node_id, Address(request.host, request.port))
                case "remove":
                    return self._service.remove_member(node_id)
                case "promote":
                    return self._service.promote_member(node_id)
        except ConfigError as error:
            raise WireError(str(error)) from None
        raise WireError(f"the action {request.action!r} is none of add, remove and promote")

    def _transfer_leadership(
        self, request: pb.TransferLeadershipRequest, context: grpc.ServicerContext
    ) -> pb.TransferLeadershipResponse:
        if request.cluster_id:
            self._check_cluster(context, request.cluster_id)
        answer = self._ask(context, self._service.transfer_leadership(NodeId(request.target) or None))
        return pb.TransferLeadershipResponse(leader=answer.leader, term=answer.term)

    def _fetch_model(self, request: pb.FetchModelRequest, context: grpc.ServicerContext) -> Iterator[pb.ModelChunk]:
        self._check_cluster(context, request.cluster_id)
        try:
            data = self._service.model(request.digest).data.cast("B")
            if request.offset > len(data):
                raise WireError(f"the offset {request.offset} is beyond the model's {len(data)} bytes")
        except RaftGossipError as error:
            abort(context, error)
        for offset in range(request.offset, len(data), MODEL_CHUNK_BYTES):
            chunk = bytes(data[offset : offset + MODEL_CHUNK_BYTES])
            yield pb.ModelChunk(offset=offset, total_bytes=len(data), data=chunk)


def _decoding(
    message: Callable[[], Request], handler: Callable[[Request, grpc.ServicerContext], Answer]
) -> Callable[[bytes, grpc.ServicerContext], Answer]:
    """Decode inside the handler, where a malformed message can be answered with INVALID_ARGUMENT."""

    def decode_and_handle(data: bytes, context: grpc.ServicerContext) -> Answer:
        request = message()
        try:
            request.ParseFromString(data)  # type: ignore[attr-defined] # every protobuf message has it
        except Exception as error:  # noqa: BLE001 - protobuf's DecodeError differs between its backends
            abort(context, WireError(f"the request is not a {message.__name__}: {type(error).__name__}"))
        try:
            return handler(request, context)
        except Exception:
            _blame_ourselves(context)
            raise

    return decode_and_handle


def _blame_ourselves(context: grpc.ServicerContext) -> None:
    """A handler raised: unless it aborted the call itself, that is a bug of ours, which gRPC would call UNKNOWN."""
    if context.code() is None:  # type: ignore[attr-defined] # missing in the stubs
        context.set_code(grpc.StatusCode.INTERNAL)
        context.set_details("this node failed while it answered; its log says why")


def _is_local(peer: str) -> bool:
    return peer.startswith(("unix:", "ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D"))


def _join_ask(request: pb.JoinRequest) -> JoinAsk:
    try:
        return JoinAsk(
            node_id=parse_node_id(request.node_id),
            address=Address(request.host, request.port),
            incarnation=Incarnation(request.incarnation),
            owner=request.owner,
            schema_digest=request.schema_digest,
            task=request.task,
            cluster_id=request.cluster_id,
            metadata=tuple(sorted(request.metadata.items())),
            forwarded=request.forwarded,
        )
    except ConfigError as error:
        raise WireError(str(error)) from None


def _status_to_proto(view: StatusView) -> pb.StatusResponse:
    opened: OpenEpochState | None = view.open_epoch
    response = pb.StatusResponse(
        cluster_id=view.cluster_id,
        node_id=view.node_id,
        role=view.role,
        term=view.term,
        leader=view.leader or 0,
        commit_index=view.commit_index,
        applied_index=view.applied_index,
        last_index=view.last_index,
        open_epoch=opened.epoch if opened else 0,
        open_attempt=opened.attempt if opened else 0,
        open_participants=opened.participants if opened else (),
        last_closed_epoch=view.last_closed_epoch,
        model_digest=view.model_digest,
        version=__version__,
        phase=view.phase,
        message=view.message,
        uptime_ms=view.uptime_ms,
        run_finished=view.run_finished,
        first_index=view.first_index,
        snapshot_index=view.snapshot_index,
        outgoing=view.outgoing,
        metrics=[pb.Metric(name=name, value=value) for name, value in view.metrics],
    )
    if view.specification is not None:
        response.specification.CopyFrom(specification_to_proto(view.specification))
    for row in view.peers:
        response.peers.add(
            node_id=row.node_id,
            host=row.address.host,
            port=row.address.port,
            role=row.role,
            responsive=row.responsive,
            match_index=row.match_index,
            incarnation=row.incarnation,
            metadata=dict(row.metadata),
            flow=row.flow,
        )
    return response


def _log_to_proto(view: LogView) -> pb.FetchLogResponse:
    response = pb.FetchLogResponse(
        first_index=view.first_index,
        last_index=view.last_index,
        commit_index=view.commit_index,
        applied_index=view.applied_index,
    )
    for row in view.rows:
        response.entries.add(
            index=row.index,
            term=row.term,
            kind=row.kind,
            data_bytes=row.data_bytes,
            applied_at_ms=row.applied_at_ms,
            summary=row.summary,
        )
    return response
