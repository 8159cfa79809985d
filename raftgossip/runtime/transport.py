"""What a core's host may expect of the network."""

from __future__ import annotations

from typing import Protocol

from raftgossip.core.raft.message import Message


class Transport(Protocol):
    """Carries Raft messages. Each may be lost, repeated, delayed or overtaken; none is altered. Raft tolerates that."""

    def send(self, message: Message) -> None:
        """Hand over a message and return at once. When the receiver's outbox is full, its oldest message is dropped."""
