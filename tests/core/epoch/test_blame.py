"""Who is dropped from a failed exchange, for reports that contradict each other."""

from __future__ import annotations

from raftgossip.core.epoch.blame import accused, silent_suspects, worst_connected


def opened_with(make, *reports):
    """The state of an epoch of five in which these reports came."""
    return make.ledger(make.open(1, 1, 2, 3, 4, 5), *reports).view().open_epoch


def test_of_two_that_accuse_each_other_the_one_with_more_accusers_goes(make) -> None:
    reports = (make.report(1, 1, 1, refused=[2]), make.report(1, 1, 2, refused=[1]), make.report(1, 1, 3, refused=[1]))
    assert accused(opened_with(make, *reports), excused=()) == {1}


def test_of_two_that_accuse_each_other_alone_the_larger_id_goes(make) -> None:
    opened = opened_with(make, make.report(1, 1, 1, refused=[2]), make.report(1, 1, 2, refused=[1]))
    assert accused(opened, excused=()) == {2}


def test_independent_accusations_all_count(make) -> None:
    opened = opened_with(make, make.report(1, 1, 1, refused=[2]), make.report(1, 1, 3, refused=[4]))
    assert accused(opened, excused=()) == {2, 4}


def test_the_word_of_who_is_out_already_accuses_nobody(make) -> None:
    opened = opened_with(make, make.report(1, 1, 1, refused=[2], error="no disk"))
    assert accused(opened, excused=(1,)) == frozenset()


def test_strangers_and_oneself_cannot_be_accused(make) -> None:
    opened = opened_with(make, make.report(1, 1, 1, refused=[1, 9]))
    assert accused(opened, excused=()) == frozenset()


def test_suspects_are_named_silent_and_not_cleared(make) -> None:
    reports = (make.report(1, 1, 1, failed=[2, 3, 4]), make.report(1, 1, 2, failed=[3]))
    assert silent_suspects(opened_with(make, *reports), cleared=(4,)) == {3: (1, 2)}


def test_an_edge_that_both_ends_report_counts_once(make) -> None:
    reports = (
        make.report(1, 1, 1, failed=[2]),
        make.report(1, 1, 2, failed=[1]),
        make.report(1, 1, 4, failed=[3]),
        make.report(1, 1, 5, failed=[3]),
    )
    assert worst_connected(opened_with(make, *reports)) == 3


def test_without_a_failed_edge_nobody_is_badly_connected(make) -> None:
    assert worst_connected(opened_with(make, make.report(1, 1, 1, failed=[9]))) is None
