"""Who the leader lets into the Raft configuration, and when."""

from __future__ import annotations

from raftgossip.core.epoch.command import RemovePeer
from raftgossip.core.epoch.config import EpochConfig
from raftgossip.core.epoch.coordinator import LeadershipChanged, LedgerChanged
from raftgossip.facts import PeerCaughtUp, PeerResponsive, PeerUnresponsive
from raftgossip.ids import LogIndex, NodeId

PATIENT = 100  # a minimum of participants that keeps epochs out of these stories


def leading(new_world, nodes, voters, learners=(), max_voters=5):
    """A world whose leader is told this configuration."""
    world = new_world(nodes, EpochConfig(max_voters=max_voters), exact=True, min_participants=PATIENT)
    world.configure(voters, learners)
    world.tell(LedgerChanged(world.ledger.view()))
    world.tell(LeadershipChanged(True))
    return world


def catch_up(world, node) -> None:
    """The learner answers and holds the log."""
    world.tell(PeerResponsive(NodeId(node)))
    world.tell(PeerCaughtUp(NodeId(node), LogIndex(9)))


def test_newcomers_become_learners_one_at_a_time(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1,))
    assert world.take() == ["configure 1|2"]
    world.configure((1,), (2,))
    assert world.take() == ["configure 1|2,3"]
    world.configure((1,), (2, 3))
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


def test_voters_are_few(new_world) -> None:
    world = leading(new_world, (1, 2, 3), voters=(1, 2), learners=(3,), max_voters=2)
    catch_up(world, 3)
    assert world.take() == []
    world.configure((1,), (3,))
    world.take()
    assert world.coordinator.deadline_ms() is not None


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
    assert world.take() == ["configure 1,2|"]


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
