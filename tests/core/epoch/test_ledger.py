"""The ledger's rules, one story each."""

from __future__ import annotations

import math

import pytest

from raftgossip.core.epoch.command import RemovePeer
from raftgossip.core.epoch.ledger import MAX_BYTES_SENT, MAX_METRICS, Ledger, LedgerState, average_metrics
from raftgossip.facts import EpochClosed, EpochOpened, RosterChanged, RunStarted
from raftgossip.ids import NodeId


def test_an_empty_ledger_shows_epoch_zero_and_no_run() -> None:
    view = Ledger().view()
    assert (view.specification, view.roster, view.open_epoch, view.last_epoch, view.last_closed) == (
        None, (), None, 0, None,
    )  # fmt: skip
    assert not view.run_finished


def test_a_run_starts_once(make) -> None:
    ledger = Ledger()
    result, facts = ledger.apply(3, make.start(seed=1))
    assert result.accepted and facts == (RunStarted(3),)
    result, facts = ledger.apply(4, make.start(seed=2))
    assert (result.accepted, result.reason, facts) == (False, "the run has started already", ())
    assert ledger.view().specification.seed == 1 and ledger.view().initial_digest == b"initial"


def test_the_roster_is_sorted_and_takes_changes_of_address_and_incarnation(make) -> None:
    ledger = make.ledger(nodes=(3, 1))
    result, facts = ledger.apply(9, make.add(3, life="b"))
    assert result.accepted and facts == (RosterChanged(3, present=True),)
    assert [(entry.node_id, entry.incarnation) for entry in ledger.view().roster] == [(1, "a"), (3, "b")]


def test_adding_the_same_peer_again_changes_nothing(make) -> None:
    ledger = make.ledger(nodes=(1,))
    result, facts = ledger.apply(9, make.add(1))
    assert result.accepted and facts == ()


@pytest.mark.parametrize("node", [0, -1, 2**31])
def test_an_impossible_node_id_is_refused(make, node) -> None:
    assert not make.ledger().apply(9, make.add(node))[0].accepted


def test_a_node_id_belongs_to_its_state_directory_even_after_it_left(make) -> None:
    ledger = make.ledger()
    assert "belongs to another" in ledger.apply(9, make.add(3, owner="thief"))[0].reason
    ledger.apply(10, RemovePeer(NodeId(3)))
    assert "belongs to another" in ledger.apply(11, make.add(3, owner="thief"))[0].reason
    assert ledger.view().departed == (3,)
    assert ledger.apply(12, make.add(3))[0].accepted
    assert ledger.view().departed == ()


def test_removing_tells_and_a_second_time_is_refused(make) -> None:
    ledger = make.ledger()
    assert ledger.apply(9, RemovePeer(NodeId(2)))[1] == (RosterChanged(2, present=False),)
    assert ledger.apply(10, RemovePeer(NodeId(2)))[0].reason == "node 2 is not in the roster"


def test_an_epoch_opens_with_its_participants(make) -> None:
    ledger = make.ledger()
    result, facts = ledger.apply(9, make.open(1, 1, 2, 4))
    assert result.accepted and facts == (EpochOpened(1, 1, (1, 2, 4)),)
    opened = ledger.view().open_epoch
    assert (opened.epoch, opened.attempt, opened.participants, opened.exact) == (1, 1, (1, 2, 4), True)


def test_an_opening_is_refused_unless_it_is_the_next_of_a_running_run(make) -> None:
    assert Ledger().apply(1, make.open(1, 1, 2))[0].reason == "the run has not started"
    ledger = make.ledger()
    assert ledger.apply(9, make.open(2, 1, 2))[0].reason == "epoch 2 is not the next: that is 1"
    assert ledger.apply(9, make.open(0, 1, 2))[0].reason == "epoch 0 is not the next: that is 1"
    ledger.apply(10, make.open(1, 1, 2))
    assert ledger.apply(11, make.open(1, 1, 2))[0].reason == "epoch 1 is open"
    assert ledger.apply(12, make.open(2, 1, 2))[0].reason == "epoch 1 is open"


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ((2, 1), "the participants are not sorted or repeat themselves"),
        ((1, 1), "the participants are not sorted or repeat themselves"),
        ((1,), "1 participants are fewer than 2"),
        ((), "0 participants are fewer than 2"),
        ((1, 9), "not in the roster: 9"),
    ],
)
def test_wrong_participants_are_refused(make, nodes, reason) -> None:
    assert make.ledger().apply(9, make.open(1, *nodes))[0].reason == reason


