"""A peer with canned answers behind a real gRPC server: what the command line sees of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from raftgossip.errors import RaftGossipError
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.wire.channels import open_port
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import status_of, trailing_metadata_of

DIGEST = bytes(range(32))


class CannedPeer(pb_grpc.PeerServiceServicer):
    """Node `node_id` of a cluster led by `leader`; gives two epochs and three log entries at a time.

    `errors` are raised one by one by what changes something and by linearizable reads, the last one for ever.
    """

    def __init__(self, node_id: int, leader: int = 1) -> None:
        self.node_id = node_id
        self.leader = leader
        self.peers: list[pb.PeerStatus] = []
        self.refusal = ""
        self.errors: list[RaftGossipError] = []
        self.changes: list[pb.ChangeMembersRequest] = []
        self.transfers: list[int] = []
        self.revocations: list[bytes] = []
        self.num_linearizable = 0
        self.log_indices = range(1, 10)
        self.applied_index = 8

    def place(self, address: str, **known: object) -> pb.PeerStatus:
        """Its row in the status of others, if it is served at `address`."""
        row = {"role": "voter", "match_index": 9, "incarnation": "a", **known}
        return pb.PeerStatus(node_id=self.node_id, host="127.0.0.1", port=int(address.rpartition(":")[2]), **row)  # type: ignore[arg-type]

    def _come(self, context: grpc.ServicerContext) -> None:
        if self.errors:
            error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
            context.set_trailing_metadata(trailing_metadata_of(error))
            context.abort(*status_of(error))

    def Status(self, request: pb.StatusRequest, context: grpc.ServicerContext) -> pb.StatusResponse:  # noqa: N802
        if request.linearizable:
            self.num_linearizable += 1
            self._come(context)
        return pb.StatusResponse(
            cluster_id="rg-1",
            node_id=self.node_id,
            role="leader" if self.node_id == self.leader else "follower",
            term=2,
            leader=self.leader,
            commit_index=9,
            applied_index=self.applied_index,
            last_index=9,
            first_index=3,
            snapshot_index=4,
            outgoing=[1, 7],
            peers=self.peers,
            specification=pb.RunSpecification(task="Digits", algorithm="fedavg", topology="base", num_elements=10),
            open_epoch=6,
            open_attempt=2,
            open_participants=[1, 2],
            last_closed_epoch=5,
            model_digest=DIGEST,
            version="0.1.0",
            phase="training",
            metrics=[pb.Metric(name="accuracy", value=0.5), pb.Metric(name="loss", value=float("nan"))],
        )

    def FetchEpochs(  # noqa: N802
        self, request: pb.FetchEpochsRequest, context: grpc.ServicerContext
    ) -> pb.FetchEpochsResponse:
        if request.linearizable:
            self.num_linearizable += 1
            self._come(context)
        numbers = [number for number in range(1, 6) if number >= request.first_epoch][:2]
        records = [
            pb.EpochRecord(
                epoch=number,
                attempt=1,
                outcome="closed",
                contributors=[1, 2],
                model_digest=DIGEST,
                metrics=[pb.Metric(name="accuracy", value=0.1 * number)],
                digests=[pb.NodeDigest(node_id=1, digest=DIGEST)],
                closed_at_ms=1_700_000_000_000,
            )
            for number in numbers
        ]
        return pb.FetchEpochsResponse(epochs=records, last_epoch=5)

    def FetchLog(self, request: pb.FetchLogRequest, context: grpc.ServicerContext) -> pb.FetchLogResponse:  # noqa: N802
        limit = min(request.limit or 3, 3)
        indices = self.log_indices
        first = request.first_index or indices[-1] - limit + 1
        entries = [
            pb.LogEntryInfo(
                index=index,
                term=2,
                kind="command",
                data_bytes=10 * index,
                applied_at_ms=1_700_000_000_000 if index <= self.applied_index else 0,
                summary=f"OpenEpoch {index}\x1b[2J",
            )
            for index in [index for index in indices if index >= first][:limit]
        ]
        return pb.FetchLogResponse(
            entries=entries,
            first_index=indices[0],
            last_index=indices[-1],
            commit_index=indices[-1],
            applied_index=self.applied_index,
        )

    def ChangeMembers(  # noqa: N802
        self, request: pb.ChangeMembersRequest, context: grpc.ServicerContext
    ) -> pb.ChangeMembersResponse:
        self._come(context)
        self.changes.append(request)
        return pb.ChangeMembersResponse(message=f"{request.action} {request.node_id} done [red]\x1b[2J")

    def TransferLeadership(  # noqa: N802
        self, request: pb.TransferLeadershipRequest, context: grpc.ServicerContext
    ) -> pb.TransferLeadershipResponse:
        self._come(context)
        self.transfers.append(request.target)
        return pb.TransferLeadershipResponse(leader=request.target or 2, term=3)

    def PublishRevocations(  # noqa: N802
        self, request: pb.PublishRevocationsRequest, context: grpc.ServicerContext
    ) -> pb.PublishRevocationsResponse:
        self._come(context)
        self.revocations.append(request.revocation_list)
        return pb.PublishRevocationsResponse(message="node 2 took it and told 3 others")

    def Leave(self, request: pb.LeaveRequest, context: grpc.ServicerContext) -> pb.LeaveResponse:  # noqa: N802
        if self.refusal:
            context.abort(grpc.StatusCode.UNAVAILABLE, self.refusal)
        return pb.LeaveResponse(message="node 2 left the cluster [red]\x1b[2J")


@contextmanager
def serving(peer: CannedPeer | None, credentials: LiveCredentials | None = None) -> Iterator[str]:
    """Its address. None: a server that knows none of a peer's methods. `credentials`: its own; None: in the open."""
    with ThreadPoolExecutor(2) as threads:
        server = grpc.server(threads)
        port = open_port(server, "127.0.0.1:0", credentials)
        if peer is not None:
            pb_grpc.add_PeerServiceServicer_to_server(peer, server)
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
