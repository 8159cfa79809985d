"""A Ready is performed in one order: persist, send, apply, answer; and every proposal gets exactly one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from raftgossip.core.epoch.command import AddPeer, Envelope, RemovePeer
from raftgossip.core.raft.message import (
    Appended,
    Applied,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    Proposed,
    RaftEvent,
    Ready,
    Refused,
    VoteResponse,
)
from raftgossip.core.replica import Replica
from raftgossip.errors import Busy, CommandRefused, NoQuorum, NotLeader, Oversized, RaftGossipError, StorageError
from raftgossip.facts import Fact, LeaderKnown, RosterChanged
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.runtime import raft_host
from raftgossip.runtime.raft_host import MAX_COMMAND_BYTES, Outcome, RaftHost
from raftgossip.wire.ledger_codec import envelope_to_bytes
from tests.support.fakes import RecordingDisk, RecordingTransport

HARD_STATE = HardState(Term(3), NodeId(1), LogIndex(0))
VOTE = Message(NodeId(1), NodeId(2), Term(3), VoteResponse(True))
LEADER = LeaderKnown(NodeId(1), Term(3))


def command(node_id: int, sequence: int = 1) -> bytes:
    add = AddPeer(NodeId(node_id), Address("10.0.0.4", 7004), Incarnation("a"), owner="o")
    return envelope_to_bytes(Envelope(f"{node_id}/a", sequence, 1, add))


def entry(index: int, data: bytes, term: int = 3, kind: EntryKind = EntryKind.COMMAND) -> Entry:
    return Entry(LogIndex(index), Term(term), kind, data)


class Bench:
    """A host between a recording disk, a recording network and a real replica; `journal` is what happened, in order."""

    def __init__(self, disk: ThreadPoolExecutor) -> None:
        self.journal: list[object] = []
        self.submitted: list[RaftEvent] = []
        self.accepts = True
        self.store = RecordingDisk(self.journal)
        self.replica = Replica()
        self.host = RaftHost(
            self.store, disk, RecordingTransport(self.journal), self.replica, self._on_facts, self._on_facts
        )
        self.host.connect(self._submit)

    def _on_facts(self, facts: Sequence[Fact]) -> None:
        self.journal.append(("facts", tuple(facts), len(self.replica.ledger.view().roster)))

    def _submit(self, event: RaftEvent) -> bool:
        if self.accepts:
            self.submitted.append(event)
        return self.accepts

    def propose(self, group: asyncio.TaskGroup, data: bytes, timeout_ms: int = 20_000) -> asyncio.Task[object]:
        """Start a proposal; its answer, be it an error, is the task's result."""
        return group.create_task(_answer(self.host.propose(data, timeout_ms)))


async def _answer(asked: Awaitable[Outcome]) -> Outcome | RaftGossipError:
    try:
        return await asked
    except RaftGossipError as error:
        return error


def with_bench(story: Callable[[Bench], Awaitable[None]]) -> Bench:
    """Run a story on an event loop with one disk thread."""

    async def main() -> Bench:
        with ThreadPoolExecutor(1, thread_name_prefix="disk") as disk:
            bench = Bench(disk)
            async with asyncio.timeout(20):
                await story(bench)
            return bench

    return asyncio.run(main())


def kinds(bench: Bench) -> list[object]:
    return [step[0] for step in bench.journal if isinstance(step, tuple)]


async def next_turn() -> None:
    """Let every task that can go on do so once."""
    await asyncio.sleep(0)


# --- the order


def test_a_ready_is_saved_then_sent_then_applied_then_reported() -> None:
    entries = (entry(1, command(4)), entry(2, command(5)))

    async def story(bench: Bench) -> None:
        ready = Ready(HARD_STATE, entries, (VOTE, VOTE), entries[:1], facts=(LEADER,))
        assert await bench.host.perform(ready) == [Persisted(LogIndex(2)), Applied(LogIndex(1))]

    bench = with_bench(story)

    saved, *sent, reported = bench.journal
    assert saved[:3] == ("save", HARD_STATE, entries)  # type: ignore[index]
    assert sent == [("send", VOTE), ("send", VOTE)]
    assert reported == ("facts", (RosterChanged(NodeId(4), present=True), LEADER), 1)


def test_the_disk_is_written_in_its_own_thread() -> None:
    async def story(bench: Bench) -> None:
        await bench.host.perform(Ready(HARD_STATE))

    (saved,) = with_bench(story).journal

    assert str(saved[3]).startswith("disk")  # type: ignore[index]


