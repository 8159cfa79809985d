"""Sessions: a command is applied exactly once, however often it is repeated and whatever was forgotten meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.core import sessions as sessions_module
from raftgossip.core.sessions import MAX_REMEMBERED, MAX_SESSIONS, Once, Sessions, SessionState


class Recorder:
    """Sessions, and the commands that they let through."""

    def __init__(self, sessions: Sessions[str] | None = None) -> None:
        self.sessions: Sessions[str] = sessions if sessions is not None else Sessions()
        self.applied: list[tuple[str, int]] = []

    def once(self, sequence: int, first_unanswered: int = 1, client: str = "a") -> Once[str]:
        """Offer a command; its answer tells how many were applied before it."""
        outcome = self.sessions.once(client, sequence, first_unanswered, self._apply(client, sequence))
        self.sessions.check_invariants()
        return outcome

    def _apply(self, client: str, sequence: int) -> Callable[[], str]:
        def apply() -> str:
            self.applied.append((client, sequence))
            return f"answer {len(self.applied)}"

        return apply


def test_a_new_command_is_applied() -> None:
    recorder = Recorder()
    assert recorder.once(1) == Once("answer 1", is_new=True)
    assert recorder.applied == [("a", 1)]


def test_a_repeated_command_gets_its_first_answer_and_is_not_applied() -> None:
    recorder = Recorder()
    recorder.once(1)
    recorder.once(2)
    assert recorder.once(1) == Once("answer 1", is_new=False)
    assert recorder.once(2) == Once("answer 2", is_new=False)
    assert recorder.applied == [("a", 1), ("a", 2)]


def test_commands_may_come_out_of_order_and_with_gaps() -> None:
    recorder = Recorder()
    for sequence in (5, 2, 9):
        assert recorder.once(sequence).is_new
    assert recorder.applied == [("a", 5), ("a", 2), ("a", 9)]


def test_clients_do_not_share_sequences() -> None:
    recorder = Recorder()
    recorder.once(1, client="a")
    assert recorder.once(1, client="b") == Once("answer 2", is_new=True)


def test_an_answer_is_remembered_until_its_client_has_it() -> None:
    recorder = Recorder()
    recorder.once(1)
    recorder.once(2, first_unanswered=1)
    assert recorder.once(1).result == "answer 1"
    recorder.once(3, first_unanswered=2)
    assert recorder.once(1) == Once(None, is_new=False)
    assert recorder.once(2).result == "answer 2"


def test_a_command_below_the_floor_is_never_applied_though_it_is_unknown() -> None:
    recorder = Recorder()
    recorder.once(5, first_unanswered=5)
    assert recorder.once(4) == Once(None, is_new=False)
    assert recorder.applied == [("a", 5)]


def test_a_command_that_its_own_client_waits_for_no_longer_is_not_applied() -> None:
    recorder = Recorder()
    assert recorder.once(1, first_unanswered=2) == Once(None, is_new=False)
    assert recorder.applied == []


def test_a_floor_never_falls() -> None:
    recorder = Recorder()
    assert recorder.sessions.floor("a") == 1
    recorder.once(7, first_unanswered=5)
    recorder.once(8, first_unanswered=2)
    assert (recorder.sessions.floor("a"), recorder.sessions.floor("b")) == (5, 1)


def test_asking_for_a_floor_makes_no_session() -> None:
    recorder = Recorder()
    recorder.sessions.floor("a")
    assert recorder.sessions.states() == ()


def test_a_result_that_is_false_is_remembered_too() -> None:
    sessions: Sessions[int] = Sessions()
    sessions.once("a", 1, 1, lambda: 0)
    assert sessions.once("a", 1, 1, lambda: 1) == Once(0, is_new=False)


def test_a_client_that_never_moves_on_keeps_a_bounded_number_of_answers() -> None:
    recorder = Recorder()
    for sequence in range(1, MAX_REMEMBERED + 1):
        recorder.once(sequence)
    assert recorder.once(1).result == "answer 1"
    recorder.once(MAX_REMEMBERED + 1)
    assert recorder.sessions.floor("a") == 2
    assert recorder.once(1) == Once(None, is_new=False)
    assert recorder.once(2).result == "answer 2"
    assert len(recorder.applied) == MAX_REMEMBERED + 1


def test_the_lowest_answer_is_forgotten_first_not_the_oldest() -> None:
    recorder = Recorder()
    for sequence in range(MAX_REMEMBERED + 1, 1, -1):
        recorder.once(sequence)
    assert recorder.once(1).is_new
    assert recorder.once(1) == Once(None, is_new=False)
    assert recorder.once(2).result == f"answer {MAX_REMEMBERED}"
    assert recorder.once(MAX_REMEMBERED + 1).result == "answer 1"


def test_the_client_that_was_silent_longest_is_forgotten_first() -> None:
    recorder = Recorder()
    for number in range(MAX_SESSIONS):
        recorder.sessions.once(f"c{number}", 1, 1, lambda: "first")
    recorder.once(1, client="c0")  # a repeated command counts as a sign of life
    recorder.once(1, client="new")
    assert recorder.once(1, client="c0").result == "first"
    assert recorder.once(1, client="c1").is_new
    assert len(recorder.sessions.states()) == MAX_SESSIONS
    assert recorder.sessions.states()[0].client == "c3"


# --- as a part of a snapshot


def test_states_name_the_client_that_was_silent_longest_first_and_answers_as_applied() -> None:
    recorder = Recorder()
    recorder.once(3, client="b")
    recorder.once(2, client="a", first_unanswered=2)
    recorder.once(1, client="b")
    assert recorder.sessions.states() == (
        SessionState("a", 2, ((2, "answer 2"),)),
        SessionState("b", 1, ((3, "answer 1"), (1, "answer 3"))),
    )


def test_states_do_not_change_with_what_comes_after_them() -> None:
    recorder = Recorder()
    recorder.once(1)
    states = recorder.sessions.states()
    recorder.once(2, first_unanswered=2)
    recorder.once(1, client="b")
    assert states == (SessionState("a", 1, ((1, "answer 1"),)),)


def test_a_command_that_is_repeated_across_a_snapshot_is_not_applied_again() -> None:
    before = Recorder()
    before.once(1)
    before.once(4, first_unanswered=3, client="b")
    after = Recorder(Sessions(before.sessions.states()))
    assert after.once(1) == Once("answer 1", is_new=False)
    assert after.once(2, client="b") == Once(None, is_new=False)
    assert after.applied == []
    assert after.sessions.floor("b") == 3


def test_who_is_forgotten_next_does_not_depend_on_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 2)
    before = Recorder()
    for client in "aba":
        before.once(1, client=client)
    after = Recorder(Sessions(before.sessions.states()))
    for recorder in (before, after):
        recorder.once(1, client="c")
        assert [state.client for state in recorder.sessions.states()] == ["a", "c"]


@pytest.mark.parametrize(
    "states",
    [
        [SessionState("a", 3, ((2, "answer"),))],
        [SessionState("a", 1, tuple((sequence, "answer") for sequence in range(1, MAX_REMEMBERED + 2)))],
        [SessionState(f"c{number}", 1, ()) for number in range(MAX_SESSIONS + 1)],
    ],
)
def test_states_that_break_the_limits_are_found(states: list[SessionState[str]]) -> None:
    with pytest.raises(AssertionError):
        Sessions(states).check_invariants()


# --- against a model that never forgets anything but what it is told

OFFERS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 8), st.integers(0, 6)), max_size=60)


class Model:
    """All answers ever given, and how far each client has come."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, int], str] = {}
        self.floors: dict[str, int] = {}

    def expected(self, client: str, sequence: int, first_unanswered: int) -> tuple[str | None, bool]:
        """The remembered answer, and whether the command must be applied."""
        floor = self.floors[client] = max(self.floors.get(client, 1), first_unanswered)
        if sequence < floor:
            return None, False
        return self.answers.get((client, sequence)), (client, sequence) not in self.answers


@settings(max_examples=300, deadline=None)
@given(OFFERS, st.integers(0, 60))
def test_sessions_behave_as_a_memory_of_everything_also_across_a_snapshot(offers, snapshot_after) -> None:
    recorder, model = Recorder(), Model()
    for place, (client, sequence, first_unanswered) in enumerate(offers):
        if place == snapshot_after:
            recorder.sessions = Sessions(recorder.sessions.states())
        answer, is_new = model.expected(client, sequence, first_unanswered)
        outcome = recorder.once(sequence, first_unanswered, client)
        assert outcome.is_new == is_new
        if is_new:
            assert outcome.result is not None
            model.answers[client, sequence] = outcome.result
        else:
            assert outcome.result == answer
        assert recorder.sessions.floor(client) == model.floors[client]
    assert len(set(recorder.applied)) == len(recorder.applied)


@settings(max_examples=100, deadline=None)
@given(OFFERS)
def test_equal_logs_give_equal_states(offers) -> None:
    first, second = Recorder(), Recorder()
    for client, sequence, first_unanswered in offers:
        assert first.once(sequence, first_unanswered, client) == second.once(sequence, first_unanswered, client)
    assert first.sessions.states() == second.sessions.states() == Sessions(first.sessions.states()).states()
