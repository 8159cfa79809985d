"""Is there one order of all operations that explains every answer, and in which nothing moves across what ended before?

Wing and Gong 1993, "Testing and verifying concurrent objects": search for such an order, an operation at a time; next
may come any operation that began before each of the remaining ones was answered. Lowe 2017, "Testing for
linearizability": what was tried is remembered by the set of operations that are done and the value that they left.
Registers do not know each other, so each key is judged alone (Herlihy and Wing 1990, theorem 1).

An operation without an answer may have taken effect at any time after its invocation, or never. Such operations are
tried last, and only where they make a difference, since every one that is tried doubles the search:

- one that leaves the value alone could as well have come never;
- so could one before a blind write, which nobody but the writer can tell;
- one before an operation that it does not hinder or help could as well have come after that one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from raftgossip.sim.registers import Operation, Result, Value, outcome

MAX_STATES = 300_000
"""Tried for one key; a search that needs more is given up: some seconds."""
NUM_SHOWN = 4
"""Earlier operations in an explanation."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation as its client saw it."""

    client: str
    operation: Operation
    invoked_at: int
    """Any count that rises with time, such as milliseconds or events."""
    answered_at: int | None
    """None: no answer came, or one that leaves open whether it took effect. Calls that touch each other in one moment
    count as concurrent. A call that certainly had no effect does not belong in a history."""
    result: Result = None
    """As `outcome` of the registers tells it; without meaning while there is no answer."""

    def __str__(self) -> str:
        wanted = self.operation
        words = [str(word) for word in (wanted.operand, wanted.new) if word is not None]
        end = "..." if self.answered_at is None else f"{self.answered_at}"
        answer = "no answer" if self.answered_at is None else f"{self.result!r}"
        return f"[{self.invoked_at}, {end}] {self.client}: {' '.join([wanted.kind, *words])} -> {answer}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`undecided`: the search was given up; the history was too long or had too many calls without an answer, which is
    a fault of the test that made it."""

    outcome: Literal["linearizable", "not linearizable", "undecided"]
    explanation: str = ""
    """Unless linearizable: the key, and the first call whose answer nothing explains with what surrounds it."""


def check(history: Iterable[Call], max_states: int = MAX_STATES) -> Verdict:
    """Judge the calls of all clients, in any order; every register begins as never written."""
    by_key: dict[str, list[Call]] = {}
    for call in history:
        by_key.setdefault(call.operation.key, []).append(call)
    verdict = Verdict("linearizable")
    for key, calls in sorted(by_key.items()):
        is_explained = _is_explained(calls, max_states)
        if is_explained is None:
            verdict = Verdict("undecided", f"key {key!r}: {len(calls)} calls, gave up after {max_states} states")
        elif not is_explained:
            return Verdict("not linearizable", _explain(key, calls, max_states))
    return verdict


# --- the search

_State = tuple[int, int, Value | None, tuple[Value | None] | None]
"""Bits of the answered and of the open calls that are done; the value; behind an open call also the value before."""


def _is_explained(calls: Iterable[Call], max_states: int) -> bool | None:
    """Whether these calls of one key are linearizable; None: gave up."""
    ordered = sorted(calls, key=_invoked_at)
    answered = [call for call in ordered if call.answered_at is not None]
    opened = [call for call in ordered if call.answered_at is None and not _says_nothing(call)]
    all_done = (1 << len(answered)) - 1
    first: _State = (0, 0, None, None)
    seen = {first}
    path = [_next_states(answered, opened, first)] if all_done else []
    while path:
        state = next(path[-1], None)
        if state is None:
            path.pop()
        elif state not in seen:
            if state[0] == all_done:
                return True
            if len(seen) >= max_states:
                return None
            seen.add(state)
            path.append(_next_states(answered, opened, state))
    return not all_done


def _next_states(answered: Sequence[Call], opened: Sequence[Call], state: _State) -> Iterator[_State]:
    """What one more call can lead to, the most promising first: the one that was answered soonest."""
    done, open_done, value, before = state
    places, until = _candidates(answered, done)
    for place in places:
        wanted = answered[place].operation
        result = answered[place].result
        after = outcome(wanted.kind, value, wanted.operand, wanted.new)
        if after[1] != result or (before is not None and _makes_last_needless(wanted, result, before[0], value)):
            continue
        yield done | 1 << place, open_done, after[0], None
    for place, call in enumerate(opened):
        if call.invoked_at > until:
            break
        wanted = call.operation
        if open_done >> place & 1 or (before is not None and wanted.kind == "write"):
            continue
        new_value, _ = outcome(wanted.kind, value, wanted.operand, wanted.new)
        if new_value != value:
            yield done, open_done | 1 << place, new_value, (value,)


def _candidates(answered: Sequence[Call], done: int) -> tuple[list[int], int]:
    """Places of the calls that may come next, by their answers, and the soonest of these: nothing that was invoked
    later may come before it."""
    place = (~done & (done + 1)).bit_length() - 1  # the first that is not done
    places: list[tuple[int, int]] = []
    until = _answered_at(answered[place])
    while place < len(answered) and answered[place].invoked_at <= until:
        if not done >> place & 1:
            answered_at = _answered_at(answered[place])
            places.append((answered_at, place))
            until = min(until, answered_at)
        place += 1
    return [place for _, place in sorted(places)], until


def _makes_last_needless(wanted: Operation, result: Result, before: Value | None, value: Value | None) -> bool:
    """Whether an open call that turned `before` into `value` had as well come after this one, or never."""
    if wanted.kind == "write":
        return True
    leaves_alone = outcome(wanted.kind, value, wanted.operand, wanted.new)[0] == value
    return leaves_alone and outcome(wanted.kind, before, wanted.operand, wanted.new) == (before, result)


def _says_nothing(call: Call) -> bool:
    return call.answered_at is None and call.operation.kind == "read"


def _invoked_at(call: Call) -> int:
    return call.invoked_at


def _answered_at(call: Call) -> int:
    assert call.answered_at is not None
    return call.answered_at


# --- explaining


def _explain(key: str, calls: Sequence[Call], max_states: int) -> str:
    """The soonest answer with which no order exists any more, what ran beside its call, and what came before."""
    answers = sorted({_answered_at(call) for call in calls if call.answered_at is not None})
    low, high = 0, len(answers) - 1  # the calls up to answers[high] have no order
    while low < high:
        middle = (low + high) // 2
        if _is_explained(_until(calls, answers[middle]), max_states) is False:
            high = middle
        else:
            low = middle + 1
    last_at = answers[high]
    culprits = [call for call in calls if call.answered_at == last_at]
    since = min(call.invoked_at for call in culprits)
    others = [call for call in _until(calls, last_at) if call.answered_at != last_at and not _says_nothing(call)]
    beside = [call for call in others if call.answered_at is None or call.answered_at >= since]
    before = sorted((call for call in others if call not in beside), key=_answered_at)
    lines = [f"key {key!r}: no order explains the answer at {last_at} of", *map(str, culprits), "concurrent were"]
    lines += [*map(str, sorted(beside, key=_invoked_at)), f"and before came {len(before)}, the last of them"]
    return "\n".join([*lines, *map(str, before[-NUM_SHOWN:])])


def _until(calls: Iterable[Call], moment: int) -> list[Call]:
    """What was known of these calls then."""
    return [
        call if call.answered_at is None or call.answered_at <= moment else replace(call, answered_at=None)
        for call in calls
        if call.invoked_at <= moment
    ]
