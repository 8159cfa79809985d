"""What the parts of a simulated world need of it: time, machines, and numbers for requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from raftgossip.core.raft.message import RaftEvent
from raftgossip.sim.machine import Machine


class Surroundings(Protocol):
    """The world as clients, faults and the administrator see it."""

    @property
    def now_ms(self) -> int:
        """Virtual time."""

    def plan(self, delay_ms: int, action: Callable[..., None], *arguments: object) -> None:
        """Let something happen later."""

    def submit(self, machine: Machine, event: RaftEvent) -> None:
        """Put an event into a machine's mailbox, if it runs."""

    def crash(self, machine: Machine) -> None:
        """Stop a machine at once."""

    def restart(self, machine: Machine) -> None:
        """Start it, if it does not run."""

    def leaders(self) -> list[Machine]:
        """Machines whose node thinks that it leads."""

    def new_request(self) -> int:
        """A number that no other request has."""

    def note(self, *parts: object) -> None:
        """Write down what happens."""