def test_a_finished_run_opens_no_epoch(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2), make.report(1, 1, 1), make.report(1, 1, 2), make.close(1, 1), num_epochs=1)
    assert ledger.view().run_finished
    assert ledger.apply(20, make.open(2, 1, 2))[0].reason == "the run is finished: 1 epochs are closed"


def test_a_failed_epoch_does_not_count_towards_the_run(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2), make.close(1, 1, "failed", "nobody left"), num_epochs=1)
    view = ledger.view()
    assert (view.last_epoch, view.last_closed, view.num_closed, view.run_finished) == (1, None, 0, False)
    assert ledger.apply(20, make.open(2, 1, 2))[0].accepted


def test_reports_are_kept_by_node_and_a_later_one_replaces_the_earlier(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), make.report(1, 1, 3), make.report(1, 1, 1, failed=[2]))
    ledger.apply(20, make.report(1, 1, 1))
    assert ledger.view().open_epoch.reports == (make.report(1, 1, 1), make.report(1, 1, 3))


@pytest.mark.parametrize(
    ("epoch", "attempt", "node", "reason"),
    [
        (2, 1, 1, "attempt 1 of epoch 2 is not open"),
        (1, 2, 1, "attempt 2 of epoch 1 is not open"),
        (1, 1, 4, "node 4 is not a participant of attempt 1"),
    ],
)
def test_a_report_counts_only_for_the_open_attempt_and_its_participants(make, epoch, attempt, node, reason) -> None:
    ledger = make.ledger(make.open(1, 1, 2))
    assert ledger.apply(20, make.report(epoch, attempt, node))[0].reason == reason


def test_malformed_reports_are_refused(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2))
    assert "num_samples" in ledger.apply(20, make.report(1, 1, 1, samples=-1))[0].reason
    crowd = tuple((f"m{i:03}", 0.0) for i in range(MAX_METRICS + 1))
    assert "metrics are more than" in ledger.apply(21, make.report(1, 1, 1, metrics=crowd))[0].reason


def test_a_retry_clears_reports_and_keeps_their_bytes(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), make.report(1, 1, 1, sent=5), make.report(1, 1, 2, failed=[3], sent=7))
    result, facts = ledger.apply(20, make.retry(1, 2, 1, 2))
    assert result.accepted and facts == (EpochOpened(1, 2, (1, 2)),)
    opened = ledger.view().open_epoch
    assert (opened.attempt, opened.reports, opened.bytes_sent) == (2, (), 12)
    assert (opened.first_participants, opened.participants, opened.repeated) == ((1, 2, 3), (1, 2), False)


def test_a_retry_with_everybody_is_marked_as_a_repetition(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), make.retry(1, 2, 1, 2, 3))
    assert ledger.view().open_epoch.repeated


@pytest.mark.parametrize(
    ("epoch", "attempt", "nodes", "reason"),
    [
        (2, 2, (1, 2), "epoch 2 is not open"),
        (1, 1, (1, 2), "attempt 1 is not the next: that is 2"),
        (1, 3, (1, 2), "attempt 3 is not the next: that is 2"),
        (1, 2, (1, 4), "not participants of attempt 1: 4"),
        (1, 2, (1,), "1 participants are fewer than 2"),
        (1, 2, (2, 1), "the participants are not sorted or repeat themselves"),
    ],
)
def test_wrong_retries_are_refused(make, epoch, attempt, nodes, reason) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3))
    assert ledger.apply(20, make.retry(epoch, attempt, *nodes))[0].reason == reason


