"""What the next Ready will carry, while it is being put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from raftgossip.core.raft.message import (
    Appended,
    Body,
    Entry,
    HardState,
    Message,
    ReadGranted,
    Ready,
    Refused,
    SnapshotSave,
)
from raftgossip.facts import RaftFact
from raftgossip.ids import NodeId, Term


@dataclass(slots=True)
class Effects:
    """Collects effects in order. It is emptied by `take`, so it grows no longer than one batch of events."""

    sender: NodeId
    messages: list[Message] = field(default_factory=list)
    snapshot: SnapshotSave | None = None
    committed: list[Entry] = field(default_factory=list)
    appended: list[Appended] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    reads: list[ReadGranted] = field(default_factory=list)
    facts: list[RaftFact] = field(default_factory=list)

    def send(self, receiver: NodeId, term: Term, body: Body) -> None:
        """Address a body."""
        self.messages.append(Message(self.sender, receiver, term, body))

    def refuse(self, request_id: int, reason: str, leader: NodeId | None) -> None:
        """Tell a requester that nothing came of it."""
        self.refused.append(Refused(request_id, reason, leader))

    def take(self, hard_state: HardState | None, entries: tuple[Entry, ...], *, is_prompt: bool) -> Ready | None:
        """All that was collected, as a Ready; None: nothing. `is_prompt`: messages need not wait for the disk."""
        if not (
            self.messages
            or entries
            or hard_state is not None
            or self.committed
            or self.facts
            or self.reads
            or self.appended
            or self.refused
            or self.snapshot is not None
        ):
            return None
        messages = tuple(self.messages)
        ready = Ready(
            hard_state=hard_state,
            snapshot=self.snapshot,
            entries=entries,
            prompt_messages=messages if is_prompt else (),
            messages=() if is_prompt else messages,
            committed=tuple(self.committed),
            appended=tuple(self.appended),
            refused=tuple(self.refused),
            reads=tuple(self.reads),
            facts=tuple(self.facts),
        )
        self.snapshot = None
        for collected in (self.messages, self.committed, self.appended, self.refused, self.reads, self.facts):
            collected.clear()
        return ready
