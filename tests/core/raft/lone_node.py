"""One node of three, whose disk is quick and whose network is the test: what the rules of the papers are tested on."""

from __future__ import annotations

import random
from collections.abc import Sequence

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Applied,
    Body,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    PreVoteResponse,
    Proposed,
    RaftEvent,
    Ready,
    Received,
    Tick,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim.machine import Disk


def entry(index: int, term: int, data: bytes | None = None) -> Entry:
    """A command whose content follows from its place, unless one is given."""
    content = b"%d/%d" % (index, term) if data is None else data
    return Entry(LogIndex(index), Term(term), EntryKind.COMMAND, content)


def append(previous: tuple[int, int], *entries: Entry, commit: int = 0, sequence: int = 1) -> AppendRequest:
    """A leader's request: `previous` is index and term."""
    return AppendRequest(LogIndex(previous[0]), Term(previous[1]), entries, LogIndex(commit), sequence)


def appended(match: int, sequence: int = 1) -> AppendResponse:
    """A follower's success."""
    return AppendResponse(True, LogIndex(match), LogIndex(0), Term(0), sequence)


def vote_request(last: tuple[int, int], is_transfer: bool = False) -> VoteRequest:
    """A candidate's question: `last` is index and term."""
    return VoteRequest(LogIndex(last[0]), Term(last[1]), is_transfer)


class LoneNode:
    """Node 1, with the effects of the last event at hand."""

    def __init__(
        self,
        terms: Sequence[int] = (1,),
        *,
        term: int = 1,
        vote: int | None = None,
        commit: int = 1,
        voters: Sequence[int] = (1, 2, 3),
        config: RaftConfig | None = None,
    ) -> None:
        """`terms`: of the entries on its disk; the first is the configuration."""
        configuration = Configuration(tuple(map(NodeId, voters)))
        first = Entry(LogIndex(1), Term(terms[0]), EntryKind.CONFIGURATION, configuration.encode())
        entries = [first, *(entry(place, term) for place, term in enumerate(terms[1:], start=2))]
        self.disk = Disk(HardState(Term(term), NodeId(vote) if vote else None, LogIndex(commit)), entries)
        self.now_ms = 0
        self.config = config or RaftConfig()
        self.is_disk_slow = False
        self.restart()

    def restart(self) -> None:
        """Begin anew with what the disk holds."""
        self.node = RaftNode(
            NodeId(1),
            self.config,
            random.Random(1),
            hard_state=self.disk.hard_state,
            entries=tuple(self.disk.entries),
            now_ms=self.now_ms,
        )
        self.committed: list[Entry] = []
        self._perform()

    def handle(self, event: RaftEvent) -> list[Message]:
        """Feed an event; the messages that it causes."""
        self.node.handle(event, self.now_ms)
        return self._perform()

    def receive(self, sender: int, term: int, body: Body) -> list[Message]:
        """A message from `sender` arrives."""
        return self.handle(Received(Message(NodeId(sender), NodeId(1), Term(term), body)))

    def time_out(self) -> list[Message]:
        """The next deadline passes."""
        deadline_ms = self.node.deadline_ms()
        assert deadline_ms is not None
        self.now_ms = max(self.now_ms, deadline_ms)
        return self.handle(Tick())

    def stand(self) -> list[Message]:
        """Time out and win the pre-vote; the requests for votes."""
        self.time_out()
        return self.receive(2, self.node.status().term + 1, PreVoteResponse(True))

    def lead(self) -> list[Message]:
        """Win an election by node 2's vote; the first appends."""
        self.stand()
        return self.receive(2, self.node.status().term, VoteResponse(True))

    def propose(self, data: bytes = b"x") -> list[Message]:
        """A client's command."""
        return self.handle(Proposed(1, data))

    @property
    def log_terms(self) -> list[int]:
        """The terms of the saved entries."""
        return [saved.term for saved in self.disk.entries]

    def take_ready(self) -> Ready | None:
        """What the node hands out now, without performing it."""
        return self.node.ready()

    def _perform(self) -> list[Message]:
        messages: list[Message] = []
        self.node.check_invariants()
        while (ready := self.node.ready()) is not None:
            self.disk.save(ready.hard_state, ready.entries)
            messages += ready.messages
            self.committed += ready.committed
            if ready.entries and not self.is_disk_slow:
                self.node.handle(Persisted(ready.entries[-1].index), self.now_ms)
            if ready.committed:
                self.node.handle(Applied(ready.committed[-1].index), self.now_ms)
            self.node.check_invariants()
        return messages
