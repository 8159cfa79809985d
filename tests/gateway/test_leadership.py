"""Who is said to lead, by the reports of several gateways."""

from __future__ import annotations

import pytest

from gateway.leadership import MAX_TERM, MAX_TERM_JUMP, Leadership, Report
from raftgossip.errors import CommandRefused
from raftgossip.ids import NodeId

ONE, TWO = NodeId(1), NodeId(2)


def led(node_id: NodeId, term: int, gateway_id: str = "b") -> Leadership:
    """A gateway that was told so, and knows of no other."""
    leadership = Leadership(gateway_id)
    leadership.report(node_id, term, 0)
    leadership.settle([])
    return leadership


def test_the_own_report_outlives_an_equal_one_of_another_gateway() -> None:
    leadership = led(ONE, 3)

    leadership.settle([Report(ONE, 3, "a", 1)])
    leadership.settle([])  # the other gateway has lost its memory

    assert leadership.current == Report(ONE, 3, "b", 0)


def test_the_own_report_is_given_up_for_one_of_a_later_term() -> None:
    leadership = led(ONE, 3)

    leadership.settle([Report(TWO, 4, "c", 1)])
    leadership.settle([])

    assert leadership.current is None


@pytest.mark.parametrize(("known", "latest"), [(0, MAX_TERM), (7, 7 + MAX_TERM_JUMP), (MAX_TERM - 1, MAX_TERM)])
def test_no_report_of_an_absurd_term_is_believed(known: int, latest: int) -> None:
    leadership = led(ONE, known)

    with pytest.raises(CommandRefused, match=f"beyond term {latest} "):
        leadership.report(TWO, latest + 1, 1)
    assert leadership.current == Report(ONE, known, "b", 0)

    leadership.report(TWO, latest, 1)


def test_a_report_that_is_not_repeated_counts_no_longer() -> None:
    leadership = led(ONE, 1_000)

    assert leadership.due_ms(50) == [50]
    assert not leadership.lapse(-1)
    assert leadership.lapse(0)
    leadership.settle([])

    assert leadership.current is None
    leadership.report(TWO, 3, 60)  # the old one is no bound any more


def test_a_client_that_knows_no_terms_reports_once() -> None:
    leadership = led(ONE, 0)

    assert leadership.due_ms(50) == []
    assert not leadership.lapse(1_000_000)
