"""One peer as it is dialled: the way there, what is open, and what waits to be sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Self

import grpc.aio

from raftgossip.core.raft.message import Message
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.raft_socket import OutgoingSocket
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role, role_server_name

OUTBOX_LIMIT = 256
SOCKET_RETRY_MS = 60_000
"""So long after a peer's socket could not be reached, or ended at once, it is tried again."""

ServerNameOf = Callable[[NodeId], str]
"""Whom TLS must find where a node is dialled."""


class Way(NamedTuple):
    """How a node is dialled; a connection that was opened another way is opened anew."""

    address: Address
    server_name: str
    generation: int
    """Of the credentials."""

    @classmethod
    def to(
        cls,
        node_id: NodeId,
        address: Address,
        credentials: LiveCredentials | None,
        server_name_of: ServerNameOf | None,
    ) -> Self:
        """As of now. Without `server_name_of`, TLS must find any peer there."""
        if credentials is None:
            return cls(address, "", 0)
        generation = credentials.generation
        if server_name_of is not None:
            return cls(address, server_name_of(node_id), generation)
        return cls(address, any_peer(credentials), generation)


def any_peer(credentials: LiveCredentials) -> str:
    """What TLS must find where any peer will do."""
    return role_server_name(Role.PEER, credentials.current().identity.federation)


class Link:
    """One peer: its address, its channel, and the messages that wait for it. Belongs to the event loop's thread."""

    def __init__(self, node_id: NodeId, address: Address) -> None:
        """Nothing is opened yet."""
        self.node_id = node_id
        self.address = address
        self.outbox: deque[Message] = deque(maxlen=OUTBOX_LIMIT)
        self.mail = asyncio.Event()
        self.moved = asyncio.Event()
        self.is_sending = False
        """A stream to the peer is open, or being opened."""
        self.socket: OutgoingSocket | None = None
        self.last_offer = ""
        """The newest socket that the peer offered; it offers another in each of its lives."""
        self.is_last_reachable = True
        self.retry_ms = 0
        """When a socket that is not is tried again."""
        self.channel: grpc.aio.Channel | None = None
        self.way: Way | None = None
        """How the channel was opened."""
        self.retired: list[grpc.aio.Channel] = []
        """Channels that were replaced, for a moment more: calls may still be under way on them."""

    def move(self) -> None:
        """Let the sender open a new stream, soon: it is to go another way."""
        self.moved.set()
        if self.is_sending:
            self.mail.set()
        if self.socket is not None:
            self.socket.wake()

    def give_up_socket(self, now_ms: int) -> None:
        """Stay with the stream for a while: trying takes time."""
        self.is_last_reachable, self.retry_ms = False, now_ms + SOCKET_RETRY_MS

    def retire_channel(self) -> None:
        """The next call opens another one."""
        if self.channel is not None:
            self.retired.append(self.channel)
        self.channel = None

    async def close_channel(self) -> None:
        """Close the channel and all that it replaced."""
        self.retire_channel()
        await self.close_retired()

    async def close_retired(self) -> None:
        """Close the channels that were replaced."""
        while self.retired:
            await self.retired.pop().close()
