"""The log by tables, and against a plain list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.core.raft.log import Log
from raftgossip.core.raft.message import Entry
from raftgossip.ids import LogIndex, Term
from tests.core.raft.lone_node import entry


def log_of(*terms: int) -> Log:
    """A log on disk, by the terms of its entries."""
    return Log([entry(place, term) for place, term in enumerate(terms, start=1)])


def test_an_empty_log_matches_only_the_position_before_its_first_entry() -> None:
    log = log_of()
    assert (log.last_index, log.last_term, log.durable_index) == (0, 0, 0)
    assert log.matches(LogIndex(0), Term(0))
    assert not log.matches(LogIndex(1), Term(0))


@pytest.mark.parametrize(
    ("index", "term", "expected"),
    [(0, 0, True), (1, 1, True), (2, 1, True), (3, 4, True), (3, 1, False), (4, 4, False), (0, 1, False)],
)
def test_matches_by_index_and_term(index: int, term: int, expected: bool) -> None:
    assert log_of(1, 1, 4).matches(LogIndex(index), Term(term)) is expected


@pytest.mark.parametrize(
    ("last_index", "last_term", "expected"),
    [(3, 4, True), (4, 4, True), (2, 4, False), (9, 3, False), (1, 5, True), (0, 0, False)],
)
def test_the_later_last_term_wins_then_the_longer_log(last_index: int, last_term: int, expected: bool) -> None:
    assert log_of(1, 1, 4).is_behind_or_equal(LogIndex(last_index), Term(last_term)) is expected


@pytest.mark.parametrize(
    ("term", "first", "last"), [(1, 1, 2), (2, 3, None), (3, 3, 5), (4, 6, None), (5, 6, 6), (6, 7, None)]
)
def test_where_a_term_begins_and_ends(term: int, first: int, last: int | None) -> None:
    log = log_of(1, 1, 3, 3, 3, 5)
    assert log.first_index_of(Term(term)) == first
    assert log.last_index_of(Term(term)) == last


@pytest.mark.parametrize(
    ("first", "max_entries", "max_bytes", "expected"),
    [
        (1, 2, 100, [1, 2]),
        (2, 10, 100, [2, 3, 4]),
        (1, 10, 6, [1, 2]),
        (1, 10, 1, [1]),
        (4, 10, 1, [4]),
        (5, 10, 100, []),
    ],
)
def test_a_batch_keeps_both_limits_but_is_never_empty_before_the_end(
    first: int, max_entries: int, max_bytes: int, expected: list[int]
) -> None:
    batch = log_of(1, 1, 1, 1).batch(LogIndex(first), max_entries, max_bytes)
    assert [one.index for one in batch] == expected


@pytest.mark.parametrize(("index", "term"), [(2, 1), (4, 1), (3, 0)])
def test_an_entry_that_cannot_follow_is_our_own_bug(index: int, term: int) -> None:
    with pytest.raises(RuntimeError, match="cannot follow 2/1"):
        log_of(1, 1).append(entry(index, term))


def test_entries_are_handed_out_once_and_durable_only_when_reported() -> None:
    log = log_of(1)
    log.append(entry(2, 1))
    log.append(entry(3, 1))
    assert [one.index for one in log.take_unsaved(0)] == [2, 3]
    assert log.take_unsaved(0) == ()
    assert log.durable_index == 1
    log.persisted()
    assert log.durable_index == 3


def test_a_late_report_of_an_entry_that_was_replaced_says_nothing_of_its_successor() -> None:
    log = log_of(1)
    log.append(entry(2, 2))
    log.take_unsaved(0)
    log.truncate_from(LogIndex(2))
    log.append(entry(2, 3))
    log.take_unsaved(0)
    log.persisted()
    assert log.durable_index == 1
    log.persisted()
    assert log.durable_index == 2


def test_truncation_takes_durability_back() -> None:
    log = log_of(1, 1, 1)
    log.truncate_from(LogIndex(2))
    assert (log.last_index, log.durable_index) == (1, 1)


@pytest.mark.parametrize("index", [1, 3, 5, 6])
def test_compaction_forgets_entries_and_keeps_the_last_ones_term(index: int) -> None:
    terms = (1, 1, 3, 3, 3, 5)
    log = log_of(*terms)
    log.compact(LogIndex(index))
    log.check_invariants()
    assert (log.base_index, log.base_term) == (index, terms[index - 1])
    assert (log.last_index, log.last_term, log.durable_index) == (6, 5, 6)
    assert [log.term_at(LogIndex(place)) for place in range(8)] == [*([None] * index), *terms[index - 1 :], None]
    assert not log.matches(LogIndex(0), Term(0)) and log.matches(LogIndex(index), Term(terms[index - 1]))
    assert log.span(LogIndex(index + 1), LogIndex(6)) == [
        entry(place, terms[place - 1]) for place in range(index + 1, 7)
    ]


@pytest.mark.parametrize(
    ("base", "term", "first", "last"),
    [(2, 1, 3, 2), (2, 3, 3, 5), (4, 3, 5, 5), (5, 3, 6, 5), (5, 2, 6, None), (6, 5, 7, 6), (6, 6, 7, None)],
)
def test_where_a_term_begins_and_ends_as_far_as_a_compacted_log_knows(
    base: int, term: int, first: int, last: int | None
) -> None:
    log = log_of(1, 1, 3, 3, 3, 5)
    log.compact(LogIndex(base))
    assert log.first_index_of(Term(term)) == first
    assert log.last_index_of(Term(term)) == last


def test_a_received_snapshot_takes_the_place_of_everything() -> None:
    log = log_of(1, 1, 1)
    log.append(entry(4, 2))
    log.take_unsaved(0)
    log.reset(LogIndex(3), Term(2))
    log.check_invariants()
    assert (log.base_index, log.last_index, log.last_term, log.durable_index) == (3, 3, 2, 3)
    log.append(entry(4, 2))
    log.persisted()  # the report of the entry 4 that was there before
    assert log.durable_index == 3
    assert [one.index for one in log.take_unsaved(0)] == [4]
    log.persisted()
    assert log.durable_index == 4


# --- against a plain list, and a disk that performs what is handed out

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2)),
        st.tuples(st.just("truncate"), st.integers(0, 12)),
        st.tuples(st.just("compact"), st.integers(0, 12)),
        st.tuples(st.just("reset"), st.integers(1, 3)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("persist"), st.just(0)),
    ),
    max_size=40,
)


class Model:
    """What a log is: all entries that ever were, the discarded ones too, None where a snapshot came instead."""

    def __init__(self) -> None:
        self.log = Log()
        self.entries: list[Entry | None] = []
        self.base = 0
        self.base_term = 0
        self.term = 1
        self.disk: list[Entry | None] = []
        self.out: list[tuple[Entry, ...]] = []

    def step(self, name: str, number: int) -> None:
        """Do it to both, if it may be done."""
        log, last = self.log, len(self.entries)
        match name:
            case "append":
                self.term += number
                self.entries.append(entry(last + 1, self.term))
                log.append(entry(last + 1, self.term))
            case "truncate" if self.base + number < last:
                log.truncate_from(LogIndex(self.base + number + 1))
                del self.entries[self.base + number :]
                self.term += 1
            case "compact" if self.base < self.base + number <= log.durable_index:
                log.compact(LogIndex(self.base + number))
                self.base += number
                kept = self.entries[self.base - 1]
                assert kept is not None
                self.base_term = kept.term
            case "reset":
                self.term += number
                self.base, self.base_term = last + number, self.term
                self.entries = [None] * self.base
                self.out = [()] * len(self.out)  # what is on its way to the disk is deleted there by the snapshot
                self.disk = list(self.entries)
                log.reset(LogIndex(self.base), Term(self.base_term))
            case "take":
                if batch := log.take_unsaved(0):
                    self.out.append(batch)
            case "persist" if self.out:
                batch = self.out.pop(0)
                if batch:
                    self.disk[batch[0].index - 1 :] = batch
                log.persisted()

    def check(self) -> None:
        """Both tell the same."""
        log, last = self.log, len(self.entries)
        log.check_invariants()
        assert (log.base_index, log.last_index) == (self.base, last)
        kept = self.entries[self.base :]
        assert log.span(LogIndex(self.base + 1), LogIndex(last)) == kept
        terms = {self.base: self.base_term} | {one.index: one.term for one in kept if one is not None}
        assert {index: log.term_at(LogIndex(index)) for index in range(last + 3)} == {
            index: terms.get(index) for index in range(last + 3)
        }
        assert log.last_term == terms[last]
        for term in range(1, self.term + 2):
            of_term = [index for index, each in terms.items() if each == term and index > 0]
            assert log.last_index_of(Term(term)) == (max(of_term) if of_term else None)
        assert self.disk[self.base : log.durable_index] == self.entries[self.base : log.durable_index]


@given(STEPS)
def test_a_log_is_a_list_of_which_the_beginning_is_forgotten(steps: list[tuple[str, int]]) -> None:
    """Above all: durable never passes what a disk that performs the batches in order holds."""
    model = Model()
    for name, number in steps:
        model.step(name, number)
        model.check()


@given(STEPS, st.integers(1, 14), st.integers(1, 5), st.integers(1, 30))
def test_a_batch_is_the_longest_piece_within_both_limits(
    steps: list[tuple[str, int]], first: int, max_entries: int, max_bytes: int
) -> None:
    model = Model()
    for name, number in steps:
        model.step(name, number)
    log = model.log
    start = LogIndex(log.base_index + first)
    batch = log.batch(start, max_entries, max_bytes)
    left = log.span(start, log.last_index)
    assert list(batch) == left[: len(batch)] and len(batch) <= max_entries
    assert len(batch) <= 1 or sum(len(one.data) for one in batch) <= max_bytes
    if len(batch) < min(len(left), max_entries):
        assert batch and sum(len(one.data) for one in left[: len(batch) + 1]) > max_bytes
