"""Where peers may be found. Every answer is a hint that the dialled peer proves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from raftgossip.ids import Address, NodeId
from raftgossip.runtime.service import Hints


class Discovery(Protocol):
    """A source of peers' addresses. All methods raise `TransportError` when the source cannot be reached."""

    @property
    def name(self) -> str:
        """For messages to people, e.g. `gateway 10.0.0.5:8090`."""

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:
        """Say where this node listens, and which cluster it belongs to (empty: none yet); returns who else is there."""

    async def renew(self, node_id: NodeId, cluster_id: str) -> bool:
        """Say that this node lives; False: register again."""

    async def report_leader(self, node_id: NodeId, term: int) -> None:
        """Leave a hint who leads since when, for newcomers."""

    async def leave(self, node_id: NodeId) -> None:
        """Take this node off the list."""


class StaticDiscovery:
    """A fixed list of addresses, for nodes that know each other without any gateway."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        # The ids behind static addresses are unknown until they answer; negative ones only tell them apart.
        self._peers = tuple((NodeId(-1 - position), address) for position, address in enumerate(addresses))

    @property
    def name(self) -> str:
        """For messages to people."""
        return "the listed peers " + ", ".join(str(address) for _, address in self._peers)

    async def register(self, node_id: NodeId, address: Address, owner: str) -> Hints:  # noqa: ARG002 - protocol
        """The list; nothing is told to anybody."""
        return Hints(False, self._peers)

    async def renew(self, node_id: NodeId) -> bool:  # noqa: ARG002 - protocol
        """A list forgets nobody."""
        return True

    async def report_leader(self, node_id: NodeId) -> None:
        """A list takes no hints."""

    async def leave(self, node_id: NodeId) -> None:
        """A list is not changed."""
