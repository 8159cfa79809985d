"""Who the leader lets into the Raft configuration, and when."""

from __future__ import annotations

from raftgossip.core.epoch.command import RemovePeer
from raftgossip.core.epoch.config import EpochConfig
from raftgossip.core.epoch.coordinator import LeadershipChanged, LedgerChanged
from raftgossip.facts import PeerCaughtUp, PeerResponsive, PeerUnresponsive
from raftgossip.ids import LogIndex, NodeId

PATIENT = 100  # a minimum of participants that keeps epochs out of these stories


def leading(new_world, nodes, voters, learners=(), max_voters=5, promote_after_ms=30_000):
    """A world whose leader is told this configuration."""
    config = EpochConfig(max_voters=max_voters, promote_after_ms=promote_after_ms)
    world = new_world(nodes, config, exact=True, min_participants=PATIENT)
    world.configure(voters, learners)
    world.tell(LedgerChanged(world.ledger.view()))
    world.tell(LeadershipChanged(True))
    return world


def catch_up(world, node) -> None:
    """The learner answers and holds the log."""
    world.tell(PeerResponsive(NodeId(node)))
    world.tell(PeerCaughtUp(NodeId(node), LogIndex(9)))


def answer(world, *nodes) -> None:
    """These peers acknowledge."""
    for node in nodes:
        world.tell(PeerResponsive(NodeId(node)))


def test_newcomers_become_learners(new_world, make) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1,))
    assert world.take() == ["configure 1|2,3"]
    world.apply(make.add(4))
    assert world.take() == []  # one change at a time
    world.configure((1,), (2, 3))
    assert world.take() == ["configure 1|2,3,4"]
    world.configure((1,), (2, 3, 4))
    assert world.take() == []


def test_a_learner_that_caught_up_becomes_a_voter(new_world) -> None:
    world = leading(new_world, (1, 2), voters=(1,), learners=(2,))
    assert world.take() == []
    catch_up(world, 2)
    assert world.take() == ["configure 1,2|"]


def test_a_learner_that_fell_silent_is_not_made_a_voter(new_world) -> None:
    world = leading(new_world, (1, 2), voters=(1,), learners=(2,))
    world.tell(PeerUnresponsive(NodeId(2)))
    world.tell(PeerCaughtUp(NodeId(2), LogIndex(9)))
    assert world.take() == []


def test_a_learner_that_fell_silent_must_catch_up_again(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1, 2), learners=(3,), max_voters=2)
    catch_up(world, 3)
    world.die(3)
    answer(world, 3)
    world.configure((1,), (3,))  # room for it
    world.take()
    world.configure((1,), (2, 3))
    assert world.take() == []
    catch_up(world, 3)
    assert world.take() == ["configure 1,3|2"]


def test_voters_are_few(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1, 2), learners=(3,), max_voters=2)
    answer(world, 2)
    catch_up(world, 3)
    world.wait(120_000)
    assert world.take() == []
    assert world.coordinator.deadline_ms() is None


def test_voters_above_a_lowered_limit_stay(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1, 2, 3), max_voters=1)
    answer(world, 2, 3)
    world.wait(120_000)
    assert world.take() == []


def test_a_lost_voter_is_replaced_in_one_change_when_its_time_is_up(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=3)
    answer(world, 2, 3)
    catch_up(world, 4)
    world.wait(5_000)
    world.die(3)
    world.wait(29_999)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["configure 1,2,4|3"]


def test_the_lost_voter_learns_when_it_returns_and_votes_again_if_there_is_room(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=4, promote_after_ms=5_000)
    answer(world, 2, 3)
    world.die(3)
    catch_up(world, 4)
    world.wait(5_000)
    assert world.take() == ["configure 1,2,4|3"]
    world.configure((1, 2, 4), (3,), outgoing=(1, 2, 3))
    world.configure((1, 2, 4), (3,))
    answer(world, 3)
    assert world.take() == []
    catch_up(world, 3)
    assert world.take() == ["configure 1,2,3,4|"]


def test_without_room_the_lost_voter_that_returns_stays_a_learner(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 4), learners=(3,), max_voters=3)
    answer(world, 2, 4)
    catch_up(world, 3)
    world.wait(120_000)
    assert world.take() == []


def test_a_voter_that_blinks_keeps_its_vote_however_often(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=3)
    answer(world, 2, 3)
    catch_up(world, 4)
    for _ in range(5):
        world.die(3)
        world.wait(29_999)
        answer(world, 3)
        world.wait(1)
    assert world.take() == []


def test_a_voter_that_is_reported_silent_twice_is_silent_since_the_first_time(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=3)
    answer(world, 2, 3)
    catch_up(world, 4)
    world.die(3)
    world.wait(20_000)
    world.die(3)
    world.wait(10_000)
    assert world.take() == ["configure 1,2,4|3"]


def test_a_lost_voter_waits_for_a_learner_that_is_ready(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=3)
    answer(world, 2, 3, 4)
    world.die(3)
    world.wait(120_000)
    assert world.take() == []
    catch_up(world, 4)
    assert world.take() == ["configure 1,2,4|3"]


def test_without_a_learner_a_lost_voter_stays_one(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3, 4))
    answer(world, 2, 3)
    world.die(4)
    world.wait(120_000)
    assert world.take() == []
    assert world.coordinator.deadline_ms() is None


