"""A Ready is performed in one order: send what is prompt, persist, send, install, apply, report; and nothing waits for
the disk that need not."""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Appended,
    Applied,
    Entry,
    EntryKind,
    HardState,
    Persisted,
    Ready,
    SnapshotTaken,
)
from raftgossip.errors import NoQuorum, StorageError
from raftgossip.facts import LeaderKnown, Notice
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime import raft_host
from raftgossip.runtime.raft_host import MAX_APPLIED_TIMES, merge
from raftgossip.runtime.store import MemoryStore, SqliteStore
from tests.support.host_bench import HARD_STATE, VOTE, HostBench, entry, next_turn, received_snapshot, with_bench

LEADER = LeaderKnown(NodeId(1), Term(3))


# --- the order


def test_a_ready_is_sent_as_far_as_it_may_then_saved_then_sent_then_applied_then_reported() -> None:
    entries = (entry(1, b"!one"), entry(2))
    prompt, after = replace(VOTE, receiver=NodeId(5)), VOTE

    async def story(bench: HostBench) -> None:
        ready = Ready(
            HARD_STATE,
            None,
            entries,
            prompt_messages=(prompt,),
            messages=(after,),
            committed=entries[:1],
            facts=(LEADER,),
        )
        assert await bench.perform(ready) == [Persisted(LogIndex(2)), Applied(LogIndex(1))]

    first, saved, last, reported = with_bench(story).journal

    assert first == ("send", prompt)
    assert saved[:4] == ("save", HARD_STATE, entries, None)  # type: ignore[index]
    assert last == ("send", after)
    assert reported == ("facts", (Notice("!one"), LEADER), 1)


def test_the_disk_is_written_in_its_own_thread() -> None:
    async def story(bench: HostBench) -> None:
        await bench.perform(Ready(HARD_STATE, entries=(entry(1),)))

    (saved,) = with_bench(story).journal

    assert str(saved[4]).startswith("disk")  # type: ignore[index]


def test_a_ready_without_anything_for_the_disk_is_finished_at_once() -> None:
    async def story(bench: HostBench) -> None:
        ready = Ready(messages=(VOTE,), committed=(entry(1),))
        assert list(bench.host.perform(ready)) == [Applied(LogIndex(1))]

    assert with_bench(story).steps() == ["send", "facts"]


def test_a_hard_state_alone_is_saved_before_the_vote_is_sent() -> None:
    async def story(bench: HostBench) -> None:
        bench.host.perform(Ready(HARD_STATE, messages=(VOTE,), facts=(LEADER,)))
        await bench.until(lambda: "facts" in bench.steps())
        assert bench.fed == [], "there is nothing that the core waits for"

    assert with_bench(story).steps() == ["save", "send", "facts"]


def test_committed_entries_are_applied_in_order_and_reported_even_when_they_say_nothing() -> None:
    async def story(bench: HostBench) -> None:
        kinds = (EntryKind.NOOP, EntryKind.COMMAND, EntryKind.CONFIGURATION)
        committed = tuple(entry(place, b"!c", kind=kind) for place, kind in enumerate(kinds, start=1))
        assert await bench.perform(Ready(committed=committed)) == [Applied(LogIndex(3))]
        assert await bench.perform(Ready(committed=(entry(4, kind=EntryKind.NOOP),))) == [Applied(LogIndex(4))]

    assert with_bench(story).journal == [("facts", (Notice("!c"),), 1), ("facts", (), 1)]


def test_facts_of_entries_that_were_committed_before_this_start_are_told_apart() -> None:
    async def story(bench: HostBench) -> None:
        await bench.perform(Ready(committed=tuple(entry(place, b"!%d" % place) for place in (1, 2, 3))))

    journal = with_bench(story, replay_until=2).journal

    assert journal == [("replayed", (Notice("!1"), Notice("!2")), 3), ("facts", (Notice("!3"),), 3)]


# --- several Readys at once


def test_what_is_prompt_leaves_while_the_disk_hangs() -> None:
    async def story(bench: HostBench) -> None:
        bench.store.open.clear()
        bench.host.perform(Ready(HARD_STATE, entries=(entry(1),)))
        for _ in range(3):
            bench.host.perform(Ready(prompt_messages=(VOTE,)))
        assert bench.steps() == ["send"] * 3

    with_bench(story)