def test_a_failed_save_is_raised_and_nothing_is_sent_applied_or_reported() -> None:
    entries = (entry(1, command(4)),)

    async def story(bench: Bench) -> None:
        bench.store.broken = True
        async with asyncio.TaskGroup() as group:
            waiting = bench.propose(group, command(4))
            await next_turn()
            with pytest.raises(StorageError, match="disk is full"):
                await bench.host.perform(
                    Ready(HARD_STATE, entries, (VOTE,), entries, (Appended(1, LogIndex(1), Term(3)),), facts=(LEADER,))
                )
            assert not waiting.done()
            waiting.cancel()

    bench = with_bench(story)

    assert bench.journal == []
    assert bench.replica.ledger.view().roster == ()


def test_a_ready_without_state_or_entries_does_not_touch_the_disk() -> None:
    async def story(bench: Bench) -> None:
        assert await bench.host.perform(Ready(messages=(VOTE,))) == []

    assert kinds(with_bench(story)) == ["send"]


def test_a_hard_state_alone_is_saved_before_the_vote_is_sent() -> None:
    async def story(bench: Bench) -> None:
        assert await bench.host.perform(Ready(HARD_STATE, messages=(VOTE,))) == []

    assert kinds(with_bench(story)) == ["save", "send"]


def test_committed_entries_are_applied_in_order_and_reported_even_when_they_say_nothing() -> None:
    async def story(bench: Bench) -> None:
        committed = (
            entry(1, b"", kind=EntryKind.NOOP),
            entry(2, command(4)),
            entry(3, b"1|", kind=EntryKind.CONFIGURATION),
        )
        assert await bench.host.perform(Ready(committed=committed)) == [Applied(LogIndex(3))]
        assert await bench.host.perform(Ready(committed=(entry(4, b"", kind=EntryKind.NOOP),))) == [
            Applied(LogIndex(4))
        ]

    assert with_bench(story).journal == [("facts", (RosterChanged(NodeId(4), present=True),), 1), ("facts", (), 1)]


# --- proposals


def test_a_proposal_is_answered_with_what_the_ledger_said_once_it_is_applied() -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            good, bad = bench.propose(group, command(4)), bench.propose(group, envelope_to_bytes(REMOVE_UNKNOWN))
            await next_turn()
            assert bench.submitted == [Proposed(1, command(4)), Proposed(2, envelope_to_bytes(REMOVE_UNKNOWN))]
            entries = (entry(1, command(4)), entry(2, envelope_to_bytes(REMOVE_UNKNOWN)))
            appended = (Appended(1, LogIndex(1), Term(3)), Appended(2, LogIndex(2), Term(3)))
            await bench.host.perform(Ready(HARD_STATE, entries, appended=appended))
            await next_turn()
            assert not good.done() and not bad.done(), "what is appended is not yet committed"
            await bench.host.perform(Ready(committed=entries))
        applied, refused = good.result(), bad.result()
        assert isinstance(applied, Outcome) and applied.index == 1 and applied.result.accepted
        assert isinstance(refused, Outcome) and refused.index == 2 and not refused.result.accepted
        assert refused.result.reason

    with_bench(story)


REMOVE_UNKNOWN = Envelope("9/a", 1, 1, RemovePeer(NodeId(9)))


def test_a_proposal_that_is_appended_and_committed_in_one_ready_is_answered() -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.propose(group, command(4))
            await next_turn()
            entries = (entry(1, command(4)),)
            await bench.host.perform(
                Ready(HARD_STATE, entries, committed=entries, appended=(Appended(1, LogIndex(1), Term(3)),))
            )
        assert isinstance(asked.result(), Outcome)

    with_bench(story)


def test_a_proposal_whose_place_another_leader_took_hears_no_quorum() -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.propose(group, command(4))
            await next_turn()
            await bench.host.perform(Ready(appended=(Appended(1, LogIndex(1), Term(3)),)))
            await bench.host.perform(Ready(committed=(entry(1, command(5), term=4),)))
        assert isinstance(asked.result(), NoQuorum)
        assert "overwrote" in str(asked.result())

    with_bench(story)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [("not_leader", NotLeader), ("busy", Busy), ("change_pending", CommandRefused), ("invalid", CommandRefused)],
)
def test_a_refused_proposal_hears_why(reason: str, kind: type[RaftGossipError]) -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.propose(group, command(4))
            await next_turn()
            await bench.host.perform(Ready(refused=(Refused(1, reason, NodeId(2)),)))
        error = asked.result()
        assert type(error) is kind
        assert not isinstance(error, NotLeader) or error.leader == 2

    with_bench(story)


