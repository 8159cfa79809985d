"""What stands behind the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from raftgossip.facts import Fact
from raftgossip.ids import LogIndex

ResultT_co = TypeVar("ResultT_co", covariant=True)


class StateMachine(Protocol[ResultT_co]):
    """Takes committed commands in log order, each once. Deterministic: same commands in, same state and results out.

    It lives in memory: after a restart it is restored from the newest snapshot, and the log behind that applied again.
    """

    def apply(self, index: LogIndex, data: bytes) -> tuple[ResultT_co, Sequence[Fact]]:
        """Take the command at `index`; indices only rise, and those of other entries are left out.

        A command that makes no sense gives a result that says so, the same on all nodes. It never raises: an
        exception means that this replica cannot go on.
        """

    def capture(self) -> Callable[[], bytes]:
        """Hold the state of this moment, quickly; the returned function encodes it.

        The function may run in another thread, while `apply` goes on. Equal states give equal bytes, on every node.
        """

    def restore(self, data: bytes) -> Callable[[], Sequence[Fact]]:
        """Decode a captured state, in any thread; the returned function puts it in place and says what is true now.

        Raises:
            ValueError: the bytes are no such state; nothing changed.
        """