def test_what_waits_behind_a_save_keeps_its_place() -> None:
    async def story(bench: HostBench) -> None:
        bench.store.open.clear()
        bench.host.perform(Ready(HARD_STATE, entries=(entry(1),)))
        assert list(bench.host.perform(Ready(messages=(VOTE,), committed=(entry(1, b"!one"),)))) == []
        await next_turn()
        assert bench.journal == []
        bench.store.open.set()
        await bench.until(lambda: bench.fed == [Persisted(LogIndex(1)), Applied(LogIndex(1))])

    assert with_bench(story).steps() == ["save", "send", "facts"]


def test_readys_that_wait_for_the_disk_share_a_save() -> None:
    async def story(bench: HostBench) -> None:
        bench.store.open.clear()
        for place in range(1, 5):
            state = replace(HARD_STATE, commit_index=LogIndex(place))
            bench.host.perform(Ready(state, entries=(entry(place),), messages=(replace(VOTE, term=Term(place)),)))
        bench.store.open.set()
        await bench.until(lambda: len(bench.fed) == 4)
        assert bench.fed == [Persisted(LogIndex(place)) for place in range(1, 5)], "one for each Ready"

    bench = with_bench(story)

    first, second = (step for step in bench.journal if step[0] == "save")  # type: ignore[index]
    assert first[1:3] == (replace(HARD_STATE, commit_index=LogIndex(1)), (entry(1),))
    assert second[1:3] == (replace(HARD_STATE, commit_index=LogIndex(4)), (entry(2), entry(3), entry(4)))
    assert bench.steps() == ["save", "send", "save", "send", "send", "send"]


def test_a_ready_that_needs_no_disk_does_not_wait_for_the_save_behind_it() -> None:
    async def story(bench: HostBench) -> None:
        bench.store.open.clear()
        bench.host.perform(Ready(HARD_STATE, entries=(entry(1),)))
        bench.host.perform(Ready(committed=(entry(1, b"!one"),)))
        bench.host.perform(Ready(HARD_STATE, entries=(entry(2),)))
        bench.store.open.set()
        await bench.until(lambda: Persisted(LogIndex(2)) in bench.fed)
        assert bench.fed == [Persisted(LogIndex(1)), Applied(LogIndex(1)), Persisted(LogIndex(2))]

    with_bench(story)


def test_when_too_much_waits_messages_are_dropped_but_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_host, "MAX_UNFINISHED", 2)

    async def story(bench: HostBench) -> None:
        bench.store.open.clear()
        for ready in (Ready(HARD_STATE, entries=(entry(1),)), Ready(messages=(VOTE,)), Ready(messages=(VOTE,))):
            bench.host.perform(ready)
        bench.host.perform(Ready(messages=(VOTE,), committed=(entry(1),)))
        bench.store.open.set()
        await bench.until(lambda: Applied(LogIndex(1)) in bench.fed)

    assert with_bench(story).steps() == ["save", "send", "send", "facts"]


# --- one transaction for several Readys


def random_readys(rng: random.Random) -> list[Ready]:
    """A log that grows, and is cut now and then; with snapshots of its own and received ones."""
    readys, last_index, base_index = [], 0, 0
    for step in range(12):
        snapshot, entries = None, ()
        kind = rng.choice(("entries", "entries", "cut", "own", "received", "state"))
        if kind == "received":
            last_index = base_index = last_index + rng.randint(1, 3)
            snapshot = received_snapshot(last_index, b"state")
        elif kind == "own" and last_index > base_index:
            base_index = rng.randint(base_index + 1, last_index)
            snapshot = replace(received_snapshot(base_index, b"own %d" % step), is_received=False)
        elif kind in ("entries", "cut"):
            first = rng.randint(base_index + 1, last_index + 1) if kind == "cut" else last_index + 1
            entries = tuple(entry(first + place, b"%d" % step, term=step) for place in range(rng.randint(1, 3)))
            last_index = entries[-1].index
        state = HardState(Term(step), None, LogIndex(0)) if rng.random() < 0.5 else None
        readys.append(Ready(state, snapshot, entries))
    return readys


def test_merged_saves_leave_on_the_disk_what_single_ones_leave_there() -> None:
    for seed in range(300):
        readys = random_readys(random.Random(seed))
        alone, merged, left, num_saves = MemoryStore(), MemoryStore(), list(readys), 0
        for ready in readys:
            alone.save(ready.hard_state, ready.entries, ready.snapshot)
        while left:
            transaction = merge(left)
            merged.save(transaction.hard_state, transaction.entries, transaction.snapshot)
            del left[: transaction.num_readys]
            num_saves += 1
        assert merged.load() == alone.load(), f"seed {seed}"
        assert num_saves <= 1 + sum(ready.snapshot is not None for ready in readys), f"seed {seed}"


