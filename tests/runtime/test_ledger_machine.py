"""The ledger behind the log: commands in as bytes, snapshots out as bytes, in any thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from raftgossip.core.epoch.ledger import Applied
from raftgossip.core.raft.state_machine import StateMachine
from raftgossip.facts import EpochOpened, Fact, RosterChanged, RunStarted
from raftgossip.ids import LogIndex
from raftgossip.runtime.ledger_machine import LedgerMachine
from raftgossip.wire.ledger_codec import envelope_to_bytes
from raftgossip.wire.snapshot_codec import snapshot_to_bytes
from tests.support.replica_histories import history

SEEDS = range(20)
Entry = tuple[LogIndex, bytes]


def entries(seed: int) -> list[Entry]:
    """Commands as they stand in the log; one of them is junk."""
    made = [(LogIndex(index), envelope_to_bytes(envelope)) for index, envelope in history(seed)]
    made[seed] = (made[seed][0], b"junk")
    return made


def applied(commands: list[Entry]) -> LedgerMachine:
    """A new machine to which these were applied."""
    machine = LedgerMachine()
    for index, data in commands:
        machine.apply(index, data)
    return machine


def restored(data: bytes) -> LedgerMachine:
    """A machine that had another past and then got this snapshot."""
    machine = applied(entries(19))
    machine.restore(data)()
    return machine


def test_it_is_a_state_machine_of_raft() -> None:
    machine: StateMachine[Applied] = LedgerMachine()
    result, facts = machine.apply(LogIndex(1), b"junk")
    assert not result.accepted and "undecodable command" in result.reason and facts == ()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_snapshot_and_the_entries_behind_it_are_worth_the_whole_log(seed: int) -> None:
    log = entries(seed)
    whole = LedgerMachine()
    outcomes = [whole.apply(index, data) for index, data in log]
    whole.check_invariants()
    for cut in range(seed % 11, len(log) + 1, 11):
        machine = restored(applied(log[:cut]).capture()())
        machine.check_invariants()
        assert [machine.apply(index, data) for index, data in log[cut:]] == outcomes[cut:]
        machine.check_invariants()
        assert machine.replica.capture() == whole.replica.capture()
        assert machine.capture()() == whole.capture()()


def test_what_is_captured_is_encoded_later_as_it_was_while_entries_go_on() -> None:
    log = entries(2)
    machine = LedgerMachine()
    captured = []
    with ThreadPoolExecutor(2) as threads:
        for cut, (index, data) in enumerate(log):
            if cut % 10 == 0:
                captured.append((cut, threads.submit(machine.capture())))
            machine.apply(index, data)
        for cut, encoded in captured:
            assert encoded.result() == snapshot_to_bytes(applied(log[:cut]).replica.capture())


def test_encoding_the_same_moment_twice_gives_the_same_bytes() -> None:
    encode = applied(entries(5)).capture()
    assert encode() == encode()


def test_nothing_changes_before_the_snapshot_is_installed() -> None:
    machine = applied(entries(1))
    before = machine.replica.capture()
    install = machine.restore(applied(entries(2)).capture()())
    assert machine.replica.capture() == before
    install()
    assert machine.replica.capture() == applied(entries(2)).replica.capture()


@pytest.mark.parametrize("data", [b"", b"junk", b"\x08\x7f"])
def test_a_snapshot_that_is_none_is_refused_and_changes_nothing(data: bytes) -> None:
    machine = applied(entries(1))
    before = machine.capture()()
    with pytest.raises(ValueError, match=r"[sS]napshot"):
        machine.restore(data)
    assert machine.capture()() == before


def test_an_installed_snapshot_tells_who_is_there_what_runs_and_which_epoch_is_open() -> None:
    log = entries(4)
    told = set()
    for cut in range(len(log)):
        source = applied(log[:cut])
        view = source.ledger.view()
        opened = view.open_epoch
        expected: list[Fact] = [RosterChanged(entry.node_id, present=True) for entry in view.roster]
        expected += [RunStarted(LogIndex(view.applied_index))] if view.specification else []
        expected += [EpochOpened(opened.epoch, opened.attempt, opened.participants)] if opened else []
        facts = LedgerMachine().restore(source.capture()())()
        assert list(facts) == expected
        told |= {type(fact) for fact in facts}
    assert told == {RosterChanged, RunStarted, EpochOpened}


def test_an_empty_machine_s_snapshot_tells_nothing_and_empties_another() -> None:
    machine = applied(entries(1))
    assert machine.restore(LedgerMachine().capture()())() == ()
    assert machine.ledger.view().roster == () and machine.ledger.view().specification is None


def test_the_replica_stays_the_same_object_when_a_snapshot_is_installed() -> None:
    machine = LedgerMachine()
    replica = machine.replica
    machine.restore(applied(entries(4)).capture()())()
    assert machine.replica is replica and machine.ledger is replica.ledger
    assert [entry.node_id for entry in replica.ledger.view().roster] != []
