"""A bounded log of changes: who reads it goes on where it left off, or learns that it must read everything.

Each key stands in it once, with the step of its last change, so a reader that was away for long reads no more than the
list is long. What is present is always in the log; of what is gone, only the last `MAX_GONE` are.
"""

from __future__ import annotations

from collections import OrderedDict
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
    is_present: bool


@dataclass(slots=True)
class ChangeLog:
    """The changes of one list, by step; a step is one change of one key.

    Invariants: each key stands in it once; steps rise; none is behind `step`; every departure behind `floor` is there.
    """

    step: int = 0
    floor: int = field(default=0, init=False)
    """A reader that is behind it cannot resume."""
    _present: OrderedDict[NodeId, int] = field(default_factory=OrderedDict, init=False)
    _gone: OrderedDict[NodeId, int] = field(default_factory=OrderedDict, init=False)

    def __post_init__(self) -> None:
        self.floor = self.step

    def touch(self, key: NodeId) -> None:
        """The key came, or changed."""
        self.step += 1
        self._gone.pop(key, None)
        self._present[key] = self.step
        self._present.move_to_end(key)

    def drop(self, key: NodeId) -> None:
        """The key is gone."""
        self.step += 1
        self._present.pop(key, None)
        self._gone[key] = self.step
        self._gone.move_to_end(key)
        if len(self._gone) > MAX_GONE:
            _, self.floor = self._gone.popitem(last=False)

    def since(self, step: int) -> list[Entry] | None:
        """What changed after a step, the oldest first; None: the log does not reach back so far."""
        if not self.floor <= step <= self.step:
            return None
        found = [*_newer(self._present, step, is_present=True), *_newer(self._gone, step, is_present=False)]
        return sorted(found, key=lambda entry: entry.step)

    def everything(self) -> list[Entry]:
        """All that is present, in the order of the last changes."""
        return [Entry(step, key, True) for key, step in self._present.items()]

    @property
    def version(self) -> int:
        """The step as an int32: 0 at the beginning, then 1 to `MAX_VERSION`, over and over."""
        return version_of(self.step)

    def step_of(self, version: int) -> int:
        """The newest step with this version; below `floor` if the version is not one of the last."""
        return self.step - (self.version - version) % MAX_VERSION

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        assert not self._present.keys() & self._gone.keys()
        assert len(self._gone) <= MAX_GONE
        for steps in (list(self._present.values()), list(self._gone.values())):
            assert steps == sorted(set(steps))
            assert not steps or steps[-1] <= self.step
        assert all(step > self.floor for step in self._gone.values())
        assert self.floor <= self.step

    def keys(self) -> list[NodeId]:
        """What is present."""
        return list(self._present)


def version_of(step: int) -> int:
    """A step as it travels."""
    return step and (step - 1) % MAX_VERSION + 1


def _newer(steps: OrderedDict[NodeId, int], limit: int, is_present: bool) -> list[Entry]:
    found: list[Entry] = []
    for key in reversed(steps):
        step = steps[key]
        if step <= limit:
            break
        found.append(Entry(step, key, is_present))
    return found