def test_who_was_dropped_does_not_come_back_in_a_later_attempt(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), make.retry(1, 2, 1, 2))
    assert ledger.apply(20, make.retry(1, 3, 1, 2, 3))[0].reason == "not participants of attempt 2: 3"


def test_a_participant_that_restarts_is_lost_and_can_neither_report_nor_retry(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), make.report(1, 1, 2), make.add(2, life="b"), make.add(3, life="b"))
    assert ledger.view().open_epoch.lost == (2, 3)
    assert ledger.apply(20, make.report(1, 1, 3))[0].reason == "node 3 restarted or left since epoch 1 opened"
    assert "hold no trained vector: 3" in ledger.apply(21, make.retry(1, 2, 1, 3))[0].reason
    assert [report.node_id for report in ledger.view().open_epoch.reports] == [2]


def test_a_new_address_or_a_stranger_s_restart_loses_nobody(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2), make.add(3, life="b"))
    assert ledger.view().open_epoch.lost == ()


def test_a_participant_that_leaves_is_lost_even_if_it_comes_back(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), RemovePeer(NodeId(2)), make.add(2))
    assert ledger.view().open_epoch.lost == (2,)


def test_an_exact_epoch_closes_only_when_every_participant_completed(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3), make.report(1, 1, 1), make.report(1, 1, 2, failed=[3], digest=b"m"))
    assert ledger.apply(20, make.close(1, 1))[0].reason == "the exchange is not complete at: 2, 3"
    ledger.apply(21, make.report(1, 1, 2))
    ledger.apply(22, make.report(1, 1, 3))
    result, facts = ledger.apply(23, make.close(1, 1))
    assert result.accepted and facts == (EpochClosed(1, 1, "closed", (1, 2, 3), b"model"),)


def test_an_approximate_epoch_closes_with_those_who_have_a_model(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2, 3, 4, exact=False), make.report(1, 1, 2, failed=[3], digest=b"two"))
    assert ledger.apply(20, make.close(1, 1))[0].reason == "1 contributors are fewer than 2"
    ledger.apply(21, make.report(1, 1, 3, digest=b"three"))
    ledger.apply(22, make.report(1, 1, 4, error="training failed"))
    _, facts = ledger.apply(23, make.close(1, 1))
    assert facts == (EpochClosed(1, 1, "closed", (2, 3), b"two"),)
    assert ledger.view().last_closed.digests == ((2, b"two"), (3, b"three"))


def test_an_epoch_whose_model_nobody_can_hold_any_more_does_not_close(make) -> None:
    reports = (make.report(1, 1, 1), make.report(1, 1, 2))
    ledger = make.ledger(make.open(1, 1, 2), *reports, make.add(1, life="b"), make.add(2, life="b"))
    assert "nobody is known to hold the model" in ledger.apply(20, make.close(1, 1))[0].reason


def test_an_epoch_closes_although_one_contributor_restarted_after_its_report(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2), make.report(1, 1, 1), make.report(1, 1, 2), make.add(2, life="b"))
    assert ledger.apply(20, make.close(1, 1))[0].accepted


@pytest.mark.parametrize(("epoch", "attempt", "outcome"), [(2, 1, "failed"), (1, 2, "failed"), (1, 1, "perhaps")])
def test_wrong_closings_are_refused(make, epoch, attempt, outcome) -> None:
    ledger = make.ledger(make.open(1, 1, 2))
    assert not ledger.apply(20, make.close(epoch, attempt, outcome))[0].accepted
    assert ledger.view().open_epoch is not None


def test_the_record_tells_the_whole_epoch(make) -> None:
    ledger = make.ledger(
        make.open(1, 1, 2, 3),
        make.report(1, 1, 1, failed=[3], sent=1),
        make.retry(1, 2, 1, 2),
        make.report(1, 2, 1, samples=30, metrics=(("accuracy", 0.9), ("loss", 1.0)), sent=10),
        make.report(1, 2, 2, samples=10, metrics=(("accuracy", 0.5),), sent=20),
        make.close(1, 2),
    )
    record = ledger.view().last_closed
    assert (record.epoch, record.attempt, record.outcome) == (1, 2, "closed")
    assert (record.participants, record.contributors, record.bytes_sent) == ((1, 2, 3), (1, 2), 31)
    assert record.metrics == (("accuracy", pytest.approx(0.8)), ("loss", 1.0))
    assert record.log_index == ledger.view().applied_index


