"""The names behind node ids, as the roster has them: who may still call, and whom TLS must find at a node's address.

Knows neither connections nor certificates, only what was verified about a caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration
from raftgossip.errors import ConfigError, PermissionDenied
from raftgossip.ids import NodeId
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity

SPIFFE = "spiffe://"
"""How an owner begins that is the name in a certificate; every other one is the token of a state directory."""


@dataclass(frozen=True, slots=True)
class RosterNames:
    """The roster at one moment; made on the event loop, read in any thread. This node's roster may lag behind."""

    owners: Mapping[NodeId, str] = field(default_factory=lambda: MappingProxyType({}))
    gone: frozenset[NodeId] = frozenset()
    """Taken out of the roster and of Raft's configuration. Who is still in the latter is still needed: without its vote
    the change that ends it may not commit."""

    @classmethod
    def of(cls, view: LedgerView, configuration: Configuration) -> RosterNames:
        """As of now. `configuration`: the newest one that is committed."""
        owners = MappingProxyType({entry.node_id: entry.owner for entry in view.roster})
        return cls(owners, frozenset(view.departed) - frozenset(configuration.members))

    def check(self, caller: Caller) -> None:
        """Refuse a peer that was taken out, or that has the id of another one. A stranger passes: it may be in already.

        Raises:
            PermissionDenied: names the rule.
        """
        node_id = caller.identity.node_id if caller.identity is not None else None
        if caller.identity is None or node_id is None:
            return
        if node_id in self.gone:
            raise PermissionDenied(f"rule members-only: node {node_id} was taken out of the cluster")
        owner = self.owners.get(node_id, "")
        if owner.startswith(SPIFFE) and owner != caller.identity.uri:
            raise PermissionDenied(f"rule own-node: node id {node_id} belongs to {owner}; {caller.identity.uri} called")

    def server_name(self, node_id: NodeId) -> str:
        """What TLS must find where this node is dialled; empty: the roster does not know its name."""
        owner = self.owners.get(node_id, "")
        if not owner.startswith(SPIFFE):
            return ""
        try:
            return Identity.of_peer(owner).server_name
        except ConfigError:
            return ""  # a node without certificates may have called itself anything
