"""What the network sees of a peer: the node once it is in a cluster, polite refusals before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from raftgossip.core.epoch.command import EpochRecord
from raftgossip.core.raft.message import Message
from raftgossip.errors import NotFound
from raftgossip.ids import NodeId
from raftgossip.peer.models import Models
from raftgossip.peer.node import Node
from raftgossip.runtime.service import JoinAnswer, JoinAsk, ProposeAnswer, StatusView
from raftgossip.update import FloatVector


class Front:
    """Satisfies `runtime.service.PeerService`; `node` is set when the cluster is known."""

    def __init__(self, node_id: NodeId, models: Models, on_leave: Callable[[], None]) -> None:
        self.node: Node | None = None
        self._node_id = node_id
        self._models = models
        self._on_leave = on_leave

    def _entered(self) -> Node:
        if self.node is None:
            raise NotFound(f"node {self._node_id} belongs to no cluster yet")
        return self.node

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand Raft messages over; before the cluster is known they are dropped, and sent again."""
        if self.node is not None:
            self.node.deliver(messages)

    async def propose_forwarded(self, envelope: bytes) -> ProposeAnswer:
        """Propose another peer's stamped command, if this node leads."""
        return await self._entered().propose_forwarded(envelope)

    async def join(self, ask: JoinAsk) -> JoinAnswer:
        """Add a node to the roster, or pass the request on."""
        return await self._entered().join(ask)

    async def leave(self) -> str:
        """Leave the cluster for good and stop."""
        message = await self._entered().leave()
        self._on_leave()
        return message

    async def status(self) -> StatusView:
        """What this node knows now."""
        if self.node is not None:
            return await self.node.status()
        return StatusView(
            cluster_id="",
            node_id=self._node_id,
            role="joining",
            term=0,
            leader=None,
            commit_index=0,
            applied_index=0,
            last_index=0,
            peers=(),
            specification=None,
            open_epoch=None,
            last_closed_epoch=0,
            model_digest=b"",
            phase="joining",
            metrics=(),
            message="looking for a cluster",
            uptime_ms=0,
            run_finished=False,
        )

    async def epochs(self, first: int, limit: int) -> tuple[EpochRecord, ...]:
        """Ended epochs from `first` on, at most `limit`."""
        return await self._entered().epochs(first, limit)

    def model(self, digest: bytes) -> FloatVector:
        """A model held here, by content hash."""
        return self._models.get(digest)
