"""When the leader opens, retries, closes and gives up epochs: one story a rule.

A world starts with epoch 1 open (`lead_world`); its transcript says what the coordinator proposed, and it is ticked
only when it asked for it, so each story also shows that nobody needs to poll.
"""

from __future__ import annotations

from raftgossip.core.epoch.command import RemovePeer
from raftgossip.core.epoch.config import EpochConfig
from raftgossip.core.epoch.coordinator import LeadershipChanged, LedgerChanged
from raftgossip.facts import PeerResponsive
from raftgossip.ids import NodeId


def test_the_main_story_open_die_retry_close(lead_world, make) -> None:
    world = lead_world()
    assert world.take() == ["open 1: 1 2 3 4"]
    # Node 3 is killed in the exchange; its neighbours see the connection break and say so.
    world.apply(make.report(1, 1, 1, failed=[3]), make.report(1, 1, 4, failed=[3]), make.report(1, 1, 2, failed=[1]))
    world.wait(400)
    assert world.take() == []
    world.die(3)
    assert world.take() == ["retry 1.2: 1 2 4"]
    world.apply(*(make.report(1, 2, node) for node in (1, 2, 4)))
    assert world.take() == ["closed 1.2", "open 2: 1 2 4"]
    # It comes back, and takes part in the next epoch, not in the open one.
    world.apply(make.add(3, life="b"))
    world.tell(PeerResponsive(NodeId(3)))
    assert world.take() == []
    world.apply(*(make.report(2, 1, node) for node in (1, 2, 4)))
    assert world.take() == ["closed 2.1", "open 3: 1 2 3 4"]


def test_nothing_is_proposed_by_a_node_that_does_not_lead(new_world) -> None:
    world = new_world((1, 2), EpochConfig(), exact=True)
    world.configure((1, 2))
    world.tell(LedgerChanged(world.ledger.view()))
    world.tell(PeerResponsive(NodeId(2)))
    world.wait(60_000)
    assert world.take() == [] and world.coordinator.deadline_ms() is None


def test_an_epoch_waits_for_the_minimum_of_participants(new_world) -> None:
    world = new_world((1, 2, 3), EpochConfig(), exact=True, min_participants=3)
    world.lead(responsive=[2])
    world.wait(60_000)
    assert world.take() == []
    world.tell(PeerResponsive(NodeId(3)))
    world.wait(500)
    assert world.take() == ["open 1: 1 2 3"]


def test_a_new_leader_waits_for_everybody_before_it_opens(new_world) -> None:
    world = new_world((1, 2, 3), EpochConfig(), exact=True)
    world.lead(responsive=[2])
    world.wait(1_000)
    world.tell(PeerResponsive(NodeId(3)))
    world.wait(499)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["open 1: 1 2 3"]


def test_a_new_leader_s_patience_with_the_silent_ends_with_the_grace(new_world) -> None:
    world = new_world((1, 2, 3), EpochConfig(), exact=True)
    world.lead(responsive=[2])
    world.wait(1_499)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["open 1: 1 2"]


def test_a_restarted_peer_s_announcement_ends_the_wait_for_it(new_world, make) -> None:
    world = new_world((1, 2), EpochConfig(), exact=True)
    world.lead(responsive=[2])
    world.apply(make.add(1, life="b"))
    world.wait(100)
    assert world.take() == []
    world.apply(make.add(2, life="b"))
    assert world.take() == ["open 1: 1 2"]


def test_a_peer_that_came_back_gets_time_to_announce_its_restart(lead_world, make) -> None:
    world = lead_world((1, 2, 3), min_participants=3)
    world.die(3)
    assert world.take() == ["open 1: 1 2 3", "failed 1.1: 2 of at least 3 participants are left (without 3)"]
    world.tell(PeerResponsive(NodeId(3)))
    world.wait(100)
    world.apply(make.add(3, life="b"))
    assert world.take() == ["open 2: 1 2 3"]


