"""Replicated commands, run specifications and epoch records to protobuf and back.

Every replica runs this decoder on the same bytes, so what it refuses is refused by all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never, cast

from google.protobuf.message import DecodeError

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    Envelope,
    EpochRecord,
    FailedEdge,
    LinkBytes,
    OpenEpoch,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.epoch.config import RunSpec
from raftgossip.errors import ConfigError, WireError
from raftgossip.ids import Address, Epoch, Incarnation, NodeId
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb


def envelope_to_bytes(envelope: Envelope) -> bytes:
    """A stamped command, as it stands in the log."""
    return pb.Envelope(
        client=envelope.client,
        sequence=envelope.sequence,
        first_unanswered=envelope.first_unanswered,
        command=command_to_proto(envelope.command),
    ).SerializeToString()


def envelope_from_bytes(data: bytes) -> Envelope:
    """A stamped command.

    Raises:
        WireError: the bytes are no envelope, or a value in it is out of its range.
    """
    try:
        encoded = pb.Envelope.FromString(data)
    except DecodeError:
        raise WireError("the bytes are not an Envelope") from None
    if not encoded.client or not encoded.sequence:
        raise WireError("an envelope without a client or a sequence")
    try:
        command = command_from_proto(encoded.command)
    except ConfigError as error:
        raise WireError(str(error)) from None
    return Envelope(encoded.client, encoded.sequence, encoded.first_unanswered, command)


def command_to_proto(command: Command) -> pb.Command:
    """One command."""
    match command:
        case StartRun():
            specification = specification_to_proto(command.specification)
            return pb.Command(start_run=pb.StartRun(specification=specification, initial_digest=command.initial_digest))
        case AddPeer():
            return pb.Command(
                add_peer=pb.AddPeer(
                    node_id=command.node_id,
                    host=command.address.host,
                    port=command.address.port,
                    incarnation=command.incarnation,
                    metadata=dict(command.metadata),
                    owner=command.owner,
                    token_id=command.token_id,
                    token_expires_s=command.token_expires_s,
                )
            )
        case RemovePeer():
            return pb.Command(remove_peer=pb.RemovePeer(node_id=command.node_id))
        case OpenEpoch():
            return pb.Command(
                open_epoch=pb.OpenEpoch(
                    epoch=command.epoch,
                    participants=command.participants,
                    plan_digest=command.plan_digest,
                    leader=command.leader,
                    exact=command.exact,
                )
            )
        case RetryExchange():
            return pb.Command(
                retry_exchange=pb.RetryExchange(
                    epoch=command.epoch,
                    attempt=command.attempt,
                    participants=command.participants,
                    plan_digest=command.plan_digest,
                    exact=command.exact,
                )
            )
        case ReportEpoch():
            return pb.Command(report_epoch=report_to_proto(command))
        case CloseEpoch():
            return pb.Command(
                close_epoch=pb.CloseEpoch(
                    epoch=command.epoch,
                    attempt=command.attempt,
                    outcome=command.outcome,
                    reason=command.reason,
                    leader=command.leader,
                    closed_at_ms=command.closed_at_ms,
                )
            )
        case _:
            assert_never(command)


def command_from_proto(encoded: pb.Command) -> Command:
    """One command.

    Raises:
        WireError: it is of an unknown kind.
        ConfigError: a value in it is out of its range.
    """
    match encoded.WhichOneof("body"):
        case "start_run":
            start = encoded.start_run
            return StartRun(specification_from_proto(start.specification), start.initial_digest)
        case "add_peer":
            peer = encoded.add_peer
            return AddPeer(
                NodeId(peer.node_id),
                Address(peer.host, peer.port),
                Incarnation(peer.incarnation),
                tuple(sorted(peer.metadata.items())),
                peer.owner,
                peer.token_id,
                peer.token_expires_s,
            )
        case "remove_peer":
            return RemovePeer(NodeId(encoded.remove_peer.node_id))
        case "open_epoch":
            opening = encoded.open_epoch
            return OpenEpoch(
                Epoch(opening.epoch),
                nodes_from_proto(opening.participants),
                opening.plan_digest,
                NodeId(opening.leader),
                opening.exact,
            )
        case "retry_exchange":
            retry = encoded.retry_exchange
            survivors = nodes_from_proto(retry.participants)
            return RetryExchange(Epoch(retry.epoch), retry.attempt, survivors, retry.plan_digest, retry.exact)
        case "report_epoch":
            return report_from_proto(encoded.report_epoch)
        case "close_epoch":
            close = encoded.close_epoch
            leader, closed_at_ms = NodeId(close.leader), close.closed_at_ms
            return CloseEpoch(Epoch(close.epoch), close.attempt, close.outcome, close.reason, leader, closed_at_ms)
        case _:
            raise WireError("a command of an unknown kind: does its proposer run a newer version?")


def report_to_proto(report: ReportEpoch) -> pb.ReportEpoch:
    """A participant's account of one attempt."""
    return pb.ReportEpoch(
        epoch=report.epoch,
        attempt=report.attempt,
        node_id=report.node_id,
        digest=report.digest,
        num_samples=report.num_samples,
        metrics=_metrics_to_proto(report.metrics),
        links=[pb.LinkBytes(node_id=link.node_id, sent=link.sent, received=link.received) for link in report.links],
        failed_edges=[
            pb.FailedEdge(node_id=edge.node_id, reason=edge.reason, refused=edge.refused)
            for edge in report.failed_edges
        ],
        error=report.error,
    )


