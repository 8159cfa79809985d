"""A captured replica to bytes and back.

Equal states give equal bytes on every node, because a transfer that one leader began another may end: whatever has no
order of its own is sorted, and no protobuf map is used. Ended epochs are most of a snapshot and never change: they are
parts of their own, so that whoever takes snapshots again and again keeps them, and only joins what is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import repeat

from google.protobuf.message import DecodeError

from raftgossip.core.epoch.command import EpochRecord, OpenEpochState, RosterEntry
from raftgossip.core.epoch.ledger import MAX_USED_TOKENS, Applied, LedgerState
from raftgossip.core.replica import ReplicaState
from raftgossip.core.sessions import MAX_REMEMBERED, MAX_SESSIONS, SessionState
from raftgossip.errors import ConfigError, WireError
from raftgossip.ids import Address, Epoch, Incarnation, NodeId, parse_node_id
from raftgossip.wire.ledger_codec import (
    nodes_from_proto,
    record_from_proto,
    record_to_proto,
    report_from_proto,
    report_to_proto,
    specification_from_proto,
    specification_to_proto,
)
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

VERSION = 2
"""Of the format. A step makes older nodes refuse a newer one's snapshots, so a cluster is updated before it is used: a
state without anything new has the bytes of the oldest version that can hold it. Version 2 brought join tokens."""


def snapshot_to_bytes(state: ReplicaState, known: Sequence[bytes] = ()) -> bytes:
    """The whole state. `known`: what `record_to_part` gave for its first records, or more of them."""
    ledger = state.ledger
    num_known = min(len(known), len(ledger.records))
    head = pb.LedgerSnapshot(
        version=_least_version(ledger),
        applied_index=ledger.applied_index,
        initial_digest=ledger.initial_digest,
        roster=map(_peer_to_proto, ledger.roster),
        departed=[pb.DepartedPeer(node_id=node_id, owner=owner) for node_id, owner in ledger.departed],
    )
    if ledger.specification is not None:
        head.specification.MergeFrom(specification_to_proto(ledger.specification))
    if ledger.open_epoch is not None:
        head.open_epoch.MergeFrom(_open_epoch_to_proto(ledger.open_epoch))
    tail = pb.LedgerSnapshot(
        sessions=map(_session_to_proto, state.sessions),
        used_tokens=[pb.UsedToken(token_id=each, expires_s=expires_s) for each, expires_s in ledger.used_tokens],
    )
    # Protobuf's encoding of a message is that of its fields, one behind the other.
    records = [*known[:num_known], *map(record_to_part, ledger.records[num_known:])]
    return b"".join([head.SerializeToString(deterministic=True), *records, tail.SerializeToString(deterministic=True)])


def snapshot_from_bytes(data: bytes) -> ReplicaState:
    """The whole state.

    Raises:
        WireError: the bytes are no snapshot, or one of a newer version, or what they say contradicts itself.
    """
    try:
        encoded = pb.LedgerSnapshot.FromString(data)
        if not 1 <= encoded.version <= VERSION:
            raise WireError(f"a snapshot of version {encoded.version}; this program reads versions up to {VERSION}")
        ledger = LedgerState(
            specification=specification_from_proto(encoded.specification)
            if encoded.HasField("specification")
            else None,
            initial_digest=encoded.initial_digest,
            roster=tuple(map(_peer_from_proto, encoded.roster)),
            departed=tuple([(parse_node_id(each.node_id), each.owner) for each in encoded.departed]),
            open_epoch=_open_epoch_from_proto(encoded.open_epoch) if encoded.HasField("open_epoch") else None,
            records=tuple(map(_record_from_bytes, encoded.records)),
            applied_index=encoded.applied_index,
            used_tokens=tuple([(each.token_id, each.expires_s) for each in encoded.used_tokens]),
        )
        state = ReplicaState(ledger, tuple(map(_session_from_proto, encoded.sessions)))
    except DecodeError:
        raise WireError("the bytes are not a LedgerSnapshot, or one of its records is none") from None
    except ConfigError as error:
        raise WireError(f"a snapshot: {error}") from None
    if encoded.version < _least_version(ledger):
        raise WireError(f"a snapshot of version {encoded.version} with join tokens, which that version does not know")
    _check_ledger(ledger)
    _check_sessions(state.sessions)
    return state


def _least_version(ledger: LedgerState) -> int:
    requires_token = ledger.specification is not None and ledger.specification.requires_token
    return 2 if requires_token or ledger.used_tokens else 1


def record_to_part(record: EpochRecord) -> bytes:
    """One ended epoch as it stands in a snapshot, with its field's number and length.

    Digests are most of it, and in an exact plan all of them are equal: then they are left out.
    """
    same_digests = bool(record.digests) and record.digests == _same_digests(record)
    kept = replace(record, digests=()) if same_digests else record
    encoded = pb.EndedEpoch(record=record_to_proto(kept), same_digests=same_digests)
    return pb.LedgerSnapshot(records=[encoded.SerializeToString(deterministic=True)]).SerializeToString()


def _record_from_bytes(data: bytes) -> EpochRecord:
    encoded = pb.EndedEpoch.FromString(data)
    record = record_from_proto(encoded.record)
    return replace(record, digests=_same_digests(record)) if encoded.same_digests else record


def _same_digests(record: EpochRecord) -> tuple[tuple[NodeId, bytes], ...]:
    return tuple(zip(record.contributors, repeat(record.model_digest)))


# --- parts


def _peer_to_proto(entry: RosterEntry) -> pb.RosterPeer:
    return pb.RosterPeer(
        node_id=entry.node_id,
        host=entry.address.host,
        port=entry.address.port,
        incarnation=entry.incarnation,
        metadata=[pb.NamedText(name=name, text=text) for name, text in entry.metadata],
        owner=entry.owner,
    )


def _peer_from_proto(encoded: pb.RosterPeer) -> RosterEntry:
    return RosterEntry(
        node_id=parse_node_id(encoded.node_id),
        address=Address(encoded.host, encoded.port),
        incarnation=Incarnation(encoded.incarnation),
        metadata=tuple([(each.name, each.text) for each in encoded.metadata]),
        owner=encoded.owner,
    )


def _open_epoch_to_proto(opened: OpenEpochState) -> pb.OpenEpochSnapshot:
    return pb.OpenEpochSnapshot(
        epoch=opened.epoch,
        attempt=opened.attempt,
        first_participants=opened.first_participants,
        participants=opened.participants,
        plan_digest=opened.plan_digest,
        leader=opened.leader,
        reports=map(report_to_proto, opened.reports),
        bytes_sent=opened.bytes_sent,
        exact=opened.exact,
        lost=opened.lost,
        repeated_whole=opened.repeated,
    )


def _open_epoch_from_proto(encoded: pb.OpenEpochSnapshot) -> OpenEpochState:
    return OpenEpochState(
        epoch=Epoch(encoded.epoch),
        attempt=encoded.attempt,
        first_participants=nodes_from_proto(encoded.first_participants),
        participants=nodes_from_proto(encoded.participants),
        plan_digest=encoded.plan_digest,
        leader=NodeId(encoded.leader),
        reports=tuple(map(report_from_proto, encoded.reports)),
        bytes_sent=encoded.bytes_sent,
        exact=encoded.exact,
        lost=nodes_from_proto(encoded.lost),
        repeated=encoded.repeated_whole,
    )


def _session_to_proto(session: SessionState[Applied]) -> pb.ClientSession:
    return pb.ClientSession(
        client=session.client,
        floor=session.floor,
        answers=[
            pb.RememberedAnswer(sequence=sequence, accepted=answer.accepted, reason=answer.reason)
            for sequence, answer in session.results
        ],
    )


def _session_from_proto(encoded: pb.ClientSession) -> SessionState[Applied]:
    answers = [(each.sequence, Applied(each.accepted, each.reason)) for each in encoded.answers]
    return SessionState(encoded.client, encoded.floor, tuple(answers))


# --- what a state of our own making never is


def _check_ledger(ledger: LedgerState) -> None:
    roster = [entry.node_id for entry in ledger.roster]
    departed = [node_id for node_id, _ in ledger.departed]
    if roster != sorted(set(roster)) or not _are_different([*roster, *departed]):
        raise WireError("the roster of a snapshot is not sorted, or a node stands twice in it and among the departed")
    num_records = len(ledger.records)
    if [record.epoch for record in ledger.records] != list(range(1, num_records + 1)):
        raise WireError("the ended epochs of a snapshot are not numbered from 1 without a gap")
    opened = ledger.open_epoch
    if opened is not None and (opened.epoch != num_records + 1 or ledger.specification is None):
        raise WireError(f"epoch {opened.epoch} of a snapshot is open after {num_records} have ended, or without a run")
    tokens = [token_id for token_id, _ in ledger.used_tokens]
    if not _are_different(tokens) or "" in tokens or len(tokens) > MAX_USED_TOKENS:
        raise WireError("the used join tokens of a snapshot have no names or the same ones, or are too many")


def _check_sessions(sessions: Sequence[SessionState[Applied]]) -> None:
    clients = [session.client for session in sessions]
    if not _are_different(clients) or "" in clients or len(clients) > MAX_SESSIONS:
        raise WireError("the clients of a snapshot have no names or the same ones, or are too many")
    for session in sessions:
        sequences = [sequence for sequence, _ in session.results]
        if session.floor < 1 or not _are_different(sequences) or len(sequences) > MAX_REMEMBERED:
            raise WireError(f"the answers of client {session.client!r} in a snapshot repeat themselves or are too many")
        if sequences and min(sequences) < session.floor:
            raise WireError(f"client {session.client!r} of a snapshot has an answer below {session.floor}")


def _are_different(values: Iterable[object]) -> bool:
    values = list(values)
    return len(set(values)) == len(values)
