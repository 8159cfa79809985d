"""A state machine for simulations, tests and benchmarks of Raft: registers that are written, compared and counted up.

`outcome` is the sequential specification of one register; the machine executes it, and `sim/linearizability.py` judges
recorded answers by it. Commands are stamped by their clients and executed exactly once (`core/sessions.py`); what was
really executed is recorded apart from the sessions, so that a test need not believe them.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NoReturn

from raftgossip.core.sessions import MAX_REMEMBERED, MAX_SESSIONS, Sessions, SessionState
from raftgossip.ids import LogIndex

MAX_DIGITS = 20
"""Of an integer in a command, with its sign."""

Value = int | str
"""What a register holds once it was written."""
Result = Value | bool | None
"""Read: the value, None before the first write. Write and compare_and_set: whether it took effect. Increment: the new
value, None if the register holds a text."""
Kind = Literal["read", "write", "compare_and_set", "increment"]
Status = Literal["executed", "too_late", "junk"]

_HEADER = struct.Struct(">BQQI")
"""Kind, sequence, first_unanswered, and the bytes of what follows: client, key, operand and new with NULs between them.
Then padding."""
_KINDS: dict[int, Kind] = {ord("r"): "read", ord("w"): "write", ord("c"): "compare_and_set", ord("i"): "increment"}
_CODES = {kind: code for code, kind in _KINDS.items()}
_Fields = tuple[str, int, int, Kind, str, Value | None, Value | None]
"""A command without its classes, whose making would cost more than everything else: client, sequence, first_unanswered,
kind, key, operand, new."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a client wants of one register; made by the four functions below."""

    kind: Kind
    key: str
    operand: Value | None = None
    """Written, expected (None: that it was never written) or added."""
    new: Value | None = None
    """Written by a compare_and_set that found what it expected."""


def read(key: str) -> Operation:
    """Ask for the value, through the log."""
    return Operation("read", key)


def write(key: str, value: Value) -> Operation:
    """Replace the value."""
    return Operation("write", key, value)


def compare_and_set(key: str, expected: Value | None, new: Value) -> Operation:
    """Replace the value if it is `expected`; None: if the register was never written."""
    return Operation("compare_and_set", key, expected, new)


def increment(key: str, amount: int) -> Operation:
    """Add to the value; a register that was never written counts from 0, one that holds a text stays."""
    return Operation("increment", key, amount)


def outcome(kind: Kind, value: Value | None, operand: Value | None, new: Value | None) -> tuple[Value | None, Result]:
    """The sequential specification: a register's value before the operation -> its value behind it, and the result."""
    if kind == "write":
        return operand, True
    if kind == "read":
        return value, value
    if kind == "compare_and_set":
        return (new, True) if value == operand else (value, False)
    if isinstance(value, str) or not isinstance(operand, int):
        return value, None
    total = (value or 0) + operand
    return total, total