def test_a_proposal_that_nobody_confirms_ends_at_its_time() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(NoQuorum, match="within 30 ms; it may still commit"):
            await bench.host.propose(command(4), 30)

    with_bench(story)


def test_an_answer_that_comes_after_the_time_harms_nobody() -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(NoQuorum):
            await bench.host.propose(command(4), 1)
        await bench.host.perform(Ready(appended=(Appended(1, LogIndex(1), Term(3)),)))
        assert await bench.host.perform(Ready(committed=(entry(1, command(4)),))) == [Applied(LogIndex(1))]
        await bench.host.perform(Ready(refused=(Refused(1, "busy", None),)))

    with_bench(story)


def test_a_cancelled_proposal_is_forgotten() -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.propose(group, command(4))
            await next_turn()
            asked.cancel()
        assert asked.cancelled()
        assert bench.host._waiting == {}
        await bench.host.perform(
            Ready(committed=(entry(1, command(4)),), appended=(Appended(1, LogIndex(1), Term(3)),))
        )

    with_bench(story)


def test_a_full_mailbox_refuses_a_proposal_and_forgets_it() -> None:
    async def story(bench: Bench) -> None:
        bench.accepts = False
        with pytest.raises(Busy, match="mailbox"):
            await bench.host.propose(command(4), 20_000)
        assert bench.host._waiting == {}

    with_bench(story)


def test_too_many_waiting_proposals_refuse_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_host, "MAX_PENDING", 3)

    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [bench.propose(group, command(node_id)) for node_id in range(1, 4)]
            await next_turn()
            with pytest.raises(Busy, match="3 proposals wait"):
                await bench.host.propose(command(9), 20_000)
            for task in waiting:
                task.cancel()

    assert len(with_bench(story).submitted) == 3


def test_a_command_that_no_follower_could_receive_is_refused_before_it_is_appended() -> None:
    # Above gRPC's limit an entry would be sent and refused for ever, and no later one could commit.
    async def story(bench: Bench) -> None:
        with pytest.raises(Oversized, match=str(MAX_COMMAND_BYTES + 1)):
            await bench.host.propose(bytes(MAX_COMMAND_BYTES + 1), 20_000)

    assert with_bench(story).submitted == []


def test_a_change_of_the_configuration_is_answered_when_it_is_in_force() -> None:
    configuration = Configuration((NodeId(1), NodeId(2)))

    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(bench.host.change_configuration(configuration, 20_000))
            await next_turn()
            assert bench.submitted == [ConfigurationProposed(1, configuration)]
            place = entry(1, configuration.encode(), kind=EntryKind.CONFIGURATION)
            await bench.host.perform(Ready(HARD_STATE, (place,), appended=(Appended(1, LogIndex(1), Term(3)),)))
            await bench.host.perform(Ready(committed=(place,)))
        assert asked.result().index == 1 and asked.result().result.accepted

    with_bench(story)


def test_a_committed_command_that_nobody_can_read_is_refused_by_all_alike() -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = bench.propose(group, b"\xff")
            await next_turn()
            place = entry(1, b"\xff")
            await bench.host.perform(Ready(committed=(place,), appended=(Appended(1, LogIndex(1), Term(3)),)))
        outcome = asked.result()
        assert isinstance(outcome, Outcome) and not outcome.result.accepted
        assert "undecodable" in outcome.result.reason

    with_bench(story)


def test_a_repeated_command_is_answered_twice_and_applied_once() -> None:
    async def story(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            asked = [bench.propose(group, command(4)), bench.propose(group, command(4))]
            await next_turn()
            entries = (entry(1, command(4)), entry(2, command(4)))
            appended = (Appended(1, LogIndex(1), Term(3)), Appended(2, LogIndex(2), Term(3)))
            await bench.host.perform(Ready(HARD_STATE, entries, committed=entries, appended=appended))
        outcomes = [task.result() for task in asked]
        assert [outcome.result.accepted for outcome in outcomes if isinstance(outcome, Outcome)] == [True, True]

    bench = with_bench(story)

    assert bench.journal[-1] == ("facts", (RosterChanged(NodeId(4), present=True),), 1)
