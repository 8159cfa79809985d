"""Who this node is, from its state directory: node id, owner token, cluster, and the life that begins now."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from raftgossip.errors import ConfigError
from raftgossip.ids import Incarnation, NodeId, parse_node_id
from raftgossip.runtime.store import Storage


@dataclass(frozen=True, slots=True)
class Identity:
    """Stays the same over restarts, but for the incarnation."""

    node_id: NodeId
    owner: str
    """To whom the node id belongs: a random token of the state directory, with certificates beside the SPIFFE name."""
    incarnation: Incarnation
    cluster_id: str
    """Empty: this node belongs to no cluster yet."""


def load_identity(store: Storage, node_id: int | None) -> Identity:
    """Read the identity, and write down what is new.

    Raises:
        ConfigError: no id is given and none is stored, or another one is stored.
    """
    stored = store.get_meta("node_id")
    if node_id is None and stored is None:
        raise ConfigError("no node id: give --node-id (a number from 1 on that no other node of the cluster has)")
    if node_id is not None and stored is not None and int(stored) != node_id:
        raise ConfigError(
            f"this state directory belongs to node {stored}, not to node {node_id}: "
            f"start it with --node-id {stored}, or give another --data-dir"
        )
    checked = parse_node_id(int(stored) if stored is not None else node_id or 0)
    owner = store.get_meta("owner")
    if owner is None:
        owner = secrets.token_hex(8)
        store.set_meta("owner", owner)
        store.set_meta("node_id", str(checked))
    return Identity(checked, owner, Incarnation(secrets.token_hex(4)), store.get_meta("cluster_id") or "")


def new_cluster_id() -> str:
    """A random name for a cluster that this node founds."""
    return f"rg-{secrets.token_hex(8)}"