@dataclass(frozen=True, slots=True)
class Command:
    """An operation with its client's stamp: see `Sessions.once`."""

    client: str
    sequence: int
    first_unanswered: int
    operation: Operation

    def encode(self, min_bytes: int = 0) -> bytes:
        """The entry data, padded with zeros to `min_bytes`.

        Raises:
            ValueError: a text holds a NUL, or a number is too long.
        """
        operation = self.operation
        texts = (self.client, operation.key, _value_text(operation.operand), _value_text(operation.new))
        numbers = (self.sequence, self.first_unanswered)
        if any("\0" in text for text in texts) or not all(0 <= number < 1 << 64 for number in numbers):
            raise ValueError(f"a command has texts without NUL and stamps of 64 bits, not {self}")
        body = "\0".join(texts).encode()
        header = _HEADER.pack(_CODES[operation.kind], *numbers, len(body))
        return (header + body).ljust(min_bytes, b"\0")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a command. `too_late`: its client had said that it waits for it no longer, and it has no effect.
    `junk`: the bytes are no command."""

    status: Status
    result: Result = None


_TOO_LATE = Answer("too_late")
_JUNK = Answer("junk")
_YES = Answer("executed", True)
_NO = Answer("executed", False)


class RegisterMachine:
    """Registers by key, a `StateMachine`. Invariant: no command was executed twice."""

    def __init__(self) -> None:
        self._state = _State()

    def read(self, key: str) -> Value | None:
        """The value now; None: never written."""
        return self._state.registers.get(key)

    @property
    def applied_index(self) -> LogIndex:
        """Of the newest command."""
        return LogIndex(self._state.applied_index)

    def num_executions(self, client: str, sequence: int) -> int:
        """How often this command was executed since the beginning of the log."""
        return self._state.executions.count(client, sequence)

    def apply(self, index: LogIndex, data: bytes) -> tuple[Answer, tuple[()]]:
        """Take the command at `index`; a repeated one gets its first answer and has no effect."""
        state = self._state
        assert index > state.applied_index, f"entry {index} is applied behind entry {state.applied_index}"
        state.applied_index = index
        fields = _parse(data)
        if fields is None:
            return _JUNK, ()
        once = state.sessions.once(*fields[:3], lambda: state.execute(fields))
        return (once.result if once.result is not None else _TOO_LATE), ()

    def capture(self) -> Callable[[], bytes]:
        """Copy the references to every value, in a time that grows with their number; the function encodes them."""
        state = self._state
        copy = _State(dict(state.registers), state.sessions, state.executions.copy(), state.applied_index)
        sessions = state.sessions.states()
        return lambda: _encode_state(copy, sessions)

    def restore(self, data: bytes) -> Callable[[], tuple[()]]:
        """Decode a captured state; the function puts it in place.

        Raises:
            ValueError: the bytes are no such state; nothing changed.
        """
        state = _decode_state(data)

        def install() -> tuple[()]:
            self._state = state
            return ()

        return install

    def check_invariants(self) -> None:
        """Assert what the classes promise; for tests and the simulator."""
        self._state.sessions.check_invariants()
        self._state.executions.check_invariants()


class Executions:
    """How often each command was really executed.

    Spans of sequences without a gap are kept as one, so a client costs as much as it left gaps; but nothing is ever
    forgotten. That is good enough for simulations and benchmarks, and for nothing else.
    """

    def __init__(self) -> None:
        self._spans: dict[str, list[list[int]]] = {}
        """By client, sorted half-open spans that do not touch each other."""
        self._repeats: dict[tuple[str, int], int] = {}
        """Executions after the first."""

    def add(self, client: str, sequence: int) -> None:
        """It was executed now."""
        spans = self._spans.setdefault(client, [])
        if spans and spans[-1][1] == sequence:  # the usual case, in constant time
            spans[-1][1] += 1
            return
        place = bisect_right(spans, sequence, key=_span_start)
        before = spans[place - 1] if place else [-1, -1]
        after = spans[place] if place < len(spans) else [-1, -1]
        if sequence < before[1]:
            self._repeats[client, sequence] = self._repeats.get((client, sequence), 0) + 1
        elif sequence == before[1] and sequence + 1 == after[0]:
            before[1] = after[1]
            del spans[place]
        elif sequence == before[1]:
            before[1] += 1
        elif sequence + 1 == after[0]:
            after[0] = sequence
        else:
            spans.insert(place, [sequence, sequence + 1])

    def count(self, client: str, sequence: int) -> int:
        """How often it was executed."""
        spans = self._spans.get(client, [])
        place = bisect_right(spans, sequence, key=_span_start)
        is_known = place > 0 and sequence < spans[place - 1][1]
        return is_known + self._repeats.get((client, sequence), 0)

    def copy(self) -> Executions:
        """One that does not change with this one."""
        return Executions.of(self._spans, self._repeats)

    @classmethod
    def of(cls, spans: dict[str, list[list[int]]], repeats: dict[tuple[str, int], int]) -> Executions:
        """Made of copies of these."""
        made = cls()
        made._spans = {client: [list(span) for span in mine] for client, mine in spans.items()}
        made._repeats = dict(repeats)
        return made

    def document(self) -> dict[str, object]:
        """Everything, for JSON; equal executions give equal documents."""
        repeats = [[client, sequence, count] for (client, sequence), count in sorted(self._repeats.items())]
        return {"spans": self._spans, "repeats": repeats}

    def check_invariants(self) -> None:
        """Assert that nothing was executed twice, and what the fields promise."""
        assert not self._repeats, f"executed more than once: {self._repeats}"
        for spans in self._spans.values():
            assert _are_rising(spans), f"spans that touch or overlap: {spans}"


@dataclass(slots=True)
class _State:
    """A function of the applied commands alone."""

    registers: dict[str, Value] = field(default_factory=dict)
    sessions: Sessions[Answer] = field(default_factory=Sessions)
    executions: Executions = field(default_factory=Executions)
    applied_index: int = 0

    def execute(self, fields: _Fields) -> Answer:
        """Do what a command asks for."""
        client, sequence, _, kind, key, operand, new = fields
        self.executions.add(client, sequence)
        value, result = outcome(kind, self.registers.get(key), operand, new)
        if value is not None:
            self.registers[key] = value
        if result is True:
            return _YES
        return _NO if result is False else Answer("executed", result)


# --- commands


def _span_start(span: list[int]) -> int:
    return span[0]


def _are_rising(spans: Iterable[list[int]]) -> bool:
    """Whether no span is empty, and a gap lies between any two."""
    return all(first < second for first, second in pairwise(edge for span in spans for edge in span))


def _value_text(value: Value | None) -> str:
    """Nothing for None; else the type's letter and the text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"s{value}"
    if abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"a number in a command has up to {MAX_DIGITS} digits, not {value}")
    return f"i{value:d}"


