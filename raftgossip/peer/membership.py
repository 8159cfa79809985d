"""Who may come, go, and vote: what the leader checks before it changes the roster or the configuration."""

from __future__ import annotations

import math
from dataclasses import replace

from raftgossip.core.epoch.command import AddPeer, Envelope, RemovePeer, ReportEpoch
from raftgossip.core.epoch.ledger import LedgerView, needs_no_token
from raftgossip.core.raft.message import Configuration
from raftgossip.core.raft.status import RaftStatus
from raftgossip.errors import (
    AlreadyExists,
    CommandRefused,
    NoQuorum,
    NotFound,
    PermissionDenied,
    SchemaMismatch,
    WrongCluster,
)
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.address_sources import refusal_to_dial
from raftgossip.runtime.service import JoinAsk
from raftgossip.trust.callers import SKEW_S, Caller
from raftgossip.trust.identity import Identity, name_in_owner
from raftgossip.trust.tokens import JoinToken, read_token

NOWHERE = ("0.0.0.0", "::", "*")  # noqa: S104 - refused, not bound
"""What a server listens on to serve every address of its machine; nobody can dial it."""


def check_newcomer(ask: JoinAsk, view: LedgerView, cluster_id: str) -> None:
    """Refuse who cannot take part; asking again does not help.

    Raises:
        WrongCluster: it remembers another cluster.
        NoQuorum: the run has not started yet; this one may be asked again.
        SchemaMismatch: it trains another model.
        AlreadyExists: its id belongs to another state directory, or to another name.
        CommandRefused: it would let everybody dial an address that no node has.
    """
    why = refusal_to_dial(ask.address)
    if why:
        raise CommandRefused(f"node {ask.node_id} says that it is at {ask.address}: {why}; give it another --advertise")
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
    _refuse_foreign_id(ask, view)


def _refuse_foreign_id(ask: JoinAsk, view: LedgerView) -> None:
    """An id belongs to one state directory, and with certificates to one name, also after its node left: another life
    of the node, without what the first one remembers, could vote twice.

    From a token to a certificate no id passes, though the state directory may be the same: the connection proves the
    certificate only, and whoever else has one for this id could take the place of a node that still votes.
    """
    entry = next((entry for entry in view.roster if entry.node_id == ask.node_id), None)
    owner = entry.owner if entry is not None else dict(view.departed_owners).get(ask.node_id, "")
    if owner in ("", ask.owner):
        return
    name = name_in_owner(owner)
    if name and name == ask.identity:
        where = f"the node at {entry.address}" if entry is not None else "a node that left"
        raise AlreadyExists(
            f"node id {ask.node_id} belongs to the state directory of {where}: start it with the --data-dir that it "
            f"had before. If that is lost, take it out with `raftgossip members remove {ask.node_id}`, and let it come "
            "with a certificate for another --node-id"
        )
    if name:
        who = f"; {ask.identity} asked" if ask.identity else ""
        raise AlreadyExists(
            f"node id {ask.node_id} belongs to {name}{who}: start it with the certificate of that name, or choose "
            "another --node-id"
        )
    if ask.identity:
        raise AlreadyExists(
            f"node id {ask.node_id} entered this cluster without certificates, and no id changes its owner: take it "
            f"out with `raftgossip members remove {ask.node_id}`, and let it come with a certificate for another "
            "--node-id and an empty --data-dir; or start all nodes with --insecure"
        )
    if entry is not None:
        raise AlreadyExists(
            f"node id {ask.node_id} belongs to the node at {entry.address}: choose another --node-id, "
            "or start it with the --data-dir that it had before"
        )


def token_to_enter_with(
    ask: JoinAsk, view: LedgerView, leader: NodeId, root_pem: bytes | None, wall_seconds: float
) -> JoinToken | None:
    """The join token with which a newcomer enters, verified; None: it needs none and shows none.

    Who is in needs none, so what it shows is not looked at: it may have expired long ago. `leader`: this node.
    `root_pem`: the federation's root certificate; None: this node runs in the open.

    Raises:
        NoQuorum: the founder is not in its own roster yet; retry.
        PermissionDenied: the run requires a token and none is shown, or nobody can verify one here.
        Unauthenticated: it is foreign, has expired, or was made for another holder or key.
    """
    if ask.node_id == leader or any((entry.node_id, entry.owner) == (ask.node_id, ask.owner) for entry in view.roster):
        return None
    requires_token = view.specification is not None and view.specification.requires_token
    if requires_token and not any(entry.owner for entry in view.roster):
        raise NoQuorum("the cluster is being founded; retry")  # the first who enters needs no token: not this one
    if ask.join_token:
        if root_pem is None or not ask.identity:
            raise PermissionDenied("rule join-token: without certificates nobody can verify a join token")
        token = read_token(ask.join_token, root_pem, wall_seconds, SKEW_S)
        token.check(Identity.of_peer(ask.identity), ask.key_digest)
        return token
    roster = {entry.node_id: entry for entry in view.roster}
    if requires_token and not needs_no_token(ask.node_id, ask.owner, roster):
        raise PermissionDenied(
            f"rule join-token: node {ask.node_id} is not in this cluster, which takes nobody in without a join token: "
            "let its organisation make one with `raftgossip keys token`, and start the node with --token"
        )
    return None


def add_peer(ask: JoinAsk, token: JoinToken | None = None) -> AddPeer:
    """The command that puts the newcomer into the roster. `token`: with which it enters."""
    command = AddPeer(ask.node_id, ask.address, ask.incarnation, ask.metadata, ask.owner)
    if token is None:
        return command
    return replace(command, token_id=token.token_id, token_expires_s=math.ceil(token.expires_s))


