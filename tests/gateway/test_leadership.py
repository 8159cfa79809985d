"""Who is said to lead, by the reports of several gateways."""

from __future__ import annotations

from gateway.leadership import Leadership, Report
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
