"""Each entry of the log says in a few words what it does, whatever its bytes are."""

from __future__ import annotations

import pytest

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    Envelope,
    OpenEpoch,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.raft.message import Configuration, Entry, EntryKind
from raftgossip.ids import Address, Epoch, Incarnation, LogIndex, NodeId, Term
from raftgossip.peer.log_view import log_rows, summary_of
from raftgossip.wire.ledger_codec import envelope_to_bytes
from tests.support.golden import SPECIFICATION

ONE, TWO, FOUR = NodeId(1), NodeId(2), NodeId(4)
COMMANDS: list[tuple[Command, str]] = [
    (StartRun(SPECIFICATION, b"d" * 32), "StartRun toy"),
    (AddPeer(FOUR, Address("::1", 7004), Incarnation("a")), "AddPeer 4 at [::1]:7004"),
    (RemovePeer(FOUR), "RemovePeer 4"),
    (OpenEpoch(Epoch(7), (ONE, TWO), b"p" * 32, ONE, exact=True), "OpenEpoch 7"),
    (RetryExchange(Epoch(7), 2, (ONE,), b"p" * 32, exact=True), "RetryExchange 7, attempt 2"),
    (ReportEpoch(Epoch(7), 1, TWO, b"d" * 32, 10, ()), "ReportEpoch 7 of node 2"),
    (CloseEpoch(Epoch(7), 1, "closed", "", ONE), "CloseEpoch 7, closed"),
]


def entry(kind: EntryKind, data: bytes) -> Entry:
    return Entry(LogIndex(9), Term(3), kind, data)


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_a_command_is_named_with_what_it_is_about(command: Command, expected: str) -> None:
    data = envelope_to_bytes(Envelope("1/a", 1, 1, command))
    assert summary_of(entry(EntryKind.COMMAND, data)) == expected


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (Configuration((ONE,)), "voters 1"),
        (Configuration((ONE, TWO), (FOUR,)), "voters 1, 2; learners 4"),
        (Configuration((ONE, FOUR), (), (ONE, TWO)), "voters 1, 4; until then also 1, 2"),
    ],
)
def test_a_configuration_says_who_votes(configuration: Configuration, expected: str) -> None:
    assert summary_of(entry(EntryKind.CONFIGURATION, configuration.encode())) == expected


def test_an_empty_entry_is_the_beginning_of_a_term() -> None:
    assert summary_of(entry(EntryKind.NOOP, b"")) == "a leader begins term 3"


@pytest.mark.parametrize("kind", [EntryKind.COMMAND, EntryKind.CONFIGURATION])
@pytest.mark.parametrize("junk", [b"", b"\xff", b"a|b", bytes(range(255))])
def test_bytes_that_are_nothing_are_called_so(kind: EntryKind, junk: bytes) -> None:
    assert summary_of(entry(kind, junk)) == "undecodable"


def test_a_row_has_the_size_and_the_time_of_its_entry() -> None:
    (row,) = log_rows([entry(EntryKind.CONFIGURATION, b"1|")], {LogIndex(9): 77}.__getitem__)
    assert (row.index, row.term, row.kind, row.data_bytes, row.applied_at_ms) == (9, 3, "configuration", 2, 77)
