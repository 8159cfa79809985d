"""Letting nodes in: what the leader checks before it adds a newcomer to the ledger's roster."""

from __future__ import annotations

from raftgossip.core.epoch.command import AddPeer
from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.errors import AlreadyExists, NoQuorum, SchemaMismatch, WrongCluster
from raftgossip.runtime.service import JoinAsk


def check_newcomer(ask: JoinAsk, view: LedgerView, cluster_id: str) -> None:
    """Refuse who cannot take part; asking again does not help.

    Raises:
        WrongCluster: it remembers another cluster.
        NoQuorum: the run has not started yet; this one may be asked again.
        SchemaMismatch: it trains another model.
        AlreadyExists: its id belongs to another state directory.
    """
    if ask.cluster_id and ask.cluster_id != cluster_id:
        raise WrongCluster(
            f"node {ask.node_id} belongs to cluster {ask.cluster_id}, this is {cluster_id}: "
            "give it the right gateway or peers, or an empty --data-dir to join this one"
        )
    if view.specification is None:
        raise NoQuorum("the cluster is being founded; retry")
    if ask.schema_digest != view.specification.schema_digest:
        raise SchemaMismatch(
            f"node {ask.node_id} brings another model: schema {ask.schema_digest.hex()[:12]} (task {ask.task!r}), "
            f"the cluster trains schema {view.specification.schema_digest.hex()[:12]} "
            f"(task {view.specification.task!r}, {view.specification.num_elements} parameters); "
            "start it with the same task and model options"
        )
    for entry in view.roster:
        if entry.node_id == ask.node_id and entry.owner != ask.owner:
            raise AlreadyExists(
                f"node id {ask.node_id} belongs to the node at {entry.address}: choose another --node-id, "
                "or start it with the --data-dir that it had before"
            )


def add_peer(ask: JoinAsk) -> AddPeer:
    """The command that puts the newcomer into the roster."""
    return AddPeer(ask.node_id, ask.address, ask.incarnation, ask.metadata, ask.owner)