def _parse_value(text: str) -> Value:
    """What `_value_text` wrote, if it is not empty.

    Raises:
        ValueError: it did not write that.
    """
    if text[0] == "s":
        return text[1:]
    if text[0] != "i" or len(text) > 2 + MAX_DIGITS:
        raise ValueError(f"no value: {text[:40]!r}")
    return int(text[1:])


def _parse(data: bytes) -> _Fields | None:
    """The fields of an encoded command; None: it is none."""
    try:
        code, sequence, first_unanswered, num_bytes = _HEADER.unpack_from(data)
        kind = _KINDS[code]
        stop = _HEADER.size + num_bytes
        client, key, operand_text, new_text = str(data[_HEADER.size : stop], "utf-8").split("\0")
        operand = _parse_value(operand_text) if operand_text else None
        new = _parse_value(new_text) if new_text else None
    except (ValueError, KeyError, struct.error):
        return None
    if len(data) < stop:
        return None
    if kind == "write":
        makes_sense = operand is not None
    elif kind == "increment":
        makes_sense = isinstance(operand, int)
    else:
        makes_sense = kind == "read" or new is not None
    return (client, sequence, first_unanswered, kind, key, operand, new) if makes_sense else None


# --- snapshots: JSON with sorted keys


def _encode_state(state: _State, sessions: Iterable[SessionState[Answer]]) -> bytes:
    document = {
        "applied_index": state.applied_index,
        "executions": state.executions.document(),
        "registers": state.registers,
        "sessions": [
            [mine.client, mine.floor, [[number, answer.result] for number, answer in mine.results]] for mine in sessions
        ],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _decode_state(data: bytes) -> _State:
    try:
        document = json.loads(data.decode(), parse_constant=_refuse_constant)
        match document:
            case {
                "applied_index": int(applied_index),
                "executions": {"spans": dict(spans), "repeats": list(repeats)},
                "registers": dict(registers),
                "sessions": list(sessions),
            } if len(sessions) <= MAX_SESSIONS:
                return _State(
                    {key: _known_value(value) for key, value in registers.items()},
                    Sessions(_unlike([_session_of(mine) for mine in sessions])),
                    Executions.of(
                        {client: _rising([_span_of(span) for span in mine]) for client, mine in spans.items()},
                        {(client, number): count for client, number, count in map(_repeat_of, repeats)},
                    ),
                    _known_int(applied_index, 0),
                )
    except (ValueError, TypeError, RecursionError) as error:  # TypeError: something is no list
        raise ValueError(f"no captured registers: {error}") from error
    raise ValueError("no captured registers: other parts than there should be")


def _unlike(sessions: list[SessionState[Answer]]) -> list[SessionState[Answer]]:
    if len({mine.client for mine in sessions}) < len(sessions):
        raise ValueError("two sessions of one client")
    return sessions


def _session_of(item: object) -> SessionState[Answer]:
    match item:
        case [str(client), floor, list(results)] if len(results) <= MAX_REMEMBERED:
            least = _known_int(floor, 1)
            return SessionState(client, least, tuple(_result_of(result, least) for result in results))
    raise ValueError(f"no session: {str(item)[:80]}")


def _result_of(item: object, floor: int) -> tuple[int, Answer]:
    match item:
        case [number, (bool() | int() | str() | None) as result]:
            return _known_int(number, floor), Answer("executed", result)
    raise ValueError(f"no answer: {str(item)[:80]}")


def _span_of(item: object) -> list[int]:
    match item:
        case [start, stop]:
            return [_known_int(start, 0), _known_int(stop, 0)]
    raise ValueError(f"no span: {str(item)[:80]}")


def _rising(spans: list[list[int]]) -> list[list[int]]:
    if not _are_rising(spans):
        raise ValueError(f"no spans in order: {str(spans)[:80]}")
    return spans


def _repeat_of(item: object) -> tuple[str, int, int]:
    match item:
        case [str(client), number, count]:
            return client, _known_int(number, 0), _known_int(count, 1)
    raise ValueError(f"no repeat: {str(item)[:80]}")


def _known_int(item: object, least: int) -> int:
    if type(item) is not int or item < least:  # a bool is none
        raise ValueError(f"no number from {least} on: {str(item)[:80]}")
    return item


def _known_value(item: object) -> Value:
    if isinstance(item, bool) or not isinstance(item, (int, str)):
        raise ValueError(f"no value: {str(item)[:80]}")
    return item


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no value")