def refuse_foreign_command(envelope: Envelope, caller: Caller) -> None:
    """Refuse to propose for a peer what is not its own affair: its reports, and that it leaves. Everything else the
    leader decides itself; and a peer's stamp is its own, or it could have another's commands taken for repeated ones.

    Raises:
        PermissionDenied: names the rule.
    """
    if caller.identity is None:
        return  # in the open anybody may be anybody
    node_id = caller.identity.node_id
    match envelope.command:
        case ReportEpoch() | RemovePeer() if envelope.command.node_id == node_id:
            if envelope.client.startswith(f"{node_id}/"):
                return
            what = f"a command that is stamped by {envelope.client[:40]!a}"
        case command:
            what = type(command).__name__
            what += f" of node {command.node_id}" if isinstance(command, ReportEpoch | RemovePeer | AddPeer) else ""
    raise PermissionDenied(
        "rule own-affairs: a peer has only its own reports and its own leaving proposed; "
        f"{caller.identity.uri} sent {what}"
    )


def refuse_addition(node_id: NodeId, address: Address, view: LedgerView) -> None:
    """Refuse to keep a place for who is here already, or at an address where nobody could reach it.

    Raises:
        AlreadyExists: the node belongs to the cluster.
        CommandRefused: no node can be dialled at this address, or another one has it.
    """
    if address.host in NOWHERE:
        raise CommandRefused(
            f"node {node_id} cannot be dialled at {address}, which means every address of a machine: "
            "give the one that the others reach it at"
        )
    for entry in view.roster:
        if entry.node_id == node_id and entry.owner:
            raise AlreadyExists(f"node {node_id} belongs to the cluster already, at {entry.address}")
        if entry.node_id != node_id and entry.address == address:
            raise CommandRefused(f"{address} is the address of node {entry.node_id}: give node {node_id} its own")


def refuse_removal(node_id: NodeId, view: LedgerView, configuration: Configuration) -> None:
    """Refuse to take out who cannot be spared; who left already may be asked for again.

    Raises:
        NotFound: the cluster never had such a node.
        CommandRefused: it is the last node, or the last voter.
    """
    members = tuple(entry.node_id for entry in view.roster)
    if node_id not in members and node_id not in view.departed:
        raise NotFound(f"node {node_id} does not belong to the cluster; its nodes are {_listed(members)}")
    if members == (node_id,):
        raise CommandRefused(f"node {node_id} is the last node of the cluster and cannot leave it: stop it instead")
    if configuration.voters == (node_id,):
        raise CommandRefused(
            f"node {node_id} is the only voter of the cluster: wait until another one votes, or promote it with "
            "`raftgossip members promote`"
        )


def refuse_promotion(node_id: NodeId, status: RaftStatus, committed: Configuration, max_lag: int) -> None:
    """Refuse to let vote who could hold up the cluster. `status`: the leader's; `committed`: what surely decides.

    Raises:
        CommandRefused: says what is missing.
    """
    current = status.configuration
    if node_id in current.deciders:
        raise CommandRefused(f"node {node_id} votes already; the voters are {_listed(current.voters)}")
    if node_id not in current.learners:
        raise CommandRefused(
            f"node {node_id} is no learner: let it in first, with `raftgossip members add` or by starting it; "
            f"the learners are {_listed(current.learners)}"
        )
    if current != committed or current.outgoing:
        raise CommandRefused("another membership change is going on; retry when it is confirmed")
    follower = next((each for each in status.followers if each.node_id == node_id), None)
    if follower is None or not follower.responsive:
        raise CommandRefused(f"node {node_id} does not answer the leader: start it first")
    lag = status.last_index - follower.match_index
    if lag > max_lag:
        raise CommandRefused(
            f"node {node_id} lacks {lag} entries of the log, a voter may lack {max_lag}: retry when it has caught up"
        )


def refuse_transfer(target: NodeId, status: RaftStatus, view: LedgerView) -> None:
    """Refuse to hand over to who could not lead now. `status`: the leader's.

    Raises:
        NotFound: the cluster has no such node.
        CommandRefused: it has no vote, or does not answer; says what helps.
    """
    voters, members = status.configuration.voters, tuple(entry.node_id for entry in view.roster)
    silent = {follower.node_id for follower in status.followers if not follower.responsive}
    if target not in voters and target not in members:
        raise NotFound(f"node {target} is not in the roster; its nodes are {_listed(members)}")
    if target not in voters:
        raise CommandRefused(
            f"node {target} has no vote, so it cannot lead: promote it first, with `raftgossip members promote "
            f"{target}`, or choose one of the voters {_listed(voters)}"
        )
    if target in silent:
        others = tuple(voter for voter in voters if voter not in silent and voter != status.node_id)
        choice = f", or choose one of {_listed(others)}" if others else ""
        raise CommandRefused(f"node {target} does not answer the leader; start it{choice}")


def told_voters(configuration: Configuration, max_voters: int) -> str:
    """Who votes, for people; and whether these are more than there should be."""
    number = len(configuration.voters)
    told = f"the voters are {_listed(configuration.voters)}"
    if number <= max_voters:
        return told
    told += f": {number} voters, more than max_voters {max_voters}"
    return told if number % 2 else f"{told}; an even number tolerates no more losses than {number - 1}"


def _listed(nodes: tuple[NodeId, ...]) -> str:
    return ", ".join(map(str, nodes)) or "none"
