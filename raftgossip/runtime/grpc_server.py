"""The answering side: gRPC handlers hand over to the peer's event loop, and answer.

The synchronous gRPC stack serves: its threads move model bytes without touching the event loop that Raft's timers
live on. This file is the one door through which those threads reach the loop. Who may call is judged in `grpc_gate.py`
before a handler sees anything.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

from raftgossip.core.raft.message import Message
from raftgossip.errors import (
    CommandRefused,
    ConfigError,
    DeadlineExceeded,
    PermissionDenied,
    TransportError,
    WireError,
    WrongCluster,
)
from raftgossip.ids import Address, NodeId, parse_node_id
from raftgossip.runtime.clock import Clock, SystemClock
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_answers import join_answer_to_proto, join_ask_from_proto, log_to_proto, status_to_proto
from raftgossip.runtime.grpc_gate import REPEATED, Gate
from raftgossip.runtime.guard import Guard, check_senders
from raftgossip.runtime.raft_socket import OFFER_KEY, RaftSockets
from raftgossip.runtime.service import PeerService
from raftgossip.trust.callers import Caller
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role
from raftgossip.trust.policy import require_own_node
from raftgossip.wire.channels import open_port
from raftgossip.wire.ledger_codec import record_to_proto
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.raft_codec import frame_from_bytes

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_CALLS = 512
"""Concurrent calls; more are refused with RESOURCE_EXHAUSTED by gRPC itself."""
ANSWER_TIMEOUT_S = 30.0
"""The longest that a handler waits for the event loop, whatever deadline the caller asked for."""
CHECK_S = 5.0
"""How often who holds a stream open is judged again: no later does it end after its caller was revoked or removed."""
MODEL_CHUNK_BYTES = 1 << 20
EPOCHS_LIMIT = 500
LOG_LIMIT = 500
MAX_REVOCATION_BYTES = 1 << 20

SERVER_OPTIONS = (
    # Without this two servers on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8 * 1024),
    # Half-open sockets would otherwise hold their descriptors for minutes.
    ("grpc.server_handshake_timeout_ms", 3_000),
)

Result = TypeVar("Result")
AddRevocations = Callable[[bytes], bool]
"""Verifies and keeps a revocation list, in PEM; False: it is not newer than the one that is known."""
PassOn = Callable[[bytes], Coroutine[object, object, int]]
"""Brings a revocation list to all other nodes; returns how many took it."""


class PeerServer:
    """One gRPC server on one port for control and data."""

    def __init__(
        self,
        service: PeerService,
        hub: ExchangeHub,
        loop: asyncio.AbstractEventLoop,
        credentials: LiveCredentials | None = None,
        add_revocations: AddRevocations | None = None,
        *,
        pass_on_revocations: PassOn | None = None,
        max_workers: int = 128,
        clock: Clock | None = None,
        check_s: float = CHECK_S,
    ) -> None:
        """`credentials`: who this node is, and whom it trusts; None: it serves in the open. `max_workers`: threads,
        started only when needed; each open Raft stream and waiting exchange holds one."""
        self._service = service
        self._hub = hub
        self._loop = loop
        self._credentials = credentials
        self._add_revocations = add_revocations
        self._pass_on_revocations = pass_on_revocations
        self._check_s = check_s
        self.cluster_id = ""
        clock = clock or SystemClock()
        guard = Guard(service, credentials, clock)
        self._guard = guard
        self._gate = Gate(guard, clock)
        self.sockets = RaftSockets(
            self._deliver, lambda cluster_id: cluster_id == self.cluster_id != "", guard, check_s
        )
        """Not served unless somebody runs it."""
        self._threads = ThreadPoolExecutor(max_workers, thread_name_prefix="grpc")
        self._server = grpc.server(self._threads, options=SERVER_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self._is_stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="grpc-sweep", daemon=True)

    def start(self, host: str, port: int) -> int:
        """Bind and serve; returns the port. Port 0 picks a free one.

        Raises:
            ConfigError: the address is in use or not of this machine.
        """
        target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = open_port(self._server, target, self._credentials)
        except RuntimeError:
            bound = 0
        if bound == 0:
            raise ConfigError(
                f"cannot listen on {target}: the port is in use or the address is not this machine's; "
                "choose another with --listen, or end the program that holds it"
            )
        self._server.start()
        self._sweeper.start()
        return bound

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, give open ones `grace_s` seconds, and wait until the port is free."""
        self._is_stopping.set()
        self._server.stop(grace_s).wait()
        self._threads.shutdown(wait=True)
        if self._sweeper.ident is not None:
            self._sweeper.join()

    def _sweep(self) -> None:
        while not self._is_stopping.wait(self._check_s):
            self._gate.sweep()

    # --- handing over

    def _deliver(self, messages: Sequence[Message]) -> None:
        self._service.deliver(messages)

    def _ask(self, context: grpc.ServicerContext, coroutine: Coroutine[object, object, Result]) -> Result:
        """Run a coroutine of the peer on its loop and wait for it within the caller's deadline."""
        remaining = context.time_remaining()
        timeout_s = ANSWER_TIMEOUT_S if remaining is None else min(remaining, ANSWER_TIMEOUT_S)
        if self._loop.is_closed():
            coroutine.close()
            raise TransportError("this node is stopping")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)  # noqa: TID251 - the one door
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise DeadlineExceeded(f"no answer within {timeout_s:.1f} s") from None
        except CancelledError:
            raise TransportError("this node is stopping") from None

    def _check_cluster(self, cluster_id: str) -> None:
        if not self.cluster_id or cluster_id != self.cluster_id:
            mine = self.cluster_id or "none yet"
            raise WrongCluster(f"the sender's cluster is {cluster_id!r}, this node's is {mine!r}")

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
            "PublishRevocations": (pb.PublishRevocationsRequest, self._publish_revocations),
        }
        gate = self._gate
        methods = {name: gate.unary(name, message, handler) for name, (message, handler) in unary.items()}
        methods["Raft"] = gate.streaming("Raft", self._raft)
        methods["Exchange"] = gate.streaming("Exchange", self._hub.serve)
        methods["FetchModel"] = gate.answering("FetchModel", pb.FetchModelRequest, self._fetch_model)
        return grpc.method_handlers_generic_handler("PeerService", methods)

    def _raft(
        self, frames: Iterator[bytes], context: grpc.ServicerContext, caller: Caller
    ) -> Generator[bytes, None, None]:
        """Read a neighbour's Raft messages until its stream ends; what goes back is where else it may bring them."""
        context.send_initial_metadata(((OFFER_KEY, self.sockets.offer),))
        for frame in frames:
            cluster_id, messages = frame_from_bytes(frame)
            self._check_cluster(cluster_id)
            check_senders(caller, messages)
            try:
                self._loop.call_soon_threadsafe(self._deliver, messages)
            except RuntimeError:  # the loop is closed: this node is stopping
                raise TransportError("this node is stopping") from None
        yield from ()

    def _propose(self, request: pb.ProposeRequest, context: grpc.ServicerContext, caller: Caller) -> pb.ProposeResponse:
        self._check_cluster(request.cluster_id)
        answer = self._ask(context, self._service.propose_forwarded(request.envelope, caller))
        return pb.ProposeResponse(index=answer.index, applied=answer.applied, reason=answer.reason)

    def _join(self, request: pb.JoinRequest, context: grpc.ServicerContext, caller: Caller) -> pb.JoinResponse:
        ask = join_ask_from_proto(request, caller)
        return join_answer_to_proto(self._ask(context, self._service.join(ask)))

    def _leave(self, request: pb.LeaveRequest, context: grpc.ServicerContext, caller: Caller) -> pb.LeaveResponse:
        if request.cluster_id and request.cluster_id != self.cluster_id:
            self._check_cluster(request.cluster_id)
        if self._credentials is not None:
            node_id = self._credentials.current().identity.node_id or 0
            require_own_node(caller, node_id, f"make node {node_id} leave")
        elif not _is_local(context.peer()):
            raise PermissionDenied("rule leave-is-local: run `raftgossip leave` on the node's own machine")
        return pb.LeaveResponse(message=self._ask(context, self._service.leave()))

    def _epochs(
        self, request: pb.FetchEpochsRequest, context: grpc.ServicerContext, _: Caller
    ) -> pb.FetchEpochsResponse:
        if request.linearizable:
            self._ask(context, self._service.catch_up_for_read())
        limit = min(request.limit or EPOCHS_LIMIT, EPOCHS_LIMIT)
        records = self._ask(context, self._service.epochs(request.first_epoch, limit))
        status = self._ask(context, self._service.status())
        return pb.FetchEpochsResponse(
            epochs=[record_to_proto(record) for record in records], last_epoch=status.last_closed_epoch
        )

    def _status(self, request: pb.StatusRequest, context: grpc.ServicerContext, _: Caller) -> pb.StatusResponse:
        if request.linearizable:
            self._ask(context, self._service.catch_up_for_read())
        return status_to_proto(self._ask(context, self._service.status()))

    def _log(self, request: pb.FetchLogRequest, context: grpc.ServicerContext, _: Caller) -> pb.FetchLogResponse:
        limit = min(request.limit or LOG_LIMIT, LOG_LIMIT)
        return log_to_proto(self._ask(context, self._service.log(request.first_index, limit)))

    def _change_members(
        self, request: pb.ChangeMembersRequest, context: grpc.ServicerContext, _: Caller
    ) -> pb.ChangeMembersResponse:
        if request.cluster_id:
            self._check_cluster(request.cluster_id)
        return pb.ChangeMembersResponse(message=self._ask(context, self._change_asked(request)))

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
        self, request: pb.TransferLeadershipRequest, context: grpc.ServicerContext, _: Caller
    ) -> pb.TransferLeadershipResponse:
        if request.cluster_id:
            self._check_cluster(request.cluster_id)
        answer = self._ask(context, self._service.transfer_leadership(NodeId(request.target) or None))
        return pb.TransferLeadershipResponse(leader=answer.leader, term=answer.term)

    def _publish_revocations(
        self, request: pb.PublishRevocationsRequest, context: grpc.ServicerContext, caller: Caller
    ) -> pb.PublishRevocationsResponse:
        if self._credentials is None or self._add_revocations is None:
            raise CommandRefused("this node runs without certificates: there is nothing to revoke")
        if len(request.revocation_list) > MAX_REVOCATION_BYTES:
            raise WireError(f"a revocation list may have {MAX_REVOCATION_BYTES} bytes")
        is_new = self._add_revocations(request.revocation_list)
        if is_new:
            try:
                self._credentials.refresh()
            except ConfigError:
                pass  # another of its files is wrong, which whoever refreshes regularly tells
        message = "taken over" if is_new else "known already"
        if request.forwarded or self._pass_on_revocations is None:
            return pb.PublishRevocationsResponse(message=message)
        # What is known was passed on when it was new; only an operator knows of nodes that it did not reach then.
        if not is_new and (caller.identity is None or caller.identity.role is not Role.OPERATOR):
            return pb.PublishRevocationsResponse(message=f"{message}; not passed on again")
        if not is_new and (wait_ms := self._gate.wait_ms(REPEATED, caller)):
            return pb.PublishRevocationsResponse(message=f"{message}; not passed on again: repeat it in {wait_ms} ms")
        number = self._ask(context, self._pass_on_revocations(request.revocation_list))
        return pb.PublishRevocationsResponse(message=f"{message}; passed on to {number} other nodes")

    def _fetch_model(
        self, request: pb.FetchModelRequest, _context: grpc.ServicerContext, _: Caller
    ) -> Generator[pb.ModelChunk, None, None]:
        self._check_cluster(request.cluster_id)
        data = self._service.model(request.digest).data.cast("B")
        if request.offset > len(data):
            raise WireError(f"the offset {request.offset} is beyond the model's {len(data)} bytes")
        for offset in range(request.offset, len(data), MODEL_CHUNK_BYTES):
            chunk = bytes(data[offset : offset + MODEL_CHUNK_BYTES])
            yield pb.ModelChunk(offset=offset, total_bytes=len(data), data=chunk)


def _is_local(peer: str) -> bool:
    return peer.startswith(("unix:", "ipv4:127.", "ipv6:[::1]", "ipv6:%5B::1%5D"))
