"""What the gRPC handlers read and answer, between protobuf messages and the values of `runtime.service`."""

from __future__ import annotations

from raftgossip._version import __version__
from raftgossip.core.epoch.command import OpenEpochState
from raftgossip.errors import ConfigError, WireError
from raftgossip.ids import Address, Incarnation, parse_node_id
from raftgossip.runtime.service import JoinAnswer, JoinAsk, LogView, StatusView
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import owner_of
from raftgossip.trust.policy import require_own_node
from raftgossip.wire.ledger_codec import specification_to_proto
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

MAX_ENTRIES, MAX_KEY, MAX_VALUE = 32, 64, 1024
"""Of a newcomer's metadata: entries, characters of a key, characters of a value. All of it stands in the ledger."""
MAX_NAME = 256
"""Characters of a newcomer's other texts."""


def join_ask_from_proto(request: pb.JoinRequest, caller: Caller) -> JoinAsk:
    """What a newcomer asks. With certificates, who it is comes from the connection, and nobody asks for another.

    Raises:
        WireError: a field is out of bounds.
        PermissionDenied: the request is for another node than the one that calls.
    """
    _check_sizes(request)
    identity, owner = "", request.owner
    if caller.identity is not None:
        require_own_node(caller, request.node_id, f"join as node {request.node_id}")
        identity = caller.identity.uri
        owner = owner_of(identity, request.owner.rpartition("#")[2])
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
            key_digest=caller.key_digest,
        )
    except ConfigError as error:
        raise WireError(str(error)) from None


def _check_sizes(request: pb.JoinRequest) -> None:
    for field in ("host", "incarnation", "task", "cluster_id", "owner"):
        length = len(getattr(request, field))
        if length > MAX_NAME:
            raise WireError(f"{field}: a text of {length} characters; at most {MAX_NAME} are allowed")
    if len(request.metadata) > MAX_ENTRIES:
        raise WireError(f"metadata: {len(request.metadata)} entries; at most {MAX_ENTRIES} are allowed")
    for key, value in request.metadata.items():
        if len(key) > MAX_KEY or len(value) > MAX_VALUE:
            raise WireError(
                f"metadata: a key has at most {MAX_KEY} characters and a value {MAX_VALUE}; {key[:MAX_KEY]!r} has more"
            )


def join_answer_to_proto(answer: JoinAnswer) -> pb.JoinResponse:
    """For a newcomer that is in."""
    response = pb.JoinResponse(cluster_id=answer.cluster_id, leader=answer.leader or 0)
    names = dict(answer.names)
    for node_id, address in answer.peers:
        response.peers.add(node_id=node_id, host=address.host, port=address.port, identity=names.get(node_id, ""))
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
            identity=row.identity,
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
