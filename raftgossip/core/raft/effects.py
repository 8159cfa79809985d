"""What the next Ready will carry, while it is being put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from raftgossip.core.raft.message import Appended, Body, Entry, Message, Refused
from raftgossip.facts import RaftFact
from raftgossip.ids import NodeId, Term


@dataclass(slots=True)
class Effects:
    """Collects effects in order. It is emptied by `RaftNode.ready`, so it grows no longer than one batch of events."""

    sender: NodeId
    messages: list[Message] = field(default_factory=list)
    committed: list[Entry] = field(default_factory=list)
    appended: list[Appended] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    facts: list[RaftFact] = field(default_factory=list)

    def send(self, receiver: NodeId, term: Term, body: Body) -> None:
        """Address a body; it goes out after everything that this Ready saves is durable."""
        self.messages.append(Message(self.sender, receiver, term, body))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has to happen."""
        return not (self.messages or self.committed or self.appended or self.refused or self.facts)
