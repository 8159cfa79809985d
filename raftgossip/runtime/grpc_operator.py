"""What the command line asks a running peer: one synchronous channel, one deadline for every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import grpc

from raftgossip.ids import Address, NodeId
from raftgossip.runtime.grpc_client import CHANNEL_OPTIONS
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

Answer = TypeVar("Answer")

ANSWER_MS = 3_000
"""For what a peer answers at once, or after it asked a majority."""
CHANGE_TIMEOUT_S = 20.0
"""For what waits until a majority confirmed it; the peer itself gives up sooner."""


class OperatorClient:
    """Talks to one peer. Every method raises a `RaftGossipError`: `TransportError` if the peer does not answer."""

    def __init__(
        self, address: Address, credentials: LiveCredentials | None = None, timeout_ms: int = ANSWER_MS
    ) -> None:
        """Dials when first used. `credentials`: as whom it speaks, and then only to a peer of the same federation."""
        self.credentials = credentials
        self._timeout_s = timeout_ms / 1000
        self._channel = open_operator_channel(address, credentials, Role.PEER)
        self._stub = pb_grpc.PeerServiceStub(self._channel)

    def status(self) -> pb.StatusResponse:
        """What the peer knows now."""
        return self._status(pb.StatusRequest())

    def status_of_now(self) -> pb.StatusResponse:
        """The same, with everything that was confirmed before this call; fails without a majority."""
        return self._status(pb.StatusRequest(linearizable=True))

    def _status(self, request: pb.StatusRequest) -> pb.StatusResponse:
        answer: pb.StatusResponse = called(lambda: self._stub.Status(request, timeout=self._timeout_s))
        return answer

    def epochs(self, first: int, limit: int) -> pb.FetchEpochsResponse:
        """Ended epochs from `first` on, at most `limit` (0: as many as the peer gives at once)."""
        return self._epochs(pb.FetchEpochsRequest(first_epoch=first, limit=limit))

    def epochs_of_now(self, first: int, limit: int) -> pb.FetchEpochsResponse:
        """The same, with every epoch whose end was confirmed before this call; fails without a majority."""
        return self._epochs(pb.FetchEpochsRequest(first_epoch=first, limit=limit, linearizable=True))

    def _epochs(self, request: pb.FetchEpochsRequest) -> pb.FetchEpochsResponse:
        answer: pb.FetchEpochsResponse = called(lambda: self._stub.FetchEpochs(request, timeout=self._timeout_s))
        return answer

    def log(self, first: int, limit: int) -> pb.FetchLogResponse:
        """Entries of the peer's log from `first` on (0: the newest), at most `limit` (0: as many as it gives)."""
        request = pb.FetchLogRequest(first_index=first, limit=limit)
        answer: pb.FetchLogResponse = called(lambda: self._stub.FetchLog(request, timeout=self._timeout_s))
        return answer

    def leave(self) -> str:
        """Make the peer leave its cluster for good; returns its sentence."""
        return str(called(lambda: self._stub.Leave(pb.LeaveRequest(), timeout=CHANGE_TIMEOUT_S)).message)

    # --- what only the leader does: every other peer refuses with `NotLeader`

    def add_member(self, node_id: NodeId, address: Address) -> str:
        """Let a node in before it comes; returns the leader's sentence."""
        request = pb.ChangeMembersRequest(action="add", node_id=node_id, host=address.host, port=address.port)
        return self._change_members(request)

    def remove_member(self, node_id: NodeId) -> str:
        """Take a node out of the cluster; returns the leader's sentence."""
        return self._change_members(pb.ChangeMembersRequest(action="remove", node_id=node_id))

    def promote_member(self, node_id: NodeId) -> str:
        """Make a learner a voter; returns the leader's sentence."""
        return self._change_members(pb.ChangeMembersRequest(action="promote", node_id=node_id))

    def _change_members(self, request: pb.ChangeMembersRequest) -> str:
        return str(called(lambda: self._stub.ChangeMembers(request, timeout=CHANGE_TIMEOUT_S)).message)

    def transfer_leadership(self, target: NodeId | None) -> pb.TransferLeadershipResponse:
        """Let `target` lead (None: the most caught-up voter); returns who leads, and in which term."""
        request = pb.TransferLeadershipRequest(target=target or 0)
        answer: pb.TransferLeadershipResponse = called(
            lambda: self._stub.TransferLeadership(request, timeout=CHANGE_TIMEOUT_S)
        )
        return answer

    def publish_revocations(self, revocation_list: bytes) -> str:
        """Let the peer take over a list of revoked certificates, PEM, and pass it on; returns its sentence."""
        request = pb.PublishRevocationsRequest(revocation_list=revocation_list)
        return str(called(lambda: self._stub.PublishRevocations(request, timeout=self._timeout_s)).message)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def open_operator_channel(address: Address, credentials: LiveCredentials | None, role: Role) -> grpc.Channel:
    """A channel to anybody of that role in the caller's federation; without credentials in the open, to anybody."""
    name = role_server_name(role, credentials.current().identity.federation) if credentials is not None else ""
    return open_channel(address, credentials, name, CHANNEL_OPTIONS)


def called(call: Callable[[], Answer]) -> Answer:
    """What the call returns.

    Raises:
        RaftGossipError: it failed; see `wire.status`.
    """
    try:
        return call()
    except grpc.RpcError as error:
        raise error_from_rpc(error) from None
