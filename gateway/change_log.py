"""A bounded log of changes: who reads it goes on where it left off, or learns that it must read everything.

Each key stands in it once, with the step of its last change, so a reader that was away for long reads no more than the
list is long. What is present is always in the log; of what is gone, only the last `MAX_GONE` are. It is read in parts,
each in time that does not grow with the log.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from gateway.registry_values import MAX_VERSION
from raftgossip.ids import NodeId

MAX_GONE = 4_096
"""More departures than this since a reader's last visit, and it reads everything; also bounds the log's memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The last change of one key."""

    step: int
    key: NodeId
    came: int
    """The step at which the key came; 0: it is gone."""

    @property
    def is_present(self) -> bool:
        """Whether the key is there."""
        return self.came > 0


@dataclass(slots=True)
class ChangeLog:
    """The changes of one list, by step; a step is one change of one key.

    Invariants: each key stands in it once; steps rise; none is behind `step`; every departure behind `floor` is there.
    """

    step: int = 0
    floor: int = field(default=0, init=False)
    """A reader that is behind it cannot resume."""
    _present: _KeysByStep = field(default_factory=lambda: _KeysByStep(), init=False)
    _gone: _KeysByStep = field(default_factory=lambda: _KeysByStep(), init=False)
    _came: dict[NodeId, int] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.floor = self.step

    def touch(self, key: NodeId) -> None:
        """The key came, or changed."""
        self.step += 1
        self._gone.discard(key)
        self._present.put_last(key, self.step)
        self._came.setdefault(key, self.step)

    def drop(self, key: NodeId) -> None:
        """The key is gone."""
        self.step += 1
        self._present.discard(key)
        self._came.pop(key, None)
        self._gone.put_last(key, self.step)
        if len(self._gone) > MAX_GONE:
            self.floor = self._gone.pop_first()

    def since(self, step: int, limit: int | None = None, begun: int = 0) -> list[Entry] | None:
        """What changed after a step, the oldest first, at most `limit` of it; None: the log does not reach back so far.

        `begun`: the step at which the reader began to read `everything`, to go on with that: what left before then is
        nothing to it.
        """
        left_after = max(step, begun)
        if step < 0 or not self.floor <= left_after <= self.step:
            return None
        found = [Entry(then, key, self._came[key]) for then, key in self._present.after(step, limit)]
        if left_after < self.step:
            found += [Entry(then, key, 0) for then, key in self._gone.after(left_after, limit)]
            found.sort(key=lambda entry: entry.step)
        return found[:limit]

    def everything(self, limit: int | None = None) -> list[Entry]:
        """All that is present, in the order of the last changes; at most `limit` of it."""
        return [Entry(step, key, self._came[key]) for step, key in self._present.after(0, limit)]

    def num_since(self, step: int) -> int:
        """So many keys changed after a step, as far as the log reaches back."""
        return self._present.num_after(step) + self._gone.num_after(step)

    @property
    def version(self) -> int:
        """The step as an int32: 0 at the beginning, then 1 to `MAX_VERSION`, over and over."""
        return version_of(self.step)

    def step_of(self, version: int) -> int:
        """The newest step with this version; below `floor` if the version is not one of the last."""
        return self.step - (self.version - version) % MAX_VERSION

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        present, gone = self._present.after(-1, None), self._gone.after(-1, None)
        assert not {key for _, key in present} & {key for _, key in gone}
        assert {key for _, key in present} == self._came.keys()
        assert all(0 < self._came[key] <= step <= self.step for step, key in present)
        assert len(gone) <= MAX_GONE
        assert all(self.floor < step <= self.step for step, _ in gone)
        assert self.floor <= self.step
        self._present.check_invariants()
        self._gone.check_invariants()

    def __len__(self) -> int:
        return len(self._present)

    def keys(self) -> list[NodeId]:
        """What is present."""
        return list(self._came)


@dataclass(slots=True)
class _KeysByStep:
    """Keys in the order of their last steps; a part of them is found by bisection.

    What is put last again leaves its place: the steps behind it move, with 20,000 of them one copy of 160 kB.
    """

    _steps: dict[NodeId, int] = field(default_factory=dict, init=False)
    _keys: dict[int, NodeId] = field(default_factory=dict, init=False)
    _order: list[int] = field(default_factory=list, init=False)

    def __len__(self) -> int:
        return len(self._order)

    def put_last(self, key: NodeId, step: int) -> None:
        """The key's last step is this one, later than all others."""
        self.discard(key)
        self._steps[key] = step
        self._keys[step] = key
        self._order.append(step)

    def discard(self, key: NodeId) -> None:
        """Take a key out; does nothing if it is not there."""
        step = self._steps.pop(key, None)
        if step is not None:
            del self._keys[step]
            del self._order[bisect.bisect_left(self._order, step)]

    def pop_first(self) -> int:
        """Take the oldest out; returns its step."""
        step = self._order[0]
        self.discard(self._keys[step])
        return step

    def after(self, step: int, limit: int | None) -> list[tuple[int, NodeId]]:
        """The steps and keys behind a step, the oldest first, at most `limit` of them."""
        start = bisect.bisect_right(self._order, step)
        return [(each, self._keys[each]) for each in self._order[start : None if limit is None else start + limit]]

    def num_after(self, step: int) -> int:
        """So many are behind a step."""
        return len(self._order) - bisect.bisect_right(self._order, step)

    def check_invariants(self) -> None:
        """Assert that all three tell the same."""
        assert self._order == sorted(self._keys)
        assert {step: key for key, step in self._steps.items()} == self._keys


def version_of(step: int) -> int:
    """A step as it travels."""
    return step and (step - 1) % MAX_VERSION + 1