def test_merged_entries_of_which_the_later_replace_the_earlier_are_right_in_a_file(tmp_path: Path) -> None:
    cut = [
        Ready(HARD_STATE, entries=(entry(1), entry(2), entry(3))),
        Ready(entries=(entry(2, b"b", term=4),)),
        Ready(entries=(entry(1, b"c", term=5), entry(2, b"c", term=5))),
    ]
    store = SqliteStore(tmp_path / "raft.sqlite")
    transaction = merge(cut)
    store.save(transaction.hard_state, transaction.entries, transaction.snapshot)

    assert store.load().entries == (entry(1, b"c", term=5), entry(2, b"c", term=5))
    assert transaction.num_readys == 3
    store.close()


# --- failures


def test_a_failed_save_ends_the_host_and_nothing_is_acknowledged_afterwards() -> None:
    async def story(bench: HostBench) -> None:
        bench.store.broken = True
        running = bench.host.run()
        async with asyncio.TaskGroup() as group:
            waiting = bench.ask(group, bench.host.propose(b"a", 20_000))
            await next_turn()
            own = (Appended(1, LogIndex(1), Term(3)),)
            bench.host.perform(Ready(HARD_STATE, None, (entry(1),), (), (VOTE,), (entry(1),), own, facts=(LEADER,)))
            with pytest.raises(StorageError, match="disk is full"):
                await running
            bench.host.perform(Ready(messages=(VOTE,), committed=(entry(1),)))
        assert isinstance(waiting.result(), NoQuorum)
        with pytest.raises(NoQuorum, match="stopped"):
            await bench.host.propose(b"a", 20_000)

    bench = with_idle_bench(story)

    assert bench.journal == [] and bench.fed == []
    assert bench.machine.commands == []


def with_idle_bench(story) -> HostBench:  # type: ignore[no-untyped-def]
    """A bench on which the story itself runs the host."""

    async def main() -> HostBench:
        with ThreadPoolExecutor(1) as disk:
            bench = HostBench(disk, RaftConfig(), 0)
            async with asyncio.timeout(20):
                await story(bench)
            return bench

    return asyncio.run(main())


def test_who_waits_when_the_host_is_cancelled_hears_of_it() -> None:
    async def story(bench: HostBench) -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(bench.host.run())
            asked = [
                bench.ask(group, request)
                for request in (
                    bench.host.propose(b"a", 20_000),
                    bench.host.read(20_000),
                    bench.host.transfer(None, 20_000),
                )
            ]
            await next_turn()
            running.cancel()
        assert [type(task.result()) for task in asked] == [NoQuorum] * 3

    with_idle_bench(story)


# --- snapshots


def test_a_received_snapshot_is_saved_and_installed_before_what_follows_it() -> None:
    async def story(bench: HostBench) -> None:
        bench.store.open.clear()
        bench.host.perform(Ready(HARD_STATE, entries=(entry(1),)))
        bench.host.perform(Ready(snapshot=received_snapshot(7, b"x,y"), messages=(VOTE,)))
        bench.host.perform(Ready(entries=(entry(8, b"!z"),)))
        bench.host.perform(Ready(committed=(entry(8, b"!z"),)))
        bench.store.open.set()
        await bench.until(lambda: Applied(LogIndex(8)) in bench.fed)
        assert bench.machine.commands == [b"x", b"y", b"!z"]
        assert bench.fed == [Persisted(LogIndex(1)), Persisted(LogIndex(8)), Applied(LogIndex(8))]

    bench = with_bench(story)

    assert bench.steps() == ["save", "save", "send", "facts", "facts"]
    assert bench.journal[1][2:4] == ((entry(8, b"!z"),), received_snapshot(7, b"x,y"))  # type: ignore[index]
    assert bench.journal[3:] == [("facts", (Notice("restored 2"),), 2), ("facts", (Notice("!z"),), 3)]


def test_a_received_snapshot_that_cannot_be_read_ends_the_host_and_leaves_the_disk_as_it_is() -> None:
    async def story(bench: HostBench) -> None:
        bench.host.perform(Ready(HARD_STATE, snapshot=received_snapshot(7, b"?"), messages=(VOTE,)))
        with pytest.raises(StorageError, match="snapshot of log entry 7 cannot be read: another version's state"):
            await bench.host.run()

    assert with_idle_bench(story).journal == []


