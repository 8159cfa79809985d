"""What stands behind the log."""

from __future__ import annotations

from typing import Protocol, TypeVar

from raftgossip.ids import LogIndex

ResultT_co = TypeVar("ResultT_co", covariant=True)


class StateMachine(Protocol[ResultT_co]):
    """Takes committed commands in log order, each once. Deterministic: same commands in, same state and results out.

    It lives in memory: after a restart the log is applied again from its first entry.
    """

    def apply(self, index: LogIndex, data: bytes) -> ResultT_co:
        """Take the command at `index`; indices only rise, and those of other entries are left out.

        A command that makes no sense gives a result that says so, the same on all nodes. It never raises: an
        exception means that this replica cannot go on.
        """
