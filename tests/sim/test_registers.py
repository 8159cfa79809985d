"""The registers that simulations and benchmarks replicate: executed exactly once, captured and restored to the byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raftgossip.core.raft.state_machine import StateMachine
from raftgossip.core.sessions import MAX_REMEMBERED
from raftgossip.ids import LogIndex
from raftgossip.sim.registers import (
    Answer,
    Command,
    Executions,
    Operation,
    RegisterMachine,
    compare_and_set,
    increment,
    outcome,
    read,
    write,
)


class Log:
    """A machine, and what appends commands to its log."""

    def __init__(self) -> None:
        self.machine = RegisterMachine()
        self._index = 0

    def append(self, data: bytes) -> Answer:
        """The next entry."""
        self._index += 1
        answer, facts = self.machine.apply(LogIndex(self._index), data)
        assert facts == ()
        return answer

    def do(self, operation: Operation, sequence: int, first_unanswered: int = 1, client: str = "a") -> Answer:
        """The next entry, a command."""
        return self.append(Command(client, sequence, first_unanswered, operation).encode())


def executed(result: object) -> Answer:
    """The answer of a command that made sense."""
    assert result is None or isinstance(result, (bool, int, str))
    return Answer("executed", result)


# --- operations


def test_it_is_a_state_machine() -> None:
    machine: StateMachine[Answer] = RegisterMachine()
    machine.restore(machine.capture()())()


def test_a_register_holds_what_was_written_last() -> None:
    log = Log()
    assert log.machine.read("x") is None
    assert log.do(write("x", 1), 1) == executed(True)
    assert log.do(write("x", "text"), 2) == executed(True)
    assert (log.machine.read("x"), log.machine.read("y")) == ("text", None)


def test_a_read_through_the_log_gets_the_value() -> None:
    log = Log()
    assert log.do(read("x"), 1) == executed(None)
    log.do(write("x", -5), 2)
    assert log.do(read("x"), 3) == executed(-5)


def test_compare_and_set_replaces_only_what_it_expects() -> None:
    log = Log()
    assert log.do(compare_and_set("x", 1, 2), 1) == executed(False)
    assert log.do(compare_and_set("x", None, 1), 2) == executed(True)
    assert log.do(compare_and_set("x", None, 2), 3) == executed(False)
    assert log.do(compare_and_set("x", "1", 2), 4) == executed(False)
    assert log.do(compare_and_set("x", 1, "b"), 5) == executed(True)
    assert log.machine.read("x") == "b"


def test_increment_counts_from_zero_and_leaves_texts_alone() -> None:
    log = Log()
    assert log.do(increment("x", 5), 1) == executed(5)
    assert log.do(increment("x", -7), 2) == executed(-2)
    log.do(write("x", "text"), 3)
    assert log.do(increment("x", 1), 4) == executed(None)
    assert log.machine.read("x") == "text"


# --- exactly once


def test_a_repeated_command_gets_its_first_answer_and_has_no_effect() -> None:
    log = Log()
    log.do(increment("x", 1), 1)
    log.do(increment("x", 1), 2)
    assert log.do(increment("x", 1), 1) == executed(1)
    assert log.machine.read("x") == 2
    assert [log.machine.num_executions("a", sequence) for sequence in (1, 2, 3)] == [1, 1, 0]
    log.machine.check_invariants()


def test_a_command_that_its_client_gave_up_is_not_executed_any_more() -> None:
    log = Log()
    log.do(increment("x", 1), 2, first_unanswered=2)
    assert log.do(increment("x", 1), 1) == Answer("too_late")
    assert (log.machine.read("x"), log.machine.num_executions("a", 1)) == (1, 0)


def test_clients_do_not_share_sequences() -> None:
    log = Log()
    log.do(increment("x", 1), 1, client="a")
    assert log.do(increment("x", 1), 1, client="b") == executed(2)


def test_an_entry_that_is_applied_again_is_our_own_fault() -> None:
    log = Log()
    data = Command("a", 1, 1, write("x", 1)).encode()
    log.machine.apply(LogIndex(7), data)
    assert log.machine.applied_index == 7
    with pytest.raises(AssertionError, match="entry 7 is applied behind entry 7"):
        log.machine.apply(LogIndex(7), data)


def test_an_execution_that_the_sessions_let_through_twice_is_found() -> None:
    log = Log()
    log.do(write("x", 1), 1)
    log.machine._state.sessions.__init__()  # type: ignore[misc] # the fault: the client's session is forgotten
    log.do(write("x", 1), 1)
    assert log.machine.num_executions("a", 1) == 2
    with pytest.raises(AssertionError, match="executed more than once"):
        log.machine.check_invariants()
    restored = RegisterMachine()
    restored.restore(log.machine.capture()())()
    assert restored.num_executions("a", 1) == 2


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 12))))
def test_executions_are_counted_in_any_order(stamps) -> None:
    executions = Executions()
    for stamp in stamps:
        executions.add(*stamp)
    for client in "abc":
        for sequence in range(14):
            assert executions.count(client, sequence) == stamps.count((client, sequence))
    if len(set(stamps)) == len(stamps):
        executions.check_invariants()


# --- commands as bytes

TEXTS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=8)
VALUES = st.one_of(st.integers(-(10**20) + 1, 10**20 - 1), TEXTS)
OPERATIONS = st.one_of(
    st.builds(read, TEXTS),
    st.builds(write, TEXTS, VALUES),
    st.builds(compare_and_set, TEXTS, st.one_of(st.none(), VALUES), VALUES),
    st.builds(increment, TEXTS, st.integers(-(10**20) + 1, 10**20 - 1)),
)


@settings(max_examples=300, deadline=None)
@given(TEXTS, st.integers(1, (1 << 64) - 1), OPERATIONS, st.integers(0, 300))
def test_a_command_arrives_as_it_was_sent_whatever_its_padding(client, sequence, operation, min_bytes) -> None:
    data = Command(client, sequence, 1, operation).encode(min_bytes)
    assert len(data) >= min_bytes
    log = Log()
    log.do(write(operation.key, 7), 1, client=client + "'")
    assert log.append(data) == executed(outcome(operation.kind, 7, operation.operand, operation.new)[1])
    assert log.machine.read(operation.key) == outcome(operation.kind, 7, operation.operand, operation.new)[0]
    assert log.machine.num_executions(client, sequence) == 1


def test_a_benchmark_can_ask_for_commands_of_256_bytes() -> None:
    assert len(Command("client-17", 100_000, 99_990, write("key-3", 100_000)).encode(256)) == 256


@pytest.mark.parametrize(
    "command",
    [
        Command("a\0", 1, 1, write("x", 1)),
        Command("a", 1, 1, write("x", "\0")),
        Command("a", -1, 1, write("x", 1)),
        Command("a", 1, 1 << 64, write("x", 1)),
        Command("a", 1, 1, write("x", 10**20)),
        Command("a", 1, 1, write("\ud800", 1)),
    ],
)
def test_a_command_that_does_not_fit_is_not_encoded(command: Command) -> None:
    with pytest.raises(ValueError, match=r"a command|surrogates"):
        command.encode()


GOOD = Command("a", 1, 1, write("x", "v")).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 40,
        GOOD[:-1],
        b"z" + GOOD[1:],
        GOOD.replace(b"x", b"\xff"),
        GOOD.replace(b"sv", b"zv"),
        GOOD.replace(b"sv", b"iv"),
        GOOD.replace(b"\0sv", b"sv\0"),
        Command("a", 1, 1, Operation("write", "x")).encode(),
        Command("a", 1, 1, Operation("increment", "x", "1")).encode(),
        Command("a", 1, 1, Operation("compare_and_set", "x", 1)).encode(),
    ],
)
def test_junk_is_answered_as_junk_and_changes_nothing(data: bytes) -> None:
    log = Log()
    assert log.append(data) == Answer("junk")
    assert log.append(GOOD) == executed(True)
    assert log.machine.num_executions("a", 1) == 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80))
def test_no_bytes_make_apply_raise(data) -> None:
    log = Log()
    log.append(data)
    log.append(GOOD[:1] + data)
    log.machine.check_invariants()


# --- capture and restore

STEPS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 8), st.integers(0, 4), OPERATIONS, st.booleans()), max_size=30
)


def run(log: Log, steps: list[tuple[str, int, int, Operation, bool]]) -> list[Answer]:
    """Append these commands, some of them as junk."""
    return [
        log.append(b"junk" if is_junk else Command(client, sequence, floor, operation).encode())
        for client, sequence, floor, operation, is_junk in steps
    ]


@settings(max_examples=200, deadline=None)
@given(STEPS, STEPS)
def test_a_restored_machine_goes_on_as_the_captured_one(early, late) -> None:
    first, second = Log(), Log()
    run(first, early)
    state = first.machine.capture()()
    second.machine.restore(state)()
    second._index = first._index
    assert second.machine.capture()() == state
    assert run(first, late) == run(second, late)
    assert first.machine.capture()() == second.machine.capture()()
    second.machine.check_invariants()


def test_what_is_applied_after_a_capture_is_not_in_it() -> None:
    log = Log()
    log.do(write("x", 1), 1)
    encode = log.machine.capture()
    log.do(write("x", 2), 2)
    log.do(write("y", 2), 3)
    log.do(write("y", 2), 1, client="b")
    restored = RegisterMachine()
    restored.restore(encode())()
    assert (restored.read("x"), restored.read("y"), restored.applied_index) == (1, None, 1)
    assert (restored.num_executions("a", 2), restored.num_executions("b", 1)) == (0, 0)


def test_registers_are_captured_in_the_order_of_their_keys() -> None:
    states = []
    for keys in ("xy", "yx"):
        log = Log()
        for key in keys:
            log.do(write(key, 1), 1, client=key)
        states.append(json.loads(log.machine.capture()()))
    assert states[0].pop("sessions") != states[1].pop("sessions")
    assert json.dumps(states[0]) == json.dumps(states[1])


def test_nothing_is_restored_before_it_is_installed() -> None:
    other, log = Log(), Log()
    other.do(write("x", 1), 1)
    install = log.machine.restore(other.machine.capture()())
    assert log.machine.read("x") is None
    assert install() == ()
    assert log.machine.read("x") == 1


def state_with(**parts: object) -> bytes:
    """A captured state with some parts replaced."""
    log = Log()
    log.do(write("x", 1), 1)
    log.do(read("x"), 2)
    return json.dumps(json.loads(log.machine.capture()()) | parts).encode()


def test_the_state_without_replaced_parts_is_a_good_one() -> None:
    machine = RegisterMachine()
    machine.restore(state_with())()
    assert machine.read("x") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{}",
        b"[" * 100_000,
        b"NaN",
        state_with()[:-1],
        state_with() + b"x",
        state_with(applied_index=True),
        state_with(applied_index=-1),
        state_with(registers=[]),
        state_with(registers={"x": None}),
        state_with(registers={"x": True}),
        state_with(registers={"x": 1.5}),
        state_with(sessions=[["a", 0, []]]),
        state_with(sessions=[["a", 1]]),
        state_with(sessions=[["a", 5, [[4, True]]]]),
        state_with(sessions=[["a", 1, [[4, 1.5]]]]),
        state_with(sessions=[["a", 1, [[4, []]]]]),
        state_with(sessions=[["a", 1, [[number, True] for number in range(1, MAX_REMEMBERED + 2)]]]),
        state_with(sessions=[["a", 1, []], ["a", 1, []]]),
        state_with(executions={"spans": {"a": [[1]]}, "repeats": []}),
        state_with(executions={"spans": {"a": 1}, "repeats": []}),
        state_with(executions={"spans": {"a": [[3, 3]]}, "repeats": []}),
        state_with(executions={"spans": {"a": [[3, 4], [1, 2]]}, "repeats": []}),
        state_with(executions={"spans": {}, "repeats": [["a", 1, 0]]}),
        state_with(executions={"spans": {}}),
    ],
)
def test_a_malformed_state_is_refused_and_changes_nothing(data: bytes) -> None:
    log = Log()
    log.do(write("x", "mine"), 1)
    before = log.machine.capture()()
    with pytest.raises(ValueError, match="no captured registers"):
        log.machine.restore(data)
    assert log.machine.capture()() == before


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 200))
def test_only_a_value_error_comes_of_any_bytes(data, place) -> None:
    state = state_with()
    for bad in (data, state[:place] + data + state[place + 1 :]):
        try:
            RegisterMachine().restore(bad)
        except ValueError:
            continue
