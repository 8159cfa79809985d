"""Gets a command applied exactly once, whoever leads and however often the leader changes.

Each command is stamped (client, sequence), so that repeating it after a lost answer is harmless: the ledger remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from raftgossip.core.epoch.command import Command, Envelope
from raftgossip.core.epoch.ledger import Applied
from raftgossip.errors import Busy, NoQuorum, NotLeader, RemoteError, TransportError
from raftgossip.ids import NodeId
from raftgossip.runtime.grpc_client import PeerLinks
from raftgossip.runtime.raft_host import RaftHost
from raftgossip.runtime.service import ProposeAnswer
from raftgossip.wire.ledger_codec import envelope_to_bytes

TRY_TIMEOUT_MS = 2_000
PAUSE_S = (0.02, 0.5)


class Proposer:
    """Proposes this node's commands: locally if it leads, else at the leader, again and again."""

    def __init__(self, client: str, node_id: NodeId, host: RaftHost[Applied], links: PeerLinks) -> None:
        """`client` must differ between two lives of a node: sequences start anew with each."""
        self._client = client
        self._node_id = node_id
        self._host = host
        self._links = links
        self._sequence = 0
        self._unanswered: set[int] = set()
        self._leader: NodeId | None = None
        self._leader_known = asyncio.Event()

    def set_leader(self, leader: NodeId | None) -> None:
        """Learn who leads; wakes proposals that wait for it."""
        self._leader = leader
        if leader is not None:
            self._leader_known.set()
        else:
            self._leader_known.clear()

    async def propose(self, command: Command, wanted: Callable[[], bool]) -> ProposeAnswer | None:
        """Repeat until the ledger answered, or `wanted` turned False (then None: it may or may not be applied).

        Cancellation leaves the command where it is: it may still be applied, once.
        """
        self._sequence += 1
        sequence = self._sequence
        self._unanswered.add(sequence)
        envelope = envelope_to_bytes(Envelope(self._client, sequence, min(self._unanswered), command))
        pause_s = PAUSE_S[0]
        try:
            while wanted():
                try:
                    return await self._try_once(envelope)
                except NotLeader as error:
                    if error.leader is not None and error.leader != self._node_id:
                        self._leader = NodeId(error.leader)
                except (NoQuorum, Busy, TransportError, RemoteError):
                    pass  # whatever stands at the leader's old address may answer anything; `wanted` ends it
                pause_s = min(2 * pause_s, PAUSE_S[1])
                await self._pause(pause_s)
        finally:
            self._unanswered.discard(sequence)
        return None

    async def _try_once(self, envelope: bytes) -> ProposeAnswer:
        leader = self._leader
        if leader is None:
            raise NotLeader(None)
        if leader != self._node_id:
            return await self._links.propose(leader, envelope, TRY_TIMEOUT_MS)
        outcome = await self._host.propose(envelope, TRY_TIMEOUT_MS)
        return ProposeAnswer(outcome.index, outcome.result.accepted, outcome.result.reason)

    async def _pause(self, pause_s: float) -> None:
        """Wait a little, or until a leader is known."""
        if self._leader is not None:
            await asyncio.sleep(pause_s)
            return
        self._leader_known.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._leader_known.wait()
        except TimeoutError:
            pass