def test_two_lost_voters_of_five_are_replaced_in_one_change(new_world) -> None:
    world = leading(new_world, range(1, 8), voters=range(1, 6), learners=(6, 7))
    answer(world, 2, 3, 4, 5)
    world.die(4)
    world.wait(10_000)
    world.die(5)
    world.wait(20_000)
    assert world.take() == []  # no learner is ready yet
    world.wait(10_000)
    world.commits = False
    world.tell(PeerCaughtUp(NodeId(6), LogIndex(9)))
    world.tell(PeerCaughtUp(NodeId(7), LogIndex(9)))
    assert world.take() == []  # ready, but not known to answer
    world.tell(PeerResponsive(NodeId(6)))
    assert world.take() == ["configure 1,2,3,5,6|4,7"]
    world.configure((1, 2, 3, 5, 6), (4, 7))
    answer(world, 7)
    assert world.take() == ["configure 1,2,3,6,7|4,5"]


def test_two_voters_that_are_lost_together_are_replaced_together(new_world) -> None:
    world = leading(new_world, range(1, 8), voters=range(1, 6), learners=(6, 7))
    answer(world, 2, 3, 4, 5)
    catch_up(world, 6)
    catch_up(world, 7)
    world.die(4)
    world.die(5)
    world.wait(30_000)
    assert world.take() == ["configure 1,2,3,6,7|4,5"]


def test_a_new_leader_counts_silence_from_its_own_beginning(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=3)
    answer(world, 2, 3)
    catch_up(world, 4)
    world.die(3)
    world.wait(20_000)
    world.tell(LeadershipChanged(False))
    world.tell(LeadershipChanged(True))
    answer(world, 2)
    catch_up(world, 4)
    world.wait(1_000)
    world.die(3)  # which Raft says about who never answered a new leader
    world.wait(28_999)
    assert world.take() == []
    world.wait(1)
    assert world.take() == ["configure 1,2,4|3"]


def test_an_odd_number_of_voters_is_not_made_even_beside_a_silent_one(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=5)
    answer(world, 2, 3)
    world.die(3)
    catch_up(world, 4)
    assert world.take() == []
    answer(world, 3)
    assert world.take() == ["configure 1,2,3,4|"]


def test_nothing_is_proposed_while_the_configuration_is_joint(new_world, make) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2, 3), learners=(4,), max_voters=3, promote_after_ms=5_000)
    answer(world, 2)
    catch_up(world, 4)
    world.wait(5_000)
    assert world.take() == ["configure 1,2,4|3"]
    world.configure((1, 2, 4), (3,), outgoing=(1, 2, 3))
    world.apply(make.add(5))
    world.wait(60_000)
    assert world.take() == []
    world.configure((1, 2, 4), (3,))
    assert world.take() == ["configure 1,2,4|3,5"]


def test_a_voter_that_left_waits_until_the_others_can_decide_without_it(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1, 2, 3))
    answer(world, 2, 3)
    world.die(3)
    world.apply(RemovePeer(NodeId(2)))
    assert world.take() == []
    answer(world, 3)
    assert world.take() == ["configure 1,3|"]


def test_who_left_the_roster_leaves_the_configuration_first(new_world) -> None:
    world = leading(new_world, (1, 2, 3, 4), voters=(1, 2), learners=(3, 4))
    world.apply(RemovePeer(NodeId(2)))
    assert world.take() == ["configure 1|3,4"]
    world.configure((1,), (3, 4))
    world.apply(RemovePeer(NodeId(4)))
    assert world.take() == ["configure 1|3"]


def test_a_leader_that_left_removes_itself(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1, 2, 3))
    world.apply(RemovePeer(NodeId(1)))
    assert world.take() == ["configure 2,3|"]


def test_the_last_voter_is_never_removed(new_world) -> None:
    world = leading(new_world, (1, 2), voters=(1,), learners=(2,))
    world.apply(RemovePeer(NodeId(1)))
    assert world.take() == []
    catch_up(world, 2)
    assert world.take() == ["configure 2|"]


def test_a_founder_that_is_not_in_the_roster_yet_stays_in_the_configuration(new_world) -> None:
    world = leading(new_world, (2,), voters=(1, 2))
    assert world.take() == []


def test_a_change_without_effect_is_proposed_again_after_its_time(new_world) -> None:
    world = leading(new_world, (1, 2), voters=(1,))
    world.wait(1_999)
    world.tell(LedgerChanged(world.ledger.view()))
    assert world.take() == ["configure 1|2"]
    world.wait(1)
    assert world.take() == ["configure 1|2"]


def test_who_left_and_comes_back_must_catch_up_again(new_world) -> None:
    world = leading(new_world, (1, 2), voters=(1,), learners=(2,))
    catch_up(world, 2)
    world.configure((1,))
    world.take()
    world.configure((1,), (2,))
    assert world.take() == []


def test_without_a_known_configuration_nothing_is_proposed(new_world) -> None:
    world = new_world((1, 2), EpochConfig(), exact=True)
    world.tell(LedgerChanged(world.ledger.view()))
    world.tell(LeadershipChanged(True))
    world.tell(PeerResponsive(NodeId(2)))
    world.wait(10_000)
    assert world.take() == []