def report_from_proto(encoded: pb.ReportEpoch) -> ReportEpoch:
    """A participant's account of one attempt."""
    return ReportEpoch(
        epoch=Epoch(encoded.epoch),
        attempt=encoded.attempt,
        node_id=NodeId(encoded.node_id),
        digest=encoded.digest,
        num_samples=encoded.num_samples,
        metrics=_metrics_from_proto(encoded.metrics),
        links=tuple(LinkBytes(NodeId(link.node_id), link.sent, link.received) for link in encoded.links),
        failed_edges=tuple(
            FailedEdge(NodeId(edge.node_id), edge.reason, edge.refused) for edge in encoded.failed_edges
        ),
        error=encoded.error,
    )


def _metrics_to_proto(metrics: tuple[tuple[str, float], ...]) -> list[pb.Metric]:
    return [pb.Metric(name=name, value=value) for name, value in metrics]


def _metrics_from_proto(encoded: Iterable[pb.Metric]) -> tuple[tuple[str, float], ...]:
    return tuple([(metric.name, metric.value) for metric in encoded])


def specification_to_proto(spec: RunSpec) -> pb.RunSpecification:
    """What a run is."""
    return pb.RunSpecification(
        task=spec.task,
        algorithm=spec.algorithm,
        topology=spec.topology,
        num_epochs=spec.num_epochs,
        min_participants=spec.min_participants,
        seed=spec.seed,
        local_passes=spec.local_passes,
        train_deadline_ms=spec.train_deadline_ms,
        exchange_deadline_ms=spec.exchange_deadline_ms,
        min_epoch_ms=spec.min_epoch_ms,
        max_attempts=spec.max_attempts,
        schema_digest=spec.schema_digest,
        num_elements=spec.num_elements,
        requires_token=spec.requires_token,
    )


def specification_from_proto(encoded: pb.RunSpecification) -> RunSpec:
    """What a run is.

    Raises:
        ConfigError: a number is out of its range.
    """
    return RunSpec(
        task=encoded.task,
        algorithm=encoded.algorithm,
        topology=encoded.topology,
        num_epochs=encoded.num_epochs,
        min_participants=encoded.min_participants,
        seed=encoded.seed,
        local_passes=encoded.local_passes,
        train_deadline_ms=encoded.train_deadline_ms,
        exchange_deadline_ms=encoded.exchange_deadline_ms,
        min_epoch_ms=encoded.min_epoch_ms,
        max_attempts=encoded.max_attempts,
        schema_digest=encoded.schema_digest,
        num_elements=encoded.num_elements,
        requires_token=encoded.requires_token,
    )


def record_to_proto(record: EpochRecord) -> pb.EpochRecord:
    """An ended epoch."""
    return pb.EpochRecord(
        epoch=record.epoch,
        attempt=record.attempt,
        outcome=record.outcome,
        participants=record.participants,
        contributors=record.contributors,
        model_digest=record.model_digest,
        metrics=_metrics_to_proto(record.metrics),
        digests=[pb.NodeDigest(node_id=node_id, digest=digest) for node_id, digest in record.digests],
        bytes_sent=record.bytes_sent,
        leader=record.leader,
        closed_at_ms=record.closed_at_ms,
        reason=record.reason,
        log_index=record.log_index,
    )


def record_from_proto(encoded: pb.EpochRecord) -> EpochRecord:
    """An ended epoch."""
    return EpochRecord(
        epoch=Epoch(encoded.epoch),
        attempt=encoded.attempt,
        outcome=encoded.outcome,
        participants=nodes_from_proto(encoded.participants),
        contributors=nodes_from_proto(encoded.contributors),
        model_digest=encoded.model_digest,
        digests=tuple([(NodeId(each.node_id), each.digest) for each in encoded.digests]),
        metrics=_metrics_from_proto(encoded.metrics),
        bytes_sent=encoded.bytes_sent,
        leader=NodeId(encoded.leader),
        closed_at_ms=encoded.closed_at_ms,
        reason=encoded.reason,
        log_index=encoded.log_index,
    )


def nodes_from_proto(encoded: Iterable[int]) -> tuple[NodeId, ...]:
    """Node ids in their order. A snapshot has millions of them: they are not called on one by one."""
    return cast("tuple[NodeId, ...]", tuple(encoded))
