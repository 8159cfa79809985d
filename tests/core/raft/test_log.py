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
    assert [one.index for one in log.take_unsaved()] == [2, 3]
    assert log.take_unsaved() == ()
    assert log.durable_index == 1
    log.persisted(LogIndex(3))
    assert log.durable_index == 3


def test_a_late_report_of_an_entry_that_was_replaced_says_nothing_of_its_successor() -> None:
    log = log_of(1)
    log.append(entry(2, 2))
    log.take_unsaved()
    log.truncate_from(LogIndex(2))
    log.append(entry(2, 3))
    log.take_unsaved()
    log.persisted(LogIndex(2))
    assert log.durable_index == 1
    log.persisted(LogIndex(2))
    assert log.durable_index == 2


def test_truncation_takes_durability_back() -> None:
    log = log_of(1, 1, 1)
    log.truncate_from(LogIndex(2))
    assert (log.last_index, log.durable_index) == (1, 1)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2)),
        st.tuples(st.just("truncate"), st.integers(1, 12)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("persist"), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
def test_durable_never_passes_what_a_disk_that_performs_the_batches_holds(steps: list[tuple[str, int]]) -> None:
    log, term = Log(), 1
    disk: list[Entry] = []
    out: list[tuple[Entry, ...]] = []
    for name, number in steps:
        if name == "append":
            term += number
            log.append(entry(log.last_index + 1, term))
        elif name == "truncate" and number <= log.last_index:
            log.truncate_from(LogIndex(number))
            term += 1
        elif name == "take" and (batch := log.take_unsaved()):
            out.append(batch)
        elif name == "persist" and out:
            batch = out.pop(0)
            disk[batch[0].index - 1 :] = batch
            log.persisted(batch[-1].index)
        log.check_invariants()
        durable = log.span(LogIndex(1), log.durable_index)
        assert disk[: log.durable_index] == durable
