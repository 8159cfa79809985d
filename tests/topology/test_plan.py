"""Steps and plans as values: lookups, shares, digest, and what they refuse."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from raftgossip.topology.plan import EpochPlan, Step, Transfer
from tests.topology.matrices import nodes

ONE, TWO, THREE, FOUR = nodes(1, 2, 3, 4)
STEP = Step((Transfer(ONE, TWO, 0, 10, 0.5), Transfer(ONE, THREE, 0, 10, 0.25), Transfer(TWO, ONE, 0, 10, 0.5)))
PLAN = EpochPlan((ONE, TWO, THREE, FOUR), 10, (STEP,), exact=False)


def test_a_step_tells_each_node_what_it_sends_and_receives() -> None:
    assert [transfer.dst for transfer in STEP.outgoing(ONE)] == [TWO, THREE]
    assert [transfer.src for transfer in STEP.incoming(ONE)] == [TWO]
    assert STEP.outgoing(THREE) == STEP.incoming(FOUR) == ()


def test_a_neighbour_is_who_sends_or_receives_and_stands_once() -> None:
    assert STEP.neighbours(ONE) == (TWO, THREE)
    assert STEP.neighbours(THREE) == (ONE,)
    assert STEP.neighbours(FOUR) == ()


def test_a_node_keeps_what_it_does_not_send() -> None:
    assert [STEP.self_share(node) for node in PLAN.participants] == [0.25, 0.5, 1.0, 1.0]


def test_what_a_node_keeps_is_rounded_once_however_many_shares_it_sends() -> None:
    """Nine times 0.1 is 0.9 when summed exactly, and 0.8999999999999999 when rounded after each addition."""
    step = Step(tuple(Transfer(ONE, node, 0, 1, 0.1) for node in nodes(*range(2, 11))))
    assert step.self_share(ONE) == 1.0 - 0.9


@pytest.mark.parametrize(
    ("src", "dst", "start", "stop", "share", "text"),
    [
        (1, 1, 0, 10, 0.5, "itself"),
        (1, 2, 5, 5, 0.5, "range"),
        (1, 2, -1, 5, 0.5, "range"),
        (1, 2, 0, 10, 0.0, "share"),
        (1, 2, 0, 10, 1.5, "share"),
        (1, 2, 0, 10, float("nan"), "share"),
    ],
)
def test_a_transfer_refuses_what_no_exchange_could_do(
    src: int, dst: int, start: int, stop: int, share: float, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        Transfer(*nodes(src, dst), start, stop, share)


def test_a_step_refuses_two_transfers_in_one_direction() -> None:
    with pytest.raises(ValueError, match="each pair once"):
        Step((Transfer(ONE, TWO, 0, 5, 0.1), Transfer(ONE, TWO, 5, 10, 0.1)))


def test_a_step_refuses_transfers_out_of_order() -> None:
    with pytest.raises(ValueError, match="sorted"):
        Step(STEP.transfers[::-1])


def test_a_step_refuses_a_node_that_sends_more_than_it_holds() -> None:
    with pytest.raises(ValueError, match="node 1 sends more"):
        Step((Transfer(ONE, TWO, 0, 10, 0.75), Transfer(ONE, THREE, 0, 10, 0.5)))


@pytest.mark.parametrize("participants", [(), (2, 1, 3, 4), (1, 1, 2, 3, 4)])
def test_a_plan_refuses_participants_that_are_not_sorted_and_unique(participants: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="participant"):
        EpochPlan(nodes(*participants), 10, (), exact=True)


def test_a_plan_refuses_strangers_and_elements_beyond_the_vector() -> None:
    with pytest.raises(ValueError, match="not between participants"):
        replace(PLAN, participants=nodes(1, 2, 4))
    with pytest.raises(ValueError, match="beyond"):
        replace(PLAN, num_elements=9)
    with pytest.raises(ValueError, match="0 elements"):
        EpochPlan((ONE,), 0, (), exact=True)


def with_transfer(**changes: float) -> EpochPlan:
    last = replace(STEP.transfers[-1], **changes)
    return replace(PLAN, steps=(Step((*STEP.transfers[:-1], last)),))


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, participants=nodes(1, 2, 3, 5)),
        replace(PLAN, num_elements=11),
        replace(PLAN, steps=()),
        replace(PLAN, steps=(STEP, STEP)),
        replace(PLAN, steps=(STEP, Step(()))),
        with_transfer(start=1),
        with_transfer(stop=9),
        with_transfer(share=0.5000000000000001),
        with_transfer(dst=THREE),
    ],
)
def test_the_digest_differs_when_anything_of_the_exchange_differs(other: EpochPlan) -> None:
    assert other.digest != PLAN.digest


def test_the_digest_is_the_hash_of_the_written_form() -> None:
    written = "raftgossip plan 1 10\n1 2\nstep 1\n1 2 0 10 0x1.0000000000000p-1"
    plan = EpochPlan((ONE, TWO), 10, (Step(STEP.transfers[:1]),), exact=False)
    assert plan.digest == hashlib.sha256(written.encode("ascii")).digest()
