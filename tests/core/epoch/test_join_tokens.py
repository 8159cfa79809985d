"""Who enters a run that requires join tokens, and how often one token lets somebody in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from raftgossip.core.epoch.command import AddPeer, RemovePeer
from raftgossip.core.epoch.ledger import FORGET_TOKENS_S, MAX_USED_TOKENS, Ledger, LedgerState
from raftgossip.ids import Address, Incarnation, NodeId

NO_TOKEN = "this run requires a join token, and node 2 shows none"
USED = "join token 'one' was used before: enter with a new one"


def kept_place(node: int) -> AddPeer:
    """What an operator's `members add` proposes."""
    return AddPeer(NodeId(node), Address(f"node{node}", 7000), Incarnation(""))


def with_token(command: AddPeer, token_id: str, expires_s: int = 900) -> AddPeer:
    return replace(command, token_id=token_id, token_expires_s=expires_s)


@pytest.fixture
def closed(make) -> Ledger:
    """A run that requires tokens, in which only its founder, node 1, is."""
    return make.ledger(nodes=(1,), requires_token=True)


def reasons(ledger: Ledger, *commands) -> list[str]:
    """Why each was refused; empty: it was not."""
    return [ledger.apply(100, command)[0].reason for command in commands]


# --- whether one is needed


def test_the_founder_enters_its_own_run_without_a_token(make) -> None:
    assert reasons(make.ledger(nodes=(), requires_token=True), make.add(1)) == [""]


def test_a_stranger_enters_a_run_that_requires_tokens_only_with_one(closed, make) -> None:
    assert reasons(closed, make.add(2), with_token(make.add(2), "one")) == [NO_TOKEN, ""]
    assert [entry.node_id for entry in closed.view().roster] == [1, 2]


def test_a_run_that_does_not_require_tokens_takes_everybody(make) -> None:
    assert reasons(make.ledger(nodes=(1,)), make.add(2)) == [""]


def test_a_member_comes_back_without_a_token_but_not_after_it_left(closed, make) -> None:
    stays = (with_token(make.add(2), "one"), make.add(2, life="b"))
    assert reasons(closed, *stays, RemovePeer(NodeId(2)), make.add(2, life="c")) == ["", "", "", NO_TOKEN]


def test_a_place_that_an_operator_keeps_is_an_invitation(closed, make) -> None:
    assert reasons(closed, kept_place(2), kept_place(3), make.add(2)) == ["", "", ""]


def test_a_place_that_is_kept_no_longer_is_no_invitation(closed, make) -> None:
    assert reasons(closed, kept_place(2), RemovePeer(NodeId(2)), make.add(2)) == ["", "", NO_TOKEN]


def test_a_place_that_is_kept_before_the_founder_enters_does_not_shut_it_out(make) -> None:
    ledger = make.ledger(nodes=(), requires_token=True)
    assert reasons(ledger, kept_place(2), make.add(1), make.add(3)) == ["", "", NO_TOKEN.replace("2", "3")]


# --- single use


def test_a_token_lets_only_one_in(make) -> None:
    ledger = make.ledger(nodes=(1,))  # also where none is required: one that is shown is consumed
    assert reasons(ledger, with_token(make.add(2), "one"), with_token(make.add(3), "one")) == ["", USED]
    assert ledger.state().used_tokens == (("one", 900),)


def test_a_token_does_not_bring_back_who_was_removed(closed, make) -> None:
    enters = with_token(make.add(2), "one")
    assert reasons(closed, enters, RemovePeer(NodeId(2)), enters) == ["", "", USED]


def test_repeating_an_unanswered_entry_with_its_token_is_harmless(closed, make) -> None:
    assert reasons(closed, with_token(make.add(2), "one"), with_token(make.add(2, life="b"), "one")) == ["", ""]


def test_a_refused_entry_does_not_use_its_token_up(closed, make) -> None:
    stolen = with_token(make.add(1, owner="thief"), "one")
    assert "belongs to another" in reasons(closed, stolen)[0]
    assert reasons(closed, with_token(make.add(2), "one")) == [""]


def test_a_used_token_is_remembered_across_a_snapshot(closed, make) -> None:
    closed.apply(9, with_token(make.add(2), "one"))
    again = Ledger(closed.state())
    assert reasons(again, with_token(make.add(3), "one")) == [USED]


def test_a_used_token_is_forgotten_only_when_it_has_expired_on_every_clock(closed, make) -> None:
    closed.apply(9, with_token(make.add(2), "one", 900))
    closed.apply(10, with_token(make.add(3), "two", 900 + FORGET_TOKENS_S))
    assert closed.state().used_tokens == (("one", 900), ("two", 900 + FORGET_TOKENS_S))
    closed.apply(11, with_token(make.add(4), "three", 901 + FORGET_TOKENS_S))
    assert [token_id for token_id, _ in closed.state().used_tokens] == ["two", "three"]


def test_while_too_many_tokens_may_be_valid_no_other_is_taken(make) -> None:
    used = tuple((f"t{number}", 900) for number in range(MAX_USED_TOKENS))
    ledger = Ledger(LedgerState(used_tokens=used))
    assert "retry later" in reasons(ledger, with_token(make.add(2), "one", 900))[0]
    assert reasons(ledger, with_token(make.add(2), "one", 901 + FORGET_TOKENS_S)) == [""]
