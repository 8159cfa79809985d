"""A replica that goes on from a captured state is the replica that applied everything."""

from __future__ import annotations

import pytest

from raftgossip.core.epoch.command import AddPeer, Command, Envelope, RemovePeer
from raftgossip.core.replica import Replica, ReplicaState
from raftgossip.core.sessions import MAX_SESSIONS
from raftgossip.facts import RosterChanged
from raftgossip.ids import Address, Incarnation, NodeId
from tests.support.replica_histories import Stamped, history

SEEDS = range(20)


def add(node: int) -> AddPeer:
    """A peer that joins."""
    return AddPeer(NodeId(node), Address("host", node), Incarnation("a"))


def wrap(sequence: int, command: Command, first_unanswered: int = 1, client: str = "1/a") -> Envelope:
    """The command with its proposer's stamp."""
    return Envelope(client, sequence, first_unanswered, command)


def applied(commands: list[Stamped]) -> Replica:
    """A new replica to which these were applied."""
    replica = Replica()
    for index, envelope in commands:
        replica.apply(index, envelope)
    return replica


def restored(state: ReplicaState) -> Replica:
    """A replica that had another past and was then given this state."""
    replica = applied(history(seed=999, num_commands=30))
    replica.restore(state)
    return replica


def test_the_histories_reach_every_part_of_the_state() -> None:
    states = [applied(history(seed)[:length]).capture() for seed in SEEDS for length in range(5, 151, 5)]
    ledgers = [state.ledger for state in states]
    opened = [ledger.open_epoch for ledger in ledgers if ledger.open_epoch is not None]
    records = [record for ledger in ledgers for record in ledger.records]

    assert any(len(ledger.departed) > 1 for ledger in ledgers)
    assert any(epoch.reports and epoch.lost and epoch.bytes_sent for epoch in opened)
    assert {epoch.exact for epoch in opened} == {epoch.repeated for epoch in opened} == {False, True}
    assert {record.outcome for record in records} == {"closed", "failed"}
    assert {len({digest for _, digest in record.digests}) for record in records} >= {0, 1, 2}
    assert any(session.floor > 1 and len(session.results) > 1 for state in states for session in state.sessions)
    assert len({state.sessions[0].client for state in states}) > 1


@pytest.mark.parametrize("seed", SEEDS)
def test_a_snapshot_and_the_commands_behind_it_are_worth_all_the_commands(seed: int) -> None:
    commands = history(seed)
    whole = Replica()
    outcomes = [whole.apply(index, envelope) for index, envelope in commands]
    for cut in range(seed % 7, len(commands) + 1, 7):
        replica = restored(applied(commands[:cut]).capture())
        replica.check_invariants()
        assert [replica.apply(index, envelope) for index, envelope in commands[cut:]] == outcomes[cut:]
        assert replica.capture() == whole.capture()
        assert replica.ledger.view() == whole.ledger.view()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_captured_state_stays_as_it_was_while_commands_go_on(seed: int) -> None:
    commands = history(seed)
    replica = Replica()
    captured = []
    for position, (index, envelope) in enumerate(commands):
        if position % 10 == seed % 10:
            captured.append((position, replica.capture()))
        replica.apply(index, envelope)
    assert captured
    for position, state in captured:
        assert state == applied(commands[:position]).capture()


def test_a_state_can_be_restored_twice_and_the_replicas_do_not_share_it() -> None:
    state = applied([(1, wrap(1, add(1)))]).capture()
    first, second = restored(state), restored(state)
    first.apply(2, wrap(2, RemovePeer(NodeId(1))))
    assert second.capture() == state != first.capture()


def test_a_command_that_is_repeated_across_a_snapshot_is_applied_once() -> None:
    replica = restored(applied([(1, wrap(1, add(1))), (2, wrap(2, RemovePeer(NodeId(1))))]).capture())
    result, facts = replica.apply(3, wrap(1, add(1)))
    assert result.accepted and facts == () and replica.ledger.view().roster == ()


def test_what_a_client_gave_up_before_a_snapshot_is_too_late_behind_it() -> None:
    replica = restored(applied([(1, wrap(2, add(2), first_unanswered=2))]).capture())
    result, facts = replica.apply(2, wrap(1, add(1)))
    assert (result.accepted, facts) == (False, ()) and "is below 2: too late" in result.reason


def test_a_client_that_is_new_behind_a_snapshot_is_served() -> None:
    replica = restored(applied([(1, wrap(1, add(1)))]).capture())
    assert replica.apply(2, wrap(1, add(2), client="2/a"))[1] == (RosterChanged(NodeId(2), present=True),)


def test_who_is_forgotten_next_is_remembered_across_a_snapshot() -> None:
    remove = RemovePeer(NodeId(1))
    full = applied([(index, wrap(1, remove, client=f"c{index}")) for index in range(1, MAX_SESSIONS + 1)])
    full.apply(5000, wrap(1, remove, client="c1"))
    replica = restored(full.capture())
    replica.apply(5001, wrap(1, remove, client="new"))
    assert replica.apply(5002, wrap(1, add(1), client="c1"))[1] == ()
    assert replica.apply(5003, wrap(1, add(1), client="c2"))[1] == (RosterChanged(NodeId(1), present=True),)


def test_the_owner_who_departed_first_is_forgotten_first_across_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raftgossip.core.epoch.ledger.MAX_DEPARTED", 2)
    commands = [add(3), RemovePeer(NodeId(3)), add(1), RemovePeer(NodeId(1))]
    replica = restored(applied([(at, wrap(at, command)) for at, command in enumerate(commands, 1)]).capture())
    for at, command in enumerate([add(2), RemovePeer(NodeId(2))], 5):
        replica.apply(at, wrap(at, command))
    assert replica.ledger.view().departed == (1, 2)
