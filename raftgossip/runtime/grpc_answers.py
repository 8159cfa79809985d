"""What the gRPC handlers read and answer, between protobuf messages and the values of `runtime.service`."""

from __future__ import annotations

from raftgossip._version import __version__
from raftgossip.core.epoch.command import OpenEpochState
from raftgossip.errors import ConfigError, PermissionDenied, WireError
from raftgossip.ids import Address, Incarnation, parse_node_id
from raftgossip.runtime.service import JoinAnswer, JoinAsk, LogView, StatusView
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity
from raftgossip.trust.policy import require_own_node
from raftgossip.wire.ledger_codec import specification_to_proto
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb


def join_ask_from_proto(request: pb.JoinRequest, caller: Caller, may_vouch: bool) -> JoinAsk:
    """What a newcomer asks. With certificates, who it is comes from the connection; only a member that passes the
    request on (`may_vouch`) may name another one, whose connection it saw.

    Raises:
        WireError: a field is out of bounds.
        PermissionDenied: the request is for another node than the one that calls, or is vouched for.
    """
    identity, key_digest, owner = "", b"", request.owner
    if caller.identity is not None:
        holder, key_digest = caller.identity, caller.key_digest
        if request.forwarded and request.identity:
            holder, key_digest = _vouched(request, caller, may_vouch), request.key_digest
        require_own_node(Caller(holder), request.node_id, f"join as node {request.node_id}")
        identity = owner = holder.uri
    try:
        return JoinAsk(
            node_id=parse_node_id(request.node_id),
            address=Address(request.host, request.port),
            incarnation=Incarnation(request.incarnation),
            owner=owner,
            schema_digest=request.schema_digest,
            task=request.task,
            cluster_id=request.cluster_id,
            metadata=tuple(sorted(request.metadata.items())),
            forwarded=request.forwarded,
            join_token=request.join_token,
            identity=identity,
            key_digest=key_digest,
        )
    except ConfigError as error:
        raise WireError(str(error)) from None


def _vouched(request: pb.JoinRequest, caller: Caller, may_vouch: bool) -> Identity:
    """Whom a member says that it passes the request on for."""
    assert caller.identity is not None
    if not may_vouch:
        raise PermissionDenied(
            f"rule vouch-as-member: {caller.identity.uri} passes on the request of another node, and is no member"
        )
    try:
        holder = Identity.of_peer(request.identity)
    except ConfigError as error:
        raise WireError(str(error)) from None
    if holder.federation != caller.identity.federation:
        raise PermissionDenied(f"rule own-federation: {holder.uri} is not of {caller.identity.federation}")
    return holder


def join_answer_to_proto(answer: JoinAnswer) -> pb.JoinResponse:
    """For a newcomer that is in."""
    response = pb.JoinResponse(cluster_id=answer.cluster_id, leader=answer.leader or 0)
    for node_id, address in answer.peers:
        response.peers.add(node_id=node_id, host=address.host, port=address.port)
    if answer.specification is not None:
        response.specification.CopyFrom(specification_to_proto(answer.specification))
    return response


def status_to_proto(view: StatusView) -> pb.StatusResponse:
    """Everything that a peer says about itself."""
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


def log_to_proto(view: LogView) -> pb.FetchLogResponse:
    """A part of the log."""
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
