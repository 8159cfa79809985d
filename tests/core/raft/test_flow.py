"""What bounds the flow of reads and snapshots: nothing waits for ever, and nothing grows without end."""

from __future__ import annotations

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import Configuration, Snapshot
from raftgossip.core.raft.read_index import MAX_QUESTIONS, MAX_WAITING, FollowerReads
from raftgossip.core.raft.snapshot import Outgoing
from raftgossip.ids import LogIndex, NodeId, Term


def outgoing(num_bytes: int) -> Outgoing:
    """A transfer that has not begun."""
    return Outgoing(Snapshot.of(LogIndex(9), Term(1), Configuration((NodeId(1),)), bytes(num_bytes)))


def test_a_snapshot_is_sent_no_faster_than_its_limit_however_small_the_chunks_are() -> None:
    config = RaftConfig(snapshot_chunk_bytes=1_000, snapshot_bytes_per_s=3_000_000)
    transfer, now_ms, num_sent = outgoing(600_000), 0, 0
    while transfer.offset < 600_000:
        part = transfer.next_chunk(config, 1, now_ms)
        if part is None:
            now_ms = transfer.wake_ms(config)
            continue
        num_sent += len(part.data)
        transfer.answered(LogIndex(9), Term(1), part.offset + len(part.data))
        assert num_sent <= 3_000 * now_ms + 4_000
    assert 190 <= now_ms <= 210


def test_a_lost_chunk_is_sent_again_when_it_has_been_out_for_an_election_timeout() -> None:
    config = RaftConfig()
    transfer = outgoing(10)
    assert transfer.next_chunk(config, 1, 0) is not None
    assert transfer.next_chunk(config, 2, config.election_min_ms - 1) is None
    again = transfer.next_chunk(config, 3, config.election_min_ms)
    assert again is not None and again.offset == 0


def test_questions_whose_answers_are_lost_make_room_for_new_ones() -> None:
    reads = FollowerReads(next_context=0)
    for first in range(0, 3 * MAX_WAITING, 64):
        reads.fresh.extend(range(first, first + 64))
        assert reads.take_question() is not None
        assert sum(map(len, reads.asked.values())) <= MAX_WAITING
    newest = max(reads.asked)
    reads.answered(newest, LogIndex(5))
    assert len(reads.take_granted(LogIndex(5))) == 64


def test_no_more_than_so_many_questions_are_remembered() -> None:
    reads = FollowerReads(next_context=7)
    for request_id in range(2 * MAX_QUESTIONS):
        reads.fresh.append(request_id)
        reads.take_question()
    assert len(reads.asked) == MAX_QUESTIONS
    reads.answered(7, LogIndex(1))
    assert reads.take_granted(LogIndex(1)) == [], "the oldest was given up; the host asks again"


def test_one_question_may_hold_more_reads_than_the_bound_for_all() -> None:
    reads = FollowerReads(next_context=0)
    reads.fresh.extend(range(MAX_WAITING + 5))
    context = reads.take_question()
    assert context is not None
    reads.answered(context, LogIndex(1))
    assert len(reads.take_granted(LogIndex(1))) == MAX_WAITING + 5
