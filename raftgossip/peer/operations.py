"""What other peers and operators ask of a node: let one in, take one out, let it vote, hand over, read.

What only the leader can do is refused elsewhere with `NotLeader`, which carries the leader's id: the caller goes there.
"""

from __future__ import annotations

import asyncio

from raftgossip.core.epoch.command import AddPeer, Command, RemovePeer, RosterEntry
from raftgossip.core.epoch.ledger import Applied
from raftgossip.core.raft.message import Configuration
from raftgossip.core.raft.node import RaftNode
from raftgossip.errors import AlreadyExists, CommandRefused, NoQuorum, NotLeader, RaftGossipError
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId
from raftgossip.peer.founding import pass_on
from raftgossip.peer.log_view import log_rows
from raftgossip.peer.membership import (
    add_peer,
    check_newcomer,
    refuse_addition,
    refuse_foreign_command,
    refuse_promotion,
    refuse_removal,
    refuse_transfer,
    token_to_enter_with,
    told_voters,
)
from raftgossip.peer.parts import Parts
from raftgossip.peer.presence import DEPART_S
from raftgossip.peer.proposer import Proposer
from raftgossip.peer.standing import Standing
from raftgossip.runtime.grpc_client import ask_to_join
from raftgossip.runtime.raft_host import RaftHost
from raftgossip.runtime.service import JoinAnswer, JoinAsk, LeaderAnswer, LogView, ProposeAnswer
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import name_in_owner
from raftgossip.trust.tokens import JoinToken
from raftgossip.wire.ledger_codec import envelope_from_bytes

HAND_OVER_MS = 1_500
"""A leader that stops waits no longer for a successor: the others can elect one without it."""
PROPOSAL_MS = 4_000
"""For a command that another node waits for."""
CHANGE_MS = 10_000
"""For a change that an operator waits for; the leader's coordinator may need several steps for it."""
READ_MS = 2_000
"""For a majority to confirm a read; less than operators wait for an answer."""


