"""Where this node stands in its cluster, and a way to wait until that changes.

`peer.node` writes it as facts arrive; everything else reads it. What to do about a change is not known here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration
from raftgossip.facts import ConfigurationChanged, LeaderKnown, RoleChanged
from raftgossip.ids import NodeId, Term
from raftgossip.peer.identity import Identity


class Standing:
    """One node's place. Lives on the event loop. Invariant: who was dismissed stays so for this life."""

    def __init__(self, identity: Identity, view: Callable[[], LedgerView]) -> None:
        """`view`: what the ledger says now."""
        self.node_id = identity.node_id
        self.cluster_id = identity.cluster_id
        self.is_leader = False
        self.term = Term(0)
        """In which this node took its role; its own if it leads."""
        self.leader: NodeId | None = None
        self.configuration = Configuration(())
        """The newest one that is committed as far as this node knows; nobody: none yet."""
        self.is_dismissed = False
        """The roster named this life of the node, and no longer names the node at all."""
        self.has_left = False
        self.view = view
        self._incarnation = identity.incarnation
        self._was_announced = False
        self._moved = asyncio.Event()

    # --- facts

    def set_role(self, fact: RoleChanged) -> None:
        """Learn whether this node leads."""
        self.is_leader = fact.role == "leader"
        self.term = fact.term

    def set_leader(self, fact: LeaderKnown) -> None:
        """Learn who leads."""
        self.leader = fact.leader

    def set_configuration(self, fact: ConfigurationChanged) -> None:
        """Learn who votes."""
        self.configuration = Configuration(fact.voters, fact.learners, fact.outgoing)

    def note_roster(self) -> None:
        """Look at the roster after it changed."""
        self._was_announced = self._was_announced or self.is_announced()
        if self._was_announced and all(entry.node_id != self.node_id for entry in self.view().roster):
            self.is_dismissed = True

    def is_announced(self) -> bool:
        """Whether the roster shows this life of the node."""
        return any(
            entry.node_id == self.node_id and entry.incarnation == self._incarnation for entry in self.view().roster
        )

    # --- waiting

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return when `predicate` holds; it is asked again after every `pulse`."""
        while not predicate():
            await self._moved.wait()

    async def until_or_timeout(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """The same, but no longer than `timeout_s`; False: it did not hold in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.until(predicate)
        except TimeoutError:
            return False
        return True

    def pulse(self) -> None:
        """Wake everybody who waits for something to become true."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