def test_a_peer_outside_the_raft_configuration_is_not_planned(new_world) -> None:
    world = new_world((1, 2, 3), EpochConfig(max_voters=2), exact=True)
    world.lead(responsive=[2, 3])
    world.configure((1, 2))
    world.commits = False
    world.wait(500)
    assert world.take() == ["configure 1,2|3", "open 1: 1 2"]


def test_learners_take_part(new_world) -> None:
    world = new_world((1, 2, 3), EpochConfig(max_voters=2), exact=True)
    world.lead(responsive=[2, 3])
    world.configure((1, 2), learners=(3,))
    world.wait(500)
    assert world.take() == ["open 1: 1 2 3"]


def test_epochs_open_no_faster_than_the_run_allows(lead_world, make) -> None:
    world = lead_world((1, 2), min_epoch_ms=3_000)
    world.wait(1_000)
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2))
    world.wait(1_999)
    assert world.take() == ["open 1: 1 2", "closed 1.1"]
    world.wait(1)
    assert world.take() == ["open 2: 1 2"]


def test_a_finished_run_opens_nothing_more(lead_world, make) -> None:
    world = lead_world((1, 2), num_epochs=1)
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2))
    world.wait(60_000)
    assert world.take() == ["open 1: 1 2", "closed 1.1"]


def test_a_participant_that_restarted_is_dropped_at_once(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.add(3, life="b"))
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 2 4"]


def test_a_participant_that_left_the_run_is_dropped(lead_world) -> None:
    world = lead_world()
    world.take()
    world.apply(RemovePeer(NodeId(3)))
    assert world.take()[-1] == "retry 1.2: 1 2 4"


def test_a_death_after_its_complete_report_does_not_stop_the_epoch(lead_world, make) -> None:
    world = lead_world((1, 2, 3))
    world.apply(make.report(1, 1, 3))
    world.die(3)
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2))
    assert world.take()[:2] == ["open 1: 1 2 3", "closed 1.1"]


def test_a_death_after_its_complete_report_is_dropped_if_the_exchange_failed_elsewhere(lead_world, make) -> None:
    world = lead_world((1, 2, 3))
    world.apply(make.report(1, 1, 3))
    world.die(3)
    world.apply(make.report(1, 1, 1, failed=[3]))
    assert world.take() == ["open 1: 1 2 3", "retry 1.2: 1 2"]


def test_an_epoch_fails_if_all_contributors_restarted_before_it_closed(lead_world, make) -> None:
    world = lead_world((1, 2))
    world.take()
    world.commits = False  # the leader's proposal to close is lost
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2), make.add(1, life="b"), make.add(2, life="b"))
    world.commits = True
    world.wait(2_000)
    assert world.take()[:2] == ["closed 1.1", "failed 1.1: every contributor restarted or left before the epoch closed"]


def test_who_reports_an_error_is_dropped(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.report(1, 1, 2, error="training failed"))
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 3 4"]


def test_who_reports_neither_a_model_nor_a_failed_neighbour_is_dropped(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.report(1, 1, 2, digest=b""))
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 3 4"]


def test_whose_data_a_neighbour_refused_is_dropped(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.report(1, 1, 2, refused=[4]))
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 2 3"]


def test_broken_edges_between_the_living_are_first_repeated_and_then_cost_the_worst_connected(lead_world, make) -> None:
    world = lead_world()
    for attempt in (1, 2):
        world.apply(make.report(1, attempt, 4, failed=[2]), make.report(1, attempt, 2, failed=[1, 4]))
        world.apply(make.report(1, attempt, 1, failed=[2]))
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 2 3 4", "retry 1.3: 1 3 4"]


