"""The names behind node ids, as the roster has them: who may still call, and whom TLS must find at a node's address.

Knows neither connections nor certificates, only what was verified about a caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration
from raftgossip.errors import ConfigError, PermissionDenied
from raftgossip.ids import NodeId
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, name_in_owner


@dataclass(frozen=True, slots=True)
class RosterNames:
    """The roster at one moment; made on the event loop, read in any thread. This node's roster may lag behind."""

    names: Mapping[NodeId, str] = field(default_factory=lambda: MappingProxyType({}))
    """Of the roster, and of those who left it but are still in Raft's configuration: without their votes the change
    that ends them may not commit. Empty: who entered without a certificate."""
    gone: frozenset[NodeId] = frozenset()
    """Taken out of both."""

    @classmethod
    def of(cls, view: LedgerView, configuration: Configuration) -> RosterNames:
        """As of now. `configuration`: the newest one that is committed."""
        departed = {node_id: owner for node_id, owner in view.departed_owners if node_id in configuration.members}
        owners = departed | {entry.node_id: entry.owner for entry in view.roster}
        names = MappingProxyType({node_id: name_in_owner(owner) for node_id, owner in owners.items()})
        return cls(names, frozenset(view.departed) - names.keys())


class Names:
    """Which name each node id belongs to: by the roster, and where that has none (yet), by what members told.

    Whoever is not known by exactly its name is a stranger, though it has a certificate of the federation: certificates
    say who somebody is, the ledger who takes part. Any thread may read; the event loop writes, replacing values whole.
    """

    def __init__(self) -> None:
        self.met_stranger = False
        """Somebody was refused whom the roster may lack only because this node lags behind: members should be asked."""
        self._roster = RosterNames()
        self._told: Mapping[NodeId, str] = {}

    def follow(self, view: LedgerView, configuration: Configuration) -> None:
        """The roster or the configuration has changed."""
        self._roster = RosterNames.of(view, configuration)

    def learn(self, names: Iterable[tuple[NodeId, str]]) -> None:
        """A member has told its roster's names; they count for ids that this node's own roster lacks."""
        self._told = dict(names)

    def check(self, caller: Caller) -> None:
        """Refuse a peer that was taken out, that has the id of another one, or that is a stranger.

        Raises:
            PermissionDenied: names the rule.
        """
        node_id = caller.identity.node_id if caller.identity is not None else None
        if caller.identity is None or node_id is None:
            return
        roster, uri = self._roster, caller.identity.uri
        if node_id in roster.gone:
            raise PermissionDenied(f"rule members-only: node {node_id} was taken out of the cluster")
        known = roster.names.get(node_id) or self._told.get(node_id, "")
        if known == uri:
            return
        if known:
            raise PermissionDenied(f"rule own-node: node id {node_id} belongs to {known}; {uri} called")
        self.met_stranger = True
        raise PermissionDenied(f"rule members-only: {uri} has not joined the cluster, as far as this node knows")

    def server_name(self, node_id: NodeId) -> str:
        """What TLS must find where this node is dialled; empty: nobody knows its name."""
        known = self._roster.names.get(node_id) or self._told.get(node_id, "")
        try:
            return Identity.of_peer(known).server_name if known else ""
        except ConfigError:
            return ""  # a node without certificates may have called itself anything
