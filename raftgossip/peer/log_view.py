"""The log as operators see it: one line for each entry, that says what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import assert_never

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    OpenEpoch,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.raft.message import Configuration, Entry, EntryKind
from raftgossip.errors import WireError
from raftgossip.ids import LogIndex, NodeId
from raftgossip.runtime.service import LogRow
from raftgossip.wire.ledger_codec import envelope_from_bytes


def log_rows(entries: Sequence[Entry], applied_at_ms: Callable[[LogIndex], int]) -> tuple[LogRow, ...]:
    """One row for each entry; `applied_at_ms` gives this node's wall clock, 0 where it is unknown."""
    return tuple(
        LogRow(
            index=entry.index,
            term=entry.term,
            kind=entry.kind.name.lower(),
            data_bytes=len(entry.data),
            applied_at_ms=applied_at_ms(entry.index),
            summary=summary_of(entry),
        )
        for entry in entries
    )


def summary_of(entry: Entry) -> str:
    """What an entry does, in a few words, e.g. `OpenEpoch 7`."""
    match entry.kind:
        case EntryKind.NOOP:
            return f"a leader begins term {entry.term}"
        case EntryKind.CONFIGURATION:
            try:
                return _configuration(Configuration.decode(entry.data))
            except ValueError:
                return "undecodable"
        case EntryKind.COMMAND:
            try:
                return _command(envelope_from_bytes(entry.data).command)
            except WireError:
                return "undecodable"
        case _:
            assert_never(entry.kind)


def _configuration(configuration: Configuration) -> str:
    groups = (
        ("voters", configuration.voters),
        ("learners", configuration.learners),
        ("until then also", configuration.outgoing),
    )
    return "; ".join(f"{name} {_listed(nodes)}" for name, nodes in groups if nodes)


def _command(command: Command) -> str:
    match command:
        case StartRun():
            return f"StartRun {command.specification.task}"
        case AddPeer():
            return f"AddPeer {command.node_id} at {command.address}"
        case RemovePeer():
            return f"RemovePeer {command.node_id}"
        case OpenEpoch():
            return f"OpenEpoch {command.epoch}"
        case RetryExchange():
            return f"RetryExchange {command.epoch}, attempt {command.attempt}"
        case ReportEpoch():
            return f"ReportEpoch {command.epoch} of node {command.node_id}"
        case CloseEpoch():
            return f"CloseEpoch {command.epoch}, {command.outcome}"
        case _:
            assert_never(command)


def _listed(nodes: Sequence[NodeId]) -> str:
    return ", ".join(map(str, nodes))