def test_of_two_that_cannot_reach_each_other_the_larger_id_goes(lead_world, make) -> None:
    world = lead_world((1, 2, 3))
    for attempt in (1, 2):
        world.apply(make.report(1, attempt, 2, failed=[3]), make.report(1, attempt, 3, failed=[2]))
    assert world.take() == ["open 1: 1 2 3", "retry 1.2: 1 2 3", "retry 1.3: 1 2"]


def test_a_silent_neighbour_may_be_dying_and_is_waited_for(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.report(1, 1, 1, failed=[2]))
    world.wait(1_499)
    assert world.take() == ["open 1: 1 2 3 4"]
    world.wait(1)
    assert world.take() == ["retry 1.2: 1 2 3 4"]


def test_a_silent_neighbour_that_dies_ends_the_wait(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.report(1, 1, 1, failed=[2]))
    world.die(2)
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 3 4"]


def test_who_overruns_its_training_is_dropped_once_its_neighbours_complain(lead_world, make) -> None:
    world = lead_world(exchange_deadline_ms=20_000)
    world.wait(10_000)
    world.apply(make.report(1, 1, 1, failed=[4]), make.report(1, 1, 2, failed=[1]), make.report(1, 1, 3, failed=[4]))
    world.wait(1_500)
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 2 3"]


def test_who_has_not_reported_by_the_deadline_is_dropped(lead_world, make) -> None:
    world = lead_world()
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2))
    world.wait(13_999)
    assert world.take() == ["open 1: 1 2 3 4"]
    world.wait(1)
    assert world.take() == ["retry 1.2: 1 2"]


def test_later_attempts_have_only_the_time_of_an_exchange(lead_world, make) -> None:
    world = lead_world((1, 2, 3))
    world.wait(5_000)
    world.apply(*(make.report(1, 1, node, failed=[1 + node % 3]) for node in (1, 2, 3)))
    world.take()
    world.apply(make.report(1, 2, 1), make.report(1, 2, 2))
    world.wait(3_999)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["retry 1.3: 1 2"]


def test_an_early_death_does_not_shorten_the_survivors_training(lead_world, make) -> None:
    world = lead_world()
    world.die(4)
    world.wait(9_000)
    assert world.take() == ["open 1: 1 2 3 4", "retry 1.2: 1 2 3"]
    world.apply(*(make.report(1, 2, node) for node in (1, 2, 3)))
    assert world.take()[0] == "closed 1.2"


def test_an_epoch_without_any_report_fails_at_the_deadline(lead_world) -> None:
    world = lead_world((1, 2))
    world.take()
    world.wait(14_000)
    assert world.take()[0] == "failed 1.1: 0 of at least 2 participants are left (without 1, 2)"


def test_an_epoch_with_too_few_survivors_fails(lead_world) -> None:
    world = lead_world((1, 2, 3), min_participants=3)
    world.die(2)
    assert world.take() == ["open 1: 1 2 3", "failed 1.1: 2 of at least 3 participants are left (without 2)"]


def test_an_epoch_fails_after_its_last_attempt(lead_world, make) -> None:
    world = lead_world((1, 2), max_attempts=2)
    world.take()
    for attempt in (1, 2):
        world.apply(make.report(1, attempt, 1, failed=[2]), make.report(1, attempt, 2, failed=[1]))
    assert world.take() == [
        "retry 1.2: 1 2",
        "failed 1.2: 1 of at least 2 participants are left (without 2)",
        "open 2: 1 2",
    ]


def test_after_failures_in_a_row_the_next_epoch_waits_longer_and_longer(lead_world, make) -> None:
    world = lead_world((1, 2), max_attempts=1)
    pauses = []
    for epoch in range(1, 9):
        world.apply(make.report(epoch, 1, 1, error="no disk"))
        start_ms = world.now_ms
        while world.ledger.view().open_epoch is None:
            world.wait(world.coordinator.deadline_ms() - world.now_ms)
        pauses.append(world.now_ms - start_ms)
    assert pauses == [0, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]