class Operations:
    """Serves one node that belongs to a cluster. Lives on the event loop; each method may run several times at once."""

    def __init__(
        self, parts: Parts, standing: Standing, raft: RaftNode, host: RaftHost[Applied], proposer: Proposer
    ) -> None:
        self._parts = parts
        self._standing = standing
        self._raft = raft
        self._host = host
        self._proposer = proposer

    # --- what peers ask

    async def propose_forwarded(self, envelope: bytes, caller: Caller) -> ProposeAnswer:
        """Propose another peer's stamped command, if this node leads.

        Raises:
            NotLeader: another node leads.
            WireError: the bytes are no stamped command.
            PermissionDenied: the command is not the caller's own affair; names the rule.
        """
        if caller.identity is not None:
            refuse_foreign_command(envelope_from_bytes(envelope), caller)
        self._must_lead()
        outcome = await self._host.propose(envelope, PROPOSAL_MS)
        return ProposeAnswer(outcome.index, outcome.result.accepted, outcome.result.reason)

    async def join(self, ask: JoinAsk) -> JoinAnswer:
        """Add a node to the roster, or pass the request on to the leader, once."""
        standing, links = self._standing, self._parts.links
        if any(entry.node_id == ask.node_id and entry.owner == ask.owner for entry in standing.view().roster):
            # It came back elsewhere. Without its vote nothing may commit, so its roster entry cannot be waited for.
            links.set_address(ask.node_id, ask.address)
        if not standing.is_leader:
            leader_address = links.address_of(standing.leader) if standing.leader is not None else None
            if ask.forwarded or leader_address is None:
                raise NotLeader(standing.leader)
            if self._parts.credentials is not None and ask.node_id != standing.node_id:
                raise NotLeader(standing.leader, str(leader_address))  # which must see the newcomer's own certificate
            return await pass_on(ask, leader_address, self._ask_to_join)
        check_newcomer(ask, standing.view(), standing.cluster_id)
        token = self._token_of(ask)
        answer = await self._propose(add_peer(ask, token), PROPOSAL_MS)
        if not answer.applied:
            raise AlreadyExists(answer.reason)
        view = standing.view()
        # This leader may not stand in the roster yet, and the newcomer must be able to answer it.
        peers = {entry.node_id: entry.address for entry in view.roster} | {standing.node_id: self._parts.ask.address}
        owners = {entry.node_id: entry.owner for entry in view.roster} | {standing.node_id: self._parts.ask.owner}
        return JoinAnswer(
            standing.cluster_id,
            tuple(sorted(peers.items())),
            standing.node_id,
            view.specification,
            tuple(sorted((node_id, name) for node_id, owner in owners.items() if (name := name_in_owner(owner)))),
        )

    # --- members

    async def add_member(self, node_id: NodeId, address: Address) -> str:
        """Let a node in before it comes: its id and place are kept for whoever first joins with that id.

        Raises:
            NotLeader: another node leads.
            AlreadyExists: it is in already.
            CommandRefused: the address is unusable or taken, or the ledger refused.
            NoQuorum: not confirmed in time; it may still happen.
        """
        self._must_lead()
        refuse_addition(node_id, address, self._standing.view())
        before = self._roster_entry(node_id)
        answer = await self._propose(AddPeer(node_id, address, Incarnation("")), CHANGE_MS)
        if not answer.applied:
            raise CommandRefused(f"node {node_id} cannot be added: {answer.reason}")
        moved = "" if before is None or before.address == address else f", no longer at {before.address}"
        return f"node {node_id} is in the roster{moved}; start it at {address} with `raftgossip node`"

    async def remove_member(self, node_id: NodeId) -> str:
        """Take a node out for good: roster first, then the leader's coordinator takes its vote. Repeating is harmless.

        A leader that should go itself hands over first and leaves the rest to the next one.

        Raises:
            NotLeader: another node leads, perhaps since just now.
            NotFound: the cluster never had such a node.
            CommandRefused: the cluster would lose its last node or its last voter.
            NoQuorum: not confirmed in time; it may still happen, and repeating is safe.
        """
        self._must_lead()
        standing = self._standing
        refuse_removal(node_id, standing.view(), standing.configuration)
        if node_id == standing.node_id:
            await self.transfer_leadership(None)
            raise NotLeader(standing.leader)
        if self._roster_entry(node_id) is not None:
            answer = await self._propose(RemovePeer(node_id), CHANGE_MS)
            if not answer.applied and self._roster_entry(node_id) is not None:
                raise CommandRefused(answer.reason)
        if not await standing.until_or_timeout(lambda: node_id not in standing.configuration.members, CHANGE_MS / 1000):
            raise NoQuorum(
                f"node {node_id} is out of the roster, but no majority confirmed the configuration without it within "
                f"{CHANGE_MS / 1000:.0f} s; repeat this until it does"
            )
        return f"node {node_id} is out of the cluster; {self._told(standing.configuration)}"

    async def promote_member(self, node_id: NodeId) -> str:
        """Make a learner that has caught up a voter now, also beyond the number up to which this happens by itself.

        Raises:
            NotLeader: another node leads.
            CommandRefused: it is no learner, or not ready, or another change is going on; says which.
            NoQuorum: not confirmed in time; it may still happen.
        """
        self._must_lead()
        standing, status = self._standing, self._raft.status()
        refuse_promotion(node_id, status, standing.configuration, self._parts.config.raft.caught_up_lag)
        current = status.configuration
        promoted = Configuration(
            tuple(sorted((*current.voters, node_id))),
            tuple(learner for learner in current.learners if learner != node_id),
        )
        await self._host.change_configuration(promoted, CHANGE_MS)
        return f"node {node_id} votes now; {self._told(promoted)}"

    async def leave(self) -> str:
        """Take this node itself out of the roster; the configuration follows, and then its `run` ends.

        Raises:
            CommandRefused: it is the last node, or the last voter.
            NoQuorum: not confirmed in time; this node stays.
        """
        standing = self._standing
        if not standing.is_announced() and not standing.is_dismissed:
            raise NoQuorum(f"node {standing.node_id} has not entered the roster yet; retry in a moment")
        refuse_removal(standing.node_id, standing.view(), standing.configuration)
        await self.hand_over()
        deadline_ms = self._parts.clock.now_ms() + CHANGE_MS
        answer = await self._proposer.propose(
            RemovePeer(standing.node_id), lambda: self._parts.clock.now_ms() < deadline_ms
        )
        if answer is None:
            raise NoQuorum(f"no majority confirmed the leaving within {CHANGE_MS / 1000:.0f} s; this node stays")
        if not answer.applied:
            raise CommandRefused(answer.reason)
        # The rest is done when the roster without this node arrives here: see `Presence.depart`.
        await standing.until_or_timeout(lambda: standing.has_left, 2 * DEPART_S)
        return f"node {standing.node_id} left the cluster"

    # --- leadership

    async def hand_over(self) -> None:
        """If this node leads, try to let another one lead, so that nobody has to wait for an election."""
        if self._standing.is_leader and len(self._standing.configuration.voters) > 1:
            try:
                await self._transfer(None, HAND_OVER_MS)
            except RaftGossipError:
                pass  # the others will elect one when this node is silent

    async def transfer_leadership(self, target: NodeId | None) -> LeaderAnswer:
        """Let `target` lead, or the most caught-up voter that answers.

        Raises:
            NotLeader: another node leads.
            NotFound: the cluster has no such node.
            CommandRefused: the target has no vote or does not answer, nobody can take over, or none did in time.
            NoQuorum: this node leads no more, and no other is known.
        """
        self._must_lead()
        standing, before = self._standing, self._raft.status()
        if target is not None:
            refuse_transfer(target, before, standing.view())
        elif before.configuration.voters == (standing.node_id,):
            raise CommandRefused(f"node {standing.node_id} is the only voter, so nobody can take over")
        if target != standing.node_id:
            await self._transfer(target, CHANGE_MS)
        status = self._raft.status()
        return LeaderAnswer(status.leader or standing.node_id, status.term)

    async def _transfer(self, target: NodeId | None, timeout_ms: int) -> None:
        standing = self._standing
        deadline_ms = self._parts.clock.now_ms() + timeout_ms
        try:
            await self._host.transfer(target, timeout_ms)
        except (CommandRefused, NoQuorum) as error:  # nothing is open any more: this node leads on
            raise CommandRefused(f"node {target} does not lead: {error}" if target else str(error)) from None
        left_s = max(deadline_ms - self._parts.clock.now_ms(), 0) / 1000
        if not await standing.until_or_timeout(lambda: standing.leader not in (None, standing.node_id), left_s):
            raise NoQuorum("no other node took over in time; look again with `raftgossip leader`")
        if target not in (None, standing.leader):
            raise CommandRefused(f"node {target} does not lead: node {standing.leader} took over before it")

    # --- reading

    async def catch_up_for_read(self) -> None:
        """Return when this node's state holds everything that was confirmed anywhere before the call.

        Raises:
            NoQuorum: no majority could be asked in time.
        """
        await self._host.read(READ_MS)

    async def log(self, first: int, limit: int) -> LogView:
        """Entries of this node's log from `first` on (0: the newest), at most `limit`."""
        status = self._raft.status()
        start = max(first or status.last_index - limit + 1, status.first_index)
        stop = min(start + limit - 1, status.last_index)
        entries = self._raft.entries(LogIndex(start), LogIndex(stop))
        applied_at_ms = {entry.index: self._host.applied_at_ms(entry.index) for entry in entries}
        rows = await asyncio.to_thread(log_rows, entries, applied_at_ms.__getitem__)
        return LogView(rows, status.first_index, status.last_index, status.commit_index, status.applied_index)

    # --- parts of the above

    def _token_of(self, ask: JoinAsk) -> JoinToken | None:
        credentials, standing = self._parts.credentials, self._standing
        root_pem = credentials.current().root_pem if credentials is not None else None
        return token_to_enter_with(ask, standing.view(), standing.node_id, root_pem, self._parts.clock.wall_ms() / 1000)

    async def _ask_to_join(self, address: Address, ask: JoinAsk, timeout_ms: int) -> JoinAnswer:
        return await ask_to_join(address, ask, timeout_ms, self._parts.credentials)

    def _must_lead(self) -> None:
        if not self._standing.is_leader:
            raise NotLeader(self._standing.leader)

    def _roster_entry(self, node_id: NodeId) -> RosterEntry | None:
        return next((entry for entry in self._standing.view().roster if entry.node_id == node_id), None)

    def _told(self, configuration: Configuration) -> str:
        return told_voters(configuration, self._parts.config.epoch.max_voters)

    async def _propose(self, command: Command, timeout_ms: int) -> ProposeAnswer:
        """Propose as the leader, for as long as this node leads.

        Raises:
            NotLeader: it leads no more; the command may still be applied.
            NoQuorum: no majority confirmed it in time; it may still be applied.
        """
        standing, clock = self._standing, self._parts.clock
        deadline_ms = clock.now_ms() + timeout_ms
        answer = await self._proposer.propose(command, lambda: standing.is_leader and clock.now_ms() < deadline_ms)
        if answer is not None:
            return answer
        self._must_lead()
        raise NoQuorum(f"no majority confirmed it within {timeout_ms / 1000:.0f} s; repeating it is safe")
