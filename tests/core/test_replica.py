"""Commands are applied exactly once, however often their proposers repeat them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.core.epoch.command import AddPeer, Command, Envelope, RemovePeer
from raftgossip.core.replica import Replica
from raftgossip.core.sessions import MAX_REMEMBERED, MAX_SESSIONS
from raftgossip.facts import RosterChanged
from raftgossip.ids import Address, Incarnation, NodeId


def add(node: int) -> AddPeer:
    """A peer that joins."""
    return AddPeer(NodeId(node), Address("host", node), Incarnation("a"))


def wrap(sequence: int, command: Command, first_unanswered: int = 1, client: str = "1/a") -> Envelope:
    """The command with its proposer's stamp."""
    return Envelope(client, sequence, first_unanswered, command)


def nodes(replica: Replica) -> list[int]:
    """The roster's ids."""
    return [entry.node_id for entry in replica.ledger.view().roster]


def test_a_command_is_applied_and_its_facts_are_told() -> None:
    replica = Replica()
    result, facts = replica.apply(1, wrap(1, add(1)))
    assert result.accepted and facts == (RosterChanged(NodeId(1), present=True),)


def test_a_repeated_command_gets_its_first_answer_and_has_no_effect() -> None:
    replica = Replica()
    replica.apply(1, wrap(1, add(1)))
    replica.apply(2, wrap(2, RemovePeer(NodeId(1))))
    result, facts = replica.apply(3, wrap(1, add(1)))
    assert result.accepted and facts == () and nodes(replica) == []


def test_a_refusal_is_remembered_too() -> None:
    replica = Replica()
    refused, _ = replica.apply(1, wrap(1, RemovePeer(NodeId(1))))
    replica.apply(2, wrap(2, add(1)))
    assert replica.apply(3, wrap(1, RemovePeer(NodeId(1)))) == (refused, ())
    assert not refused.accepted and nodes(replica) == [1]


def test_commands_of_one_client_may_arrive_out_of_order() -> None:
    replica = Replica()
    replica.apply(1, wrap(2, add(2)))
    replica.apply(2, wrap(1, add(1)))
    assert nodes(replica) == [1, 2]


def test_a_late_command_that_its_client_gave_up_is_not_applied() -> None:
    replica = Replica()
    replica.apply(1, wrap(2, add(2), first_unanswered=2))
    result, facts = replica.apply(2, wrap(1, add(1)))
    assert (result.accepted, facts) == (False, ()) and "too late" in result.reason
    assert nodes(replica) == [2]


def test_answers_that_nobody_waits_for_are_forgotten_and_their_commands_refused() -> None:
    replica = Replica()
    replica.apply(1, wrap(1, add(1)))
    replica.apply(2, wrap(2, add(2), first_unanswered=2))
    assert not replica.apply(3, wrap(1, add(1)))[0].accepted


def test_clients_do_not_share_sequences() -> None:
    replica = Replica()
    replica.apply(1, wrap(1, add(1), client="1/a"))
    replica.apply(2, wrap(1, add(2), client="2/a"))
    assert nodes(replica) == [1, 2]


def test_the_client_that_was_silent_longest_is_forgotten_first() -> None:
    replica = Replica()
    for client in range(MAX_SESSIONS):
        replica.apply(1 + client, wrap(1, RemovePeer(NodeId(1)), client=f"c{client}"))
    replica.apply(5000, wrap(1, RemovePeer(NodeId(1)), client="c0"))
    replica.apply(5001, wrap(1, RemovePeer(NodeId(1)), client="new"))
    replica.check_invariants()
    replica.apply(5002, wrap(1, add(1), client="c0"))
    assert nodes(replica) == []
    replica.apply(5003, wrap(1, add(1), client="c1"))
    assert nodes(replica) == [1]


def test_a_client_that_never_moves_on_costs_bounded_memory() -> None:
    replica = Replica()
    for sequence in range(1, MAX_REMEMBERED + 2):
        replica.apply(sequence, wrap(sequence, RemovePeer(NodeId(1))))
    replica.check_invariants()
    assert "too late" in replica.apply(5000, wrap(1, add(1)))[0].reason


ENVELOPES = st.builds(
    Envelope,
    client=st.sampled_from(["1/a", "2/a"]),
    sequence=st.integers(0, 6),
    first_unanswered=st.integers(0, 4),
    command=st.integers(1, 3).flatmap(lambda node: st.sampled_from([add(node), RemovePeer(NodeId(node))])),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ENVELOPES, max_size=40))
def test_no_stamp_is_ever_applied_twice_and_replicas_agree(envelopes) -> None:
    first, second = Replica(), Replica()
    effective: list[tuple[str, int]] = []
    for index, envelope in enumerate(envelopes, start=1):
        outcome = first.apply(index, envelope)
        assert outcome == second.apply(index, envelope)
        first.check_invariants()
        if outcome[1]:
            effective.append((envelope.client, envelope.sequence))
    assert len(set(effective)) == len(effective)
    assert first.ledger.view() == second.ledger.view()