def test_a_closed_epoch_ends_the_backing_off(lead_world, make) -> None:
    world = lead_world((1, 2))
    world.apply(make.report(1, 1, 1, error="no disk"), make.report(2, 1, 1, error="no disk"))
    world.wait(500)
    world.apply(make.report(3, 1, 1), make.report(3, 1, 2), make.report(4, 1, 1, error="no disk"))
    assert world.take()[-1] == "open 5: 1 2"


def test_an_approximate_epoch_closes_with_whoever_is_left(lead_world, make) -> None:
    world = lead_world(exact=False)
    world.apply(make.report(1, 1, 1, failed=[3], digest=b"a"), make.report(1, 1, 2, error="no disk"))
    world.apply(make.report(1, 1, 4))
    assert world.take() == ["open 1: 1 2 3 4"]
    world.die(3)
    assert world.take() == ["closed 1.1", "open 2: 1 2 4"]
    assert world.ledger.view().last_closed.contributors == (1, 4)


def test_an_approximate_epoch_ends_at_its_deadline(lead_world, make) -> None:
    world = lead_world((1, 2, 3), exact=False)
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2))
    world.wait(13_999)
    assert world.take() == ["open 1: 1 2 3"]
    world.wait(1)
    assert world.take() == ["closed 1.1", "open 2: 1 2 3"]
    world.apply(make.report(2, 1, 1))
    world.wait(14_000)
    assert world.take()[0] == "failed 2.1: only 1 of at least 2 participants reported"


def test_a_proposal_without_effect_is_repeated_only_after_its_time(new_world) -> None:
    world = new_world((1, 2), EpochConfig(), exact=True)
    world.commits = False
    world.lead(responsive=[2])
    world.wait(500)
    world.tell(LedgerChanged(world.ledger.view()))
    world.wait(1_999)
    assert world.take() == ["open 1: 1 2"]
    world.wait(1)
    assert world.take() == ["open 1: 1 2"]


def test_who_stops_leading_forgets_what_it_wanted_to_propose(lead_world, make) -> None:
    world = lead_world((1, 2))
    world.take()
    world.coordinator.handle(LeadershipChanged(False), world.now_ms)
    world.apply(make.report(1, 1, 1), make.report(1, 1, 2))
    world.wait(60_000)
    assert world.take() == [] and world.coordinator.deadline_ms() is None


def test_a_new_leader_finishes_the_open_epoch_and_neither_skips_nor_doubles_one(new_world, make) -> None:
    world = new_world((1, 2, 3, 4), EpochConfig(), exact=True)
    world.apply(make.open(1, 1, 2, 3, 4), make.report(1, 1, 2), make.report(1, 1, 3, failed=[4]))
    world.lead(responsive=[2, 3])
    world.wait(1_499)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["retry 1.2: 1 2 3"]
    world.apply(*(make.report(1, 2, node) for node in (1, 2, 3)))
    assert world.take() == ["closed 1.2", "open 2: 1 2 3"]


def test_a_new_leader_grants_the_time_of_an_exchange_for_reports_that_had_no_leader(new_world, make) -> None:
    world = new_world((1, 2, 3), EpochConfig(), exact=True)
    world.apply(make.open(1, 1, 2, 3), make.report(1, 1, 1), make.report(1, 1, 2))
    world.wait(60_000)
    world.lead(responsive=[2, 3])
    world.wait(3_999)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["retry 1.2: 1 2"]


def test_the_restart_of_everybody_costs_one_failed_epoch(new_world, make) -> None:
    world = new_world((1, 2, 3), EpochConfig(), exact=True)
    world.apply(make.open(1, 1, 2, 3), make.report(1, 1, 1))
    world.lead(responsive=[2, 3])
    for node in (2, 1, 3):
        world.wait(50)
        world.apply(make.add(node, life="b"))
    assert world.take() == ["failed 1.1: 0 of at least 2 participants are left (without 1, 2, 3)", "open 2: 1 2 3"]