def test_the_record_of_a_failed_epoch_names_no_contributors(make) -> None:
    ledger = make.ledger(make.open(1, 1, 2), make.report(1, 1, 1, sent=4), make.close(1, 1, "failed", "2 died"))
    (record,) = ledger.records(1, 10)
    assert (record.contributors, record.model_digest, record.metrics, record.bytes_sent) == ((), b"", (), 4)
    assert record.reason == "2 died"


def test_records_are_read_in_pages(make) -> None:
    ledger = make.ledger()
    for epoch in range(1, 6):
        ledger.apply(100 + epoch, make.open(epoch, 1, 2))
        ledger.apply(200 + epoch, make.close(epoch, 1, "failed"))
    assert [record.epoch for record in ledger.records(2, 2)] == [2, 3]
    assert [record.epoch for record in ledger.records(0, 9)] == [1, 2, 3, 4, 5]
    assert ledger.records(6, 9) == () and ledger.records(1, 0) == ()


def test_the_view_is_the_same_object_until_something_is_applied(make) -> None:
    ledger = make.ledger()
    before = ledger.view()
    assert ledger.view() is before
    ledger.apply(50, make.open(1, 1, 2))
    assert ledger.view() is not before and before.open_epoch is None


def test_metrics_are_weighted_by_samples_over_those_who_report_the_name(make) -> None:
    reports = (
        make.report(1, 1, 1, samples=1, metrics=(("a", 1.0), ("b", 5.0))),
        make.report(1, 1, 2, samples=3, metrics=(("a", 2.0),)),
    )
    assert average_metrics(reports) == (("a", 1.75), ("b", 5.0))


def test_metrics_of_peers_without_samples_count_alike(make) -> None:
    reports = [make.report(1, 1, node, samples=0, metrics=(("a", float(node)),)) for node in (1, 2)]
    assert average_metrics(reports) == (("a", 1.5),)


def test_metrics_that_are_not_finite_or_overflow_are_left_out(make) -> None:
    reports = [
        make.report(1, 1, 1, samples=2**64, metrics=(("big", 1e308), ("loss", math.nan), ("up", math.inf))),
        make.report(1, 1, 2, samples=2**64, metrics=(("big", 1e308), ("loss", 2.0), ("up", -math.inf))),
    ]
    assert average_metrics(reports) == (("loss", 2.0),)


def test_bytes_that_nobody_can_have_sent_stop_at_what_64_bits_hold(make) -> None:
    ledger = make.ledger(
        make.open(1, 1, 2), make.report(1, 1, 1, sent=MAX_BYTES_SENT), make.report(1, 1, 2, sent=7),
        make.retry(1, 2, 1, 2),
    )  # fmt: skip
    assert ledger.view().open_epoch.bytes_sent == MAX_BYTES_SENT
    for command in (make.report(1, 2, 1, sent=7), make.report(1, 2, 2), make.close(1, 2)):
        ledger.apply(20, command)
    assert ledger.view().last_closed.bytes_sent == MAX_BYTES_SENT


def test_an_empty_ledger_s_state_is_the_empty_state() -> None:
    assert Ledger().state() == LedgerState()


def test_a_ledger_goes_on_from_a_state(make) -> None:
    commands = [make.open(1, 1, 2), make.report(1, 1, 1), make.report(1, 1, 2), make.close(1, 1), make.open(2, 1, 2)]
    ledger = make.ledger(*commands, nodes=(2, 1))
    again = Ledger(ledger.state())
    assert (again.view(), again.records(1, 9)) == (ledger.view(), ledger.records(1, 9))
    assert again.view().last_closed.epoch == again.view().num_closed == 1
    assert again.apply(30, make.close(2, 1)) == ledger.apply(30, make.close(2, 1))