@pytest.mark.parametrize("config", [RaftConfig(snapshot_entries=3), RaftConfig(snapshot_bytes=6)])
def test_a_snapshot_is_taken_when_enough_was_applied(config: RaftConfig) -> None:
    async def story(bench: HostBench) -> None:
        await bench.perform(Ready(committed=(entry(1, b"aa"), entry(2, b"bb"))))
        await bench.perform(Ready(committed=(entry(3, b"cc"),)))
        await bench.until(lambda: bool(bench.fed))
        assert bench.fed == [SnapshotTaken(LogIndex(3), b"aa,bb,cc")]
        await bench.perform(Ready(committed=(entry(4, b"dd"), entry(5, b"ee"))))
        await bench.perform(Ready(committed=(entry(6, b"ff"),)))
        await bench.until(lambda: len(bench.fed) == 2)
        assert bench.fed[1] == SnapshotTaken(LogIndex(6), b"aa,bb,cc,dd,ee,ff")

    with_bench(story, config)


def test_the_loop_and_the_disk_go_on_while_a_snapshot_is_encoded_and_no_other_is_begun() -> None:
    async def story(bench: HostBench) -> None:
        bench.machine.encoding.clear()
        for place in range(1, 6):
            await bench.perform(Ready(HARD_STATE, entries=(entry(place),), committed=(entry(place, b"%d" % place),)))
        assert not any(isinstance(event, SnapshotTaken) for event in bench.fed)
        bench.machine.encoding.set()
        await bench.until(lambda: SnapshotTaken(LogIndex(2), b"1,2") in bench.fed)
        await bench.perform(Ready(committed=(entry(6, b"6"),)))
        await bench.until(lambda: SnapshotTaken(LogIndex(6), b"1,2,3,4,5,6") in bench.fed)

    bench = with_bench(story, RaftConfig(snapshot_entries=2))

    assert sum(isinstance(event, SnapshotTaken) for event in bench.fed) == 2


def test_a_received_snapshot_counts_as_the_last_one() -> None:
    async def story(bench: HostBench) -> None:
        bench.host.perform(Ready(HARD_STATE, snapshot=received_snapshot(100, b"x"), facts=(LEADER,)))
        await bench.until(lambda: "facts" in bench.steps())
        await bench.perform(Ready(committed=(entry(101),)))
        await bench.perform(Ready(committed=(entry(102, b"b"),)))
        await bench.until(lambda: bool(bench.fed))
        assert bench.fed == [SnapshotTaken(LogIndex(102), b"x,a,b")]

    with_bench(story, RaftConfig(snapshot_entries=2))


# --- when an entry was applied


def apply_at(bench: HostBench, wall_ms: int, *committed: Entry) -> None:
    bench.wall_ms = wall_ms
    bench.host.perform(Ready(committed=committed))


def test_it_is_known_when_an_entry_was_applied() -> None:
    async def story(bench: HostBench) -> None:
        apply_at(bench, 111, entry(1), entry(2))
        apply_at(bench, 222, entry(3))
        apply_at(bench, 333, entry(4), entry(5))
        times = [bench.host.applied_at_ms(LogIndex(index)) for index in range(7)]
        assert times == [0, 0, 0, 222, 333, 333, 0], "1 and 2 were applied before this start"

    with_bench(story, replay_until=2)


def test_when_an_entry_was_applied_is_forgotten_after_a_while() -> None:
    async def story(bench: HostBench) -> None:
        apply_at(bench, 111, entry(1))
        apply_at(bench, 222, entry(2))
        for index in range(3, MAX_APPLIED_TIMES + 2):
            apply_at(bench, 333, entry(index))
        assert [bench.host.applied_at_ms(LogIndex(index)) for index in (1, 2, 3)] == [0, 222, 333]
        assert len(bench.host._applied_times) <= MAX_APPLIED_TIMES + 1

    with_bench(story)


def test_when_what_a_snapshot_covers_was_applied_is_unknown() -> None:
    async def story(bench: HostBench) -> None:
        apply_at(bench, 111, entry(1))
        bench.host.perform(Ready(HARD_STATE, snapshot=received_snapshot(5, b"x"), facts=(LEADER,)))
        await bench.until(lambda: any(LEADER in step[1] for step in bench.journal if step[0] == "facts"))  # type: ignore[index]
        apply_at(bench, 222, entry(6))
        assert [bench.host.applied_at_ms(LogIndex(index)) for index in (1, 3, 5, 6)] == [0, 0, 0, 222]

    with_bench(story)
