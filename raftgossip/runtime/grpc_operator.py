"""What the command line asks a running peer: one synchronous channel, one deadline for every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import grpc

from raftgossip.ids import Address
from raftgossip.runtime.grpc_client import CHANNEL_OPTIONS
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

Answer = TypeVar("Answer")


class OperatorClient:
    """Talks to one peer. Every method raises a `RaftGossipError`: `TransportError` if the peer does not answer."""

    def __init__(self, address: Address, timeout_ms: int = 3_000) -> None:
        """Dials when first used."""
        self._timeout_s = timeout_ms / 1000
        self._channel = grpc.insecure_channel(str(address), options=CHANNEL_OPTIONS)
        self._stub = pb_grpc.PeerServiceStub(self._channel)

    def status(self) -> pb.StatusResponse:
        """What the peer knows now."""
        answer: pb.StatusResponse = self._call(lambda: self._stub.Status(pb.StatusRequest(), timeout=self._timeout_s))
        return answer

    def epochs(self, first: int, limit: int) -> pb.FetchEpochsResponse:
        """Ended epochs from `first` on, at most `limit` (0: as many as the peer gives at once)."""
        request = pb.FetchEpochsRequest(first_epoch=first, limit=limit)
        answer: pb.FetchEpochsResponse = self._call(lambda: self._stub.FetchEpochs(request, timeout=self._timeout_s))
        return answer

    def leave(self) -> str:
        """Make the peer leave its cluster for good; returns its sentence."""
        return str(self._call(lambda: self._stub.Leave(pb.LeaveRequest(), timeout=20.0)).message)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _call(self, call: Callable[[], Answer]) -> Answer:
        try:
            return call()
        except grpc.RpcError as error:
            raise error_from_rpc(error) from None
