"""Proposals, membership changes, reads and transfers: every request gets exactly one answer."""

from __future__ import annotations

import asyncio

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Appended,
    Applied,
    Configuration,
    ConfigurationProposed,
    EntryKind,
    Proposed,
    ReadGranted,
    ReadRequested,
    Ready,
    Refused,
    TransferRequested,
)
from raftgossip.errors import Busy, CommandRefused, NoQuorum, NotLeader, Oversized, RaftGossipError
from raftgossip.facts import LeaderKnown, RoleChanged
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime import raft_host
from raftgossip.runtime.raft_host import MAX_COMMAND_BYTES, Outcome
from raftgossip.runtime.waiting import SWEEP_MS
from tests.support.host_bench import HARD_STATE, HostBench, entry, next_turn, received_snapshot, with_bench

LONG_MS = 20_000


def appended(request_id: int, index: int) -> Appended:
    return Appended(request_id, LogIndex(index), Term(3))


# --- proposals


def test_a_proposal_is_answered_with_what_the_machine_said_once_it_is_applied() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            first, second = (bench.ask(group, bench.host.propose(data, LONG_MS)) for data in (b"a", b"b"))
            await next_turn()
            assert bench.submitted == [Proposed(1, b"a"), Proposed(2, b"b")]
            entries = (entry(1, b"a"), entry(2, b"b"))
            await bench.perform(Ready(HARD_STATE, entries=entries, appended=(appended(1, 1), appended(2, 2))))
            await next_turn()
            assert not first.done() and not second.done(), "what is appended is not yet committed"
            await bench.perform(Ready(committed=entries))
        assert (first.result(), second.result()) == (Outcome(LogIndex(1), 1), Outcome(LogIndex(2), 2))

    with_bench(story)


def test_a_proposal_that_is_appended_and_committed_in_one_ready_is_answered() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.propose(b"a", LONG_MS))
            await next_turn()
            await bench.perform(
                Ready(HARD_STATE, entries=(entry(1),), committed=(entry(1),), appended=(appended(1, 1),))
            )
        assert asked.result() == Outcome(LogIndex(1), 1)

    with_bench(story)


def test_a_proposal_whose_place_another_leader_took_hears_no_quorum() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.propose(b"a", LONG_MS))
            await next_turn()
            await bench.perform(Ready(appended=(appended(1, 1),)))
            await bench.perform(Ready(committed=(entry(1, b"b", term=4),)))
        assert isinstance(asked.result(), NoQuorum)
        assert "overwrote" in str(asked.result())

    with_bench(story)


def test_proposals_that_a_received_snapshot_covers_hear_no_quorum_and_later_ones_wait_on() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            covered, later = (bench.ask(group, bench.host.propose(b"a", LONG_MS)) for _ in range(2))
            await next_turn()
            bench.host.perform(Ready(appended=(appended(1, 5), appended(2, 6))))
            bench.host.perform(Ready(HARD_STATE, snapshot=received_snapshot(5, b"x")))
            assert isinstance(await covered, NoQuorum)
            assert not later.done()
            later.cancel()

    with_bench(story)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("not_leader", NotLeader),
        ("busy", Busy),
        ("transferring", Busy),
        ("change_pending", CommandRefused),
        ("invalid", CommandRefused),
    ],
)
def test_a_refused_proposal_hears_why(reason: str, kind: type[RaftGossipError]) -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.propose(b"a", LONG_MS))
            await next_turn()
            await bench.perform(Ready(refused=(Refused(1, reason, NodeId(2)),)))
        error = asked.result()
        assert type(error) is kind
        assert not isinstance(error, NotLeader) or error.leader == 2

    with_bench(story)


def test_a_proposal_that_nobody_confirms_ends_at_its_time() -> None:
    async def story(bench: HostBench) -> None:
        start_s = asyncio.get_running_loop().time()
        with pytest.raises(NoQuorum, match="within 30 ms; it may still commit"):
            await bench.host.propose(b"a", 30)
        assert asyncio.get_running_loop().time() - start_s >= 0.03

    with_bench(story)


def test_a_proposal_that_comes_just_before_a_sweep_gets_its_whole_time() -> None:
    async def story(bench: HostBench) -> None:
        now_s = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as group:
            other = bench.ask(group, bench.host.propose(b"a", LONG_MS))
            await asyncio.sleep(0.8 * SWEEP_MS / 1000)
            start_s = now_s()
            with pytest.raises(NoQuorum):
                await bench.host.propose(b"b", SWEEP_MS)
            assert now_s() - start_s >= SWEEP_MS / 1000
            other.cancel()

    with_bench(story)


def test_requests_end_in_the_order_of_their_times_not_of_their_coming() -> None:
    async def story(bench: HostBench) -> None:
        ended: list[int] = []

        async def propose(timeout_ms: int) -> None:
            with pytest.raises(NoQuorum):
                await bench.host.propose(b"a", timeout_ms)
            ended.append(timeout_ms)

        async with asyncio.TaskGroup() as group:
            for timeout_ms in (200, 1):
                group.create_task(propose(timeout_ms))
        assert ended == [1, 200]

    with_bench(story)


def test_an_answer_that_comes_after_the_time_harms_nobody() -> None:
    async def story(bench: HostBench) -> None:
        with pytest.raises(NoQuorum):
            await bench.host.propose(b"a", 1)
        await bench.perform(Ready(appended=(appended(1, 1),)))
        assert await bench.perform(Ready(committed=(entry(1),))) == [Applied(LogIndex(1))]
        await bench.perform(Ready(refused=(Refused(1, "busy", None),)))

    with_bench(story)


