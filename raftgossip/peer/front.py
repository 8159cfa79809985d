"""What the network sees of a peer: the node once it is in a cluster, polite refusals before."""

from __future__ import annotations

from collections.abc import Sequence

from raftgossip.core.epoch.command import EpochRecord
from raftgossip.core.raft.message import Message
from raftgossip.errors import Busy, NotFound, NotLeader
from raftgossip.ids import Address, NodeId
from raftgossip.peer.founding import Intent
from raftgossip.peer.models import Models
from raftgossip.peer.names import Names
from raftgossip.peer.node import Node
from raftgossip.peer.status import status_outside
from raftgossip.runtime.service import JoinAnswer, JoinAsk, LeaderAnswer, LogView, ProposeAnswer, StatusView
from raftgossip.trust.callers import Caller
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.update import FloatVector


class Front:
    """Satisfies `runtime.service.PeerService`; `node` is set when the cluster is known."""

    def __init__(self, node_id: NodeId, models: Models, credentials: LiveCredentials | None = None) -> None:
        """`credentials`: this node's own; None: it runs in the open."""
        self.node: Node | None = None
        self.names = Names()
        self.is_back = False
        """This node has a cluster already, and is about to go on there: nobody may found another one meanwhile."""
        self.intent = Intent()
        """What newcomers hear before the cluster is known."""
        self._credentials = credentials
        self._node_id = node_id
        self._models = models

    def _entered(self) -> Node:
        if self.node is None:
            raise NotFound(f"node {self._node_id} belongs to no cluster yet")
        return self.node

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand Raft messages over; before the cluster is known they are dropped, and sent again."""
        if self.node is not None:
            self.node.deliver(messages)

    def check_member(self, caller: Caller) -> None:
        """Refuse a peer that is no member of this node's cluster under exactly the name that calls. Any thread.

        Raises:
            PermissionDenied: names the rule.
        """
        self.names.check(caller)

    def server_name_of(self, node_id: NodeId) -> str:
        """Whom TLS must find where this node is dialled: it alone if its name is known, else any peer; empty without
        certificates. Any thread."""
        if self._credentials is None:
            return ""
        federation = self._credentials.current().identity.federation
        return self.names.server_name(node_id) or role_server_name(Role.PEER, federation)

    async def propose_forwarded(self, envelope: bytes, caller: Caller) -> ProposeAnswer:
        """Propose another peer's stamped command, if this node leads and the command is the caller's own affair."""
        return await self._entered().operations.propose_forwarded(envelope, caller)

    async def join(self, ask: JoinAsk) -> JoinAnswer:
        """Add a node to the roster, or pass the request on.

        Raises:
            Busy: this node has no cluster, but may be about to found one.
            NotLeader: it has one, and is only starting.
        """
        if self.node is None and self.is_back:
            raise NotLeader(None)
        if self.node is None and self.intent.is_declared:
            raise Busy(f"node {self._node_id} may be about to found a cluster; ask again")
        return await self._entered().operations.join(ask)

    async def leave(self) -> str:
        """Leave the cluster for good and stop."""
        return await self._entered().operations.leave()

    async def catch_up_for_read(self) -> None:
        """Return when this node's state holds everything that was confirmed anywhere before the call."""
        await self._entered().operations.catch_up_for_read()

    async def status(self) -> StatusView:
        """What this node knows now."""
        return self.node.status() if self.node is not None else status_outside(self._node_id)

    async def epochs(self, first: int, limit: int) -> tuple[EpochRecord, ...]:
        """Ended epochs from `first` on, at most `limit`."""
        return self._entered().epochs(first, limit)

    async def log(self, first: int, limit: int) -> LogView:
        """Entries of this node's log from `first` on (0: the newest), at most `limit`."""
        return await self._entered().operations.log(first, limit)

    async def add_member(self, node_id: NodeId, address: Address) -> str:
        """Put a node that has not come yet into the roster."""
        return await self._entered().operations.add_member(node_id, address)

    async def remove_member(self, node_id: NodeId) -> str:
        """Take a node out of the cluster."""
        return await self._entered().operations.remove_member(node_id)

    async def promote_member(self, node_id: NodeId) -> str:
        """Make a learner a voter now."""
        return await self._entered().operations.promote_member(node_id)

    async def transfer_leadership(self, target: NodeId | None) -> LeaderAnswer:
        """Let another node lead."""
        return await self._entered().operations.transfer_leadership(target)

    def model(self, digest: bytes) -> FloatVector:
        """A model held here, by content hash."""
        return self._models.get(digest)
