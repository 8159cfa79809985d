"""The checker on histories whose verdict is known, and against a search through all orders."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.sim.linearizability import Call, check
from raftgossip.sim.registers import Operation, Result, Value, compare_and_set, increment, outcome, read, write


def call(operation: Operation, invoked_at: int, answered_at: int | None, result: Result = True) -> Call:
    """A call of some client."""
    return Call("c", operation, invoked_at, answered_at, result)


def wrote(value: Value, invoked_at: int, answered_at: int | None) -> Call:
    """A write of the register that all tests use."""
    return call(write("x", value), invoked_at, answered_at)


def saw(value: Value | None, invoked_at: int, answered_at: int) -> Call:
    """A read with its answer."""
    return call(read("x"), invoked_at, answered_at, value)


def swapped(expected: Value | None, new: Value, invoked_at: int, answered_at: int | None, result: bool) -> Call:
    """A compare_and_set."""
    return call(compare_and_set("x", expected, new), invoked_at, answered_at, result)


GOOD = {
    "nothing happened": [],
    "one after the other": [saw(None, 0, 1), wrote(1, 2, 3), saw(1, 4, 5), wrote(2, 6, 7), saw(2, 8, 9)],
    "a read beside a write may see the old value": [wrote(1, 0, 1), wrote(2, 2, 9), saw(1, 3, 4)],
    "a read beside a write may see the new value": [wrote(1, 0, 1), wrote(2, 2, 9), saw(2, 3, 4)],
    "concurrent writes in the order of their numbers": [wrote(1, 0, 9), wrote(2, 0, 9), saw(2, 10, 11)],
    "concurrent writes in the other order": [wrote(1, 0, 9), wrote(2, 0, 9), saw(1, 10, 11)],
    "what touches in one moment is concurrent": [wrote(1, 0, 1), wrote(2, 2, 3), saw(1, 3, 4)],
    "a lost write is seen later": [wrote(1, 0, None), saw(None, 10, 11), saw(1, 20, 21)],
    "a lost write is never seen": [wrote(1, 0, None), saw(None, 10, 11), wrote(2, 12, 13), saw(2, 14, 15)],
    "a lost write comes after a later one": [wrote(1, 0, None), wrote(2, 2, 3), saw(2, 4, 5), saw(1, 6, 7)],
    "a lost write hinders a compare_and_set": [wrote(1, 0, 1), wrote(2, 2, None), swapped(1, 3, 4, 5, False)],
    "a lost write helps a compare_and_set": [wrote(1, 0, None), swapped(1, 3, 4, 5, True), saw(3, 6, 7)],
    "lost compare_and_sets make a chain": [
        wrote(1, 0, 1),
        swapped(1, 2, 2, None, False),
        swapped(2, 3, 2, None, False),
        saw(3, 8, 9),
    ],
    "one of two compare_and_sets fails": [wrote(1, 0, 1), swapped(1, 2, 2, 9, True), swapped(1, 3, 2, 9, False)],
    "two counts": [call(increment("x", 1), 0, 9, 2), call(increment("x", 1), 0, 9, 1), saw(2, 10, 11)],
    "a lost count did count": [call(increment("x", 1), 0, None), call(increment("x", 1), 2, 3, 2)],
    "a text cannot be counted up": [wrote("a", 0, 1), call(increment("x", 1), 2, 3, None), saw("a", 4, 5)],
    "keys are apart": [wrote(1, 0, 1), call(read("y"), 2, 3, None), call(write("y", 2), 4, 5), saw(1, 6, 7)],
    "overlapping calls in a row": [wrote(1, 0, 3), wrote(2, 2, 6), saw(1, 4, 8), saw(2, 7, 10), saw(2, 9, 12)],
}

BAD = {
    "a stale read behind a write": [wrote(1, 0, 1), wrote(2, 2, 3), saw(1, 4, 5)],
    "an answered write is lost": [wrote(1, 0, 1), saw(None, 2, 3)],
    "a value from nowhere": [wrote(1, 0, 1), saw(2, 2, 3)],
    "a value before its write": [saw(1, 0, 1), wrote(1, 2, 3)],
    "a read goes back": [wrote(1, 0, 1), wrote(2, 2, 20), saw(2, 3, 4), saw(1, 5, 6)],
    "reads see two orders": [
        *(wrote(1, 0, 9), wrote(2, 0, 9)),
        *(saw(1, 10, 11), saw(2, 12, 13)),
    ],
    "concurrent reads see two orders": [
        *(wrote(1, 0, 9), wrote(2, 0, 9)),
        *(saw(1, 1, 2), saw(2, 3, 4)),
        *(saw(2, 1, 2), saw(1, 5, 6)),
    ],
    "a lost update": [call(increment("x", 1), 0, 9, 1), call(increment("x", 1), 0, 9, 1)],
    "a count applied twice": [call(increment("x", 1), 0, 1, 1), saw(2, 2, 3)],
    "a compare_and_set succeeds twice": [wrote(1, 0, 1), swapped(1, 2, 2, 9, True), swapped(1, 3, 2, 9, True)],
    "a compare_and_set fails for no reason": [wrote(1, 0, 1), swapped(1, 2, 2, 3, False), saw(1, 4, 5)],
    "a failed compare_and_set took effect": [wrote(1, 0, 1), swapped(2, 3, 2, 3, False), saw(3, 4, 5)],
    "a lost write is seen, then not": [wrote(1, 0, 1), wrote(2, 2, None), saw(2, 3, 4), saw(1, 5, 6)],
    "a lost write is seen twice": [
        *(wrote(2, 0, None), saw(2, 2, 3), wrote(1, 4, 5)),
        *(saw(1, 6, 7), saw(2, 8, 9)),
    ],
    "a lost write is seen too soon": [saw(1, 0, 1), wrote(1, 2, None)],
    "one lost compare_and_set cannot make two steps": [wrote(1, 0, 1), swapped(1, 2, 2, None, False), saw(3, 8, 9)],
    "the second key": [wrote(1, 0, 1), saw(1, 2, 3), call(write("y", 2), 4, 5), call(read("y"), 6, 7, 3)],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_history_is_linearizable(name: str) -> None:
    verdict = check(GOOD[name])
    assert (verdict.outcome, verdict.explanation) == ("linearizable", "")


@pytest.mark.parametrize("name", BAD)
def test_a_bad_history_is_not_linearizable(name: str) -> None:
    assert check(BAD[name]).outcome == "not linearizable"


def test_an_explanation_names_the_key_and_the_first_answer_that_nothing_explains() -> None:
    history = [wrote(1, 0, 1), wrote(2, 2, 3), wrote(9, 2, None), saw(1, 4, 5), saw(1, 6, 7), saw(2, 8, 9)]
    assert check([*history, call(read("y"), 0, 1, None)]).explanation.splitlines() == [
        "key 'x': no order explains the answer at 5 of",
        "[4, 5] c: read -> 1",
        "concurrent were",
        "[2, ...] c: write 9 -> no answer",
        "and before came 2, the last of them",
        "[0, 1] c: write 1 -> True",
        "[2, 3] c: write 2 -> True",
    ]


def test_a_search_that_is_given_up_is_undecided_and_says_so() -> None:
    history = [*(wrote(value, 0, 99) for value in range(12)), saw(-1, 100, 101)]
    verdict = check(history, max_states=100)
    assert verdict.outcome == "undecided"
    assert verdict.explanation == "key 'x': 13 calls, gave up after 100 states"


def test_a_key_that_is_wrong_counts_more_than_one_that_is_undecided() -> None:
    history = [*(wrote(value, 0, 99) for value in range(12)), saw(-1, 100, 101), call(read("y"), 0, 1, 1)]
    assert check(history, max_states=100).outcome == "not linearizable"


# --- histories with an order in them

OPERATIONS = st.one_of(
    st.just(read("x")),
    st.builds(write, st.just("x"), st.integers(1, 3)),
    st.builds(compare_and_set, st.just("x"), st.sampled_from([None, 1, 2, 3]), st.integers(1, 3)),
    st.builds(increment, st.just("x"), st.integers(1, 2)),
)
FATES = st.sampled_from(["answered", "answered", "answered", "lost", "never"])


def history_of(steps: list[tuple[Operation, int, int, str]], value: Value | None = None) -> list[Call]:
    """Operations that took effect at 10, 20, ... and whose intervals reach so far before and behind that moment."""
    calls = []
    for moment, (operation, before, behind, fate) in enumerate(steps, start=1):
        if fate == "never":
            calls.append(call(operation, moment * 10 - before, None))
            continue
        value, result = outcome(operation.kind, value, operation.operand, operation.new)
        calls.append(
            call(operation, moment * 10 - before, moment * 10 + behind if fate == "answered" else None, result)
        )
    return calls


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(OPERATIONS, st.integers(0, 60), st.integers(0, 60), FATES), max_size=60), st.randoms())
def test_a_history_that_really_happened_in_some_order_is_linearizable(steps, rng) -> None:
    history = history_of(steps)
    rng.shuffle(history)
    assert check(history).outcome == "linearizable"


def has_an_order(history: list[Call]) -> bool:
    """The definition itself: some calls without an answer left out, all orders of the others tried."""
    answered = [one for one in history if one.answered_at is not None]
    lost = [one for one in history if one.answered_at is None]
    return any(
        explains(order)
        for size in range(len(lost) + 1)
        for chosen in itertools.combinations(lost, size)
        for order in itertools.permutations([*answered, *chosen])
    )


def explains(order: tuple[Call, ...]) -> bool:
    """Whether it keeps to real time and to the specification."""
    value: Value | None = None
    for place, one in enumerate(order):
        if any(later.answered_at is not None and later.answered_at < one.invoked_at for later in order[place + 1 :]):
            return False
        operation = one.operation
        value, result = outcome(operation.kind, value, operation.operand, operation.new)
        if one.answered_at is not None and result != one.result:
            return False
    return True


RESULTS = st.sampled_from([None, 1, 2, 3])
CALLS = st.one_of(
    st.builds(saw, RESULTS, st.integers(0, 9), st.integers(10, 14)),
    st.builds(wrote, st.integers(1, 3), st.integers(0, 9), st.one_of(st.none(), st.integers(10, 14))),
    st.builds(
        swapped, RESULTS, st.integers(1, 3), st.integers(0, 9), st.one_of(st.none(), st.integers(10, 14)), st.booleans()
    ),
    st.builds(
        call,
        st.just(increment("x", 1)),
        st.integers(0, 9),
        st.one_of(st.none(), st.integers(10, 14)),
        st.integers(1, 4),
    ),
)


def squeezed(history: list[Call], width: int) -> list[Call]:
    """The same calls with shorter intervals, so that more of them come one after the other."""
    return [
        Call(one.client, one.operation, one.invoked_at, one.answered_at and one.invoked_at + width, one.result)
        for one in history
    ]


@settings(max_examples=400, deadline=None)
@given(st.lists(CALLS, max_size=6), st.integers(0, 12))
def test_the_verdict_is_that_of_a_search_through_all_orders(history, width) -> None:
    history = squeezed(history, width)
    assert (check(history).outcome == "linearizable") == has_an_order(history)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(OPERATIONS, st.integers(0, 25), st.integers(0, 25), FATES), min_size=1, max_size=6),
    st.integers(0, 5),
    RESULTS,
)
def test_one_wrong_answer_gets_the_verdict_of_a_search_through_all_orders(steps, place, result) -> None:
    history = history_of(steps)
    one = history[place % len(history)]
    wrong = Call(one.client, one.operation, one.invoked_at, one.answered_at, result)
    history[place % len(history)] = wrong
    assert (check(history).outcome == "linearizable") == has_an_order(history)


def test_long_histories_with_many_lost_calls_are_decided() -> None:
    rng = random.Random(3)
    steps = []
    for number in range(300):
        operation = rng.choice([read("x"), read("x"), write("x", number), compare_and_set("x", number - 1, -number)])
        steps.append(
            (operation, rng.randint(0, 60), rng.randint(0, 60), rng.choice(["answered"] * 8 + ["lost", "never"]))
        )
    history = history_of(steps)
    assert check(history).outcome == "linearizable"
    last_read = max(place for place, one in enumerate(history) if one.operation == read("x") and one.answered_at)
    stale = history[last_read]
    history[last_read] = Call(stale.client, stale.operation, stale.invoked_at, stale.answered_at, 0)
    assert check(history).outcome == "not linearizable"