def test_a_cancelled_proposal_is_forgotten() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.propose(b"a", LONG_MS))
            await next_turn()
            asked.cancel()
        assert asked.cancelled()
        assert len(bench.host._proposals) == 0
        await bench.perform(Ready(committed=(entry(1),), appended=(appended(1, 1),)))

    with_bench(story)


def test_a_full_mailbox_refuses_a_proposal_and_forgets_it() -> None:
    async def story(bench: HostBench) -> None:
        bench.accepts = False
        with pytest.raises(Busy, match="mailbox"):
            await bench.host.propose(b"a", LONG_MS)
        assert len(bench.host._proposals) == 0

    with_bench(story)


def test_too_many_waiting_proposals_refuse_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_host, "MAX_PENDING", 3)

    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [bench.ask(group, bench.host.propose(b"a", LONG_MS)) for _ in range(3)]
            await next_turn()
            with pytest.raises(Busy, match="3 requests wait"):
                await bench.host.propose(b"b", LONG_MS)
            for task in waiting:
                task.cancel()

    assert len(with_bench(story).submitted) == 3


def test_a_command_that_no_follower_could_receive_is_refused_before_it_is_appended() -> None:
    # Above gRPC's limit an entry would be sent and refused for ever, and no later one could commit.
    async def story(bench: HostBench) -> None:
        with pytest.raises(Oversized, match=str(MAX_COMMAND_BYTES + 1)):
            await bench.host.propose(bytes(MAX_COMMAND_BYTES + 1), LONG_MS)

    assert with_bench(story).submitted == []


def test_a_change_of_the_configuration_is_answered_when_it_is_committed() -> None:
    configuration = Configuration((NodeId(1), NodeId(2)))

    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.change_configuration(configuration, LONG_MS))
            await next_turn()
            assert bench.submitted == [ConfigurationProposed(1, configuration)]
            place = entry(1, configuration.encode(), kind=EntryKind.CONFIGURATION)
            await bench.perform(Ready(HARD_STATE, entries=(place,), appended=(appended(1, 1),)))
            assert not asked.done()
            await bench.perform(Ready(committed=(place,)))
        assert asked.result() == Outcome(LogIndex(1), None)

    assert with_bench(story).machine.commands == []


# --- reads


def test_a_read_is_answered_once_what_it_must_see_is_applied() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.read(LONG_MS))
            await next_turn()
            assert bench.submitted == [ReadRequested(1)]
            bench.host.perform(Ready(committed=(entry(1),), reads=(ReadGranted(1, LogIndex(1)),)))
            assert bench.machine.commands == [b"a"]
        assert asked.result() == 1

    with_bench(story)


def test_a_read_behind_a_hanging_disk_is_not_answered_before_the_entries_are_applied() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.read(LONG_MS))
            bench.store.open.clear()
            bench.host.perform(Ready(HARD_STATE, entries=(entry(1),), committed=(entry(1),)))
            bench.host.perform(Ready(reads=(ReadGranted(1, LogIndex(1)),)))
            await next_turn()
            assert not asked.done()
            bench.store.open.set()
            await asked
            assert bench.machine.commands == [b"a"]

    with_bench(story)


def test_a_read_whose_question_was_lost_is_asked_again() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.read(LONG_MS))
            await bench.until(lambda: len(bench.submitted) == 3)
            bench.host.perform(Ready(reads=(ReadGranted(1, LogIndex(0)),) * 2))
        assert asked.result() == 0
        assert bench.submitted == [ReadRequested(1)] * 3

    with_bench(story, RaftConfig(heartbeat_ms=20, election_min_ms=60, election_max_ms=100))


def test_a_read_without_a_leader_is_asked_again_soon() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.read(LONG_MS))
            await next_turn()
            bench.host.perform(Ready(refused=(Refused(1, "not_leader", None),)))
            await bench.until(lambda: len(bench.submitted) == 2)
            bench.host.perform(Ready(reads=(ReadGranted(1, LogIndex(0)),)))
        assert asked.result() == 0

    with_bench(story, RaftConfig(election_min_ms=600_000, election_max_ms=600_000))


def test_a_read_that_nobody_confirms_ends_at_its_time() -> None:
    async def story(bench: HostBench) -> None:
        with pytest.raises(NoQuorum, match="within 30 ms"):
            await bench.host.read(30)

    with_bench(story)


def test_a_read_that_finds_too_many_waiting_is_refused() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.read(LONG_MS))
            await next_turn()
            bench.host.perform(Ready(refused=(Refused(1, "busy", None),)))
        assert isinstance(asked.result(), Busy)

    with_bench(story)


# --- transfers


def test_a_transfer_is_over_when_this_node_leads_no_more() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.transfer(NodeId(2), LONG_MS))
            await next_turn()
            assert bench.submitted == [TransferRequested(1, NodeId(2))]
            bench.host.perform(
                Ready(facts=(LeaderKnown(NodeId(1), Term(3)), RoleChanged(NodeId(1), "leader", Term(3))))
            )
            await next_turn()
            assert not asked.done()
            bench.host.perform(Ready(facts=(RoleChanged(NodeId(1), "follower", Term(4)),)))
        assert asked.result() is None

    with_bench(story)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("not_leader", NotLeader),
        ("transferring", Busy),
        ("no_successor", CommandRefused),
        ("invalid", CommandRefused),
        ("transfer_failed", NoQuorum),
    ],
)
def test_a_refused_transfer_hears_why(reason: str, kind: type[RaftGossipError]) -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.ask(group, bench.host.transfer(None, LONG_MS))
            await next_turn()
            bench.host.perform(Ready(refused=(Refused(1, reason, NodeId(2)),)))
        assert type(asked.result()) is kind

    with_bench(story)
