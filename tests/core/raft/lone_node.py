"""One node of a few, whose disk and network are the test: what the rules of the papers are tested on."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Applied,
    Body,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    PreVoteResponse,
    Proposed,
    RaftEvent,
    ReadGranted,
    ReadRequested,
    Ready,
    Received,
    Refused,
    Snapshot,
    SnapshotChunk,
    SnapshotTaken,
    Tick,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.core.raft.status import RaftStatus
from raftgossip.facts import RaftFact
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim.machine import Disk

Kind = TypeVar("Kind", bound=Body)


def entry(index: int, term: int, data: bytes | None = None) -> Entry:
    """A command whose content follows from its place, unless one is given."""
    content = b"%d/%d" % (index, term) if data is None else data
    return Entry(LogIndex(index), Term(term), EntryKind.COMMAND, content)


def configuration(text: str) -> Configuration:
    """`voters|learners` or `voters|learners|outgoing`, as in the log; without bars: voters."""
    return Configuration.decode((text if "|" in text else f"{text}|").encode())


def change_entry(index: int, term: int, text: str) -> Entry:
    """An entry with a configuration."""
    return Entry(LogIndex(index), Term(term), EntryKind.CONFIGURATION, configuration(text).encode())


def append(previous: tuple[int, int], *entries: Entry, commit: int = 0, sequence: int = 1) -> AppendRequest:
    """A leader's request: `previous` is index and term."""
    return AppendRequest(LogIndex(previous[0]), Term(previous[1]), entries, LogIndex(commit), sequence)


def appended(match: int, sequence: int = 1) -> AppendResponse:
    """A follower's success."""
    return AppendResponse(True, LogIndex(match), LogIndex(0), Term(0), sequence)


def refused(try_index: int, term: int = 0, sequence: int = 1) -> AppendResponse:
    """A follower's refusal: where the leader should try next, and the term that stands there (0: none)."""
    return AppendResponse(False, LogIndex(0), LogIndex(try_index), Term(term), sequence)


def vote_request(last: tuple[int, int], is_transfer: bool = False) -> VoteRequest:
    """A candidate's question: `last` is index and term."""
    return VoteRequest(LogIndex(last[0]), Term(last[1]), is_transfer)


def snapshot(last: tuple[int, int], data: bytes = b"0123456789", voters: str = "1,2,3") -> Snapshot:
    """A snapshot up to the entry `last`, given by index and term."""
    return Snapshot.of(LogIndex(last[0]), Term(last[1]), configuration(voters), data)


def chunk(of: Snapshot, start: int = 0, stop: int | None = None, sequence: int = 1) -> SnapshotChunk:
    """The bytes from `start` to `stop` of a snapshot."""
    data = of.data[start:stop]
    return SnapshotChunk(
        of.last_index, of.last_term, of.configuration, len(of.data), of.checksum, start, data, sequence
    )


def bodies(messages: Sequence[Message], kind: type[Kind], receiver: int | None = None) -> list[Kind]:
    """The bodies of one kind, to everybody or to one node."""
    return [
        message.body for message in messages if isinstance(message.body, kind) and receiver in (None, message.receiver)
    ]


def granted(messages: Sequence[Message]) -> bool | None:
    """The answer to a question for a vote; None: there is none."""
    answers = bodies(messages, VoteResponse)
    return answers[0].granted if answers else None


def answer(messages: Sequence[Message]) -> AppendResponse:
    """The one answer to an append."""
    (body,) = bodies(messages, AppendResponse)
    return body


class LoneNode:
    """Node 1, with all its effects at hand."""

    def __init__(
        self,
        terms: Sequence[int] = (1,),
        *,
        term: int = 1,
        vote: int | None = None,
        commit: int = 1,
        members: str = "1,2,3",
        config: RaftConfig | None = None,
    ) -> None:
        """`terms`: of the entries on its disk; the first is the configuration `members`."""
        entries = [
            change_entry(1, terms[0], members),
            *(entry(place, term) for place, term in enumerate(terms[1:], start=2)),
        ]
        self.disk = Disk(HardState(Term(term), NodeId(vote) if vote else None, LogIndex(commit)), entries)
        self.now_ms = 0
        self.config = config or RaftConfig()
        self.is_disk_slow = False
        """What is handed out stays unwritten, until `finish_writing`."""
        self.restart()

    def restart(self) -> None:
        """Begin anew with what the disk holds."""
        self.node = RaftNode(
            NodeId(1),
            self.config,
            random.Random(1),
            hard_state=self.disk.hard_state,
            snapshot=self.disk.snapshot,
            entries=tuple(self.disk.entries),
            now_ms=self.now_ms,
        )
        self.committed: list[Entry] = []
        """What the state machine was given, in order; a snapshot that it took its state from is in `installed`."""
        self.installed: list[Snapshot] = []
        self.reads: list[ReadGranted] = []
        self.refused: list[Refused] = []
        self.facts: list[RaftFact] = []
        self._writing: deque[Ready] = deque()
        self._perform()

    # --- what happens to it

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
        """Time out and win the pre-vote of three by node 2; the requests for votes."""
        self.time_out()
        return self.receive(2, self.status.term + 1, PreVoteResponse(True))

    def lead(self, *supporters: int) -> list[Message]:
        """Win an election by these votes (node 2's alone, if none are named); the first appends."""
        self.time_out()
        messages: list[Message] = []
        for answer in (PreVoteResponse(True), VoteResponse(True)):
            term = self.status.term + (1 if isinstance(answer, PreVoteResponse) else 0)
            for supporter in supporters or (2,):
                messages = self.receive(supporter, term, answer)
        assert self.status.role == "leader"
        return messages

    def propose(self, data: bytes = b"x") -> list[Message]:
        """A client's command."""
        return self.handle(Proposed(1, data))

    def change(self, text: str) -> list[Message]:
        """An operator's wish for this configuration."""
        return self.handle(ConfigurationProposed(2, configuration(text)))

    def read(self, request_id: int = 3) -> list[Message]:
        """A client's linearizable read."""
        return self.handle(ReadRequested(request_id))

    def take_snapshot(self, index: int, data: bytes = b"0123456789") -> list[Message]:
        """The host hands over the encoded state after the entry `index`."""
        return self.handle(SnapshotTaken(LogIndex(index), data))

    def finish_writing(self) -> list[Message]:
        """The disk is quick again; the messages that waited for it."""
        self.is_disk_slow = False
        return self._perform()

    # --- what it shows

    @property
    def status(self) -> RaftStatus:
        """What is true now."""
        return self.node.status()

    @property
    def log_terms(self) -> list[int]:
        """The terms of the saved entries."""
        return [saved.term for saved in self.disk.entries]

    @property
    def changes(self) -> list[str]:
        """The configurations in the saved log, behind its first entry."""
        return [saved.data.decode() for saved in self.disk.entries[1:] if saved.kind is EntryKind.CONFIGURATION]

    def take_ready(self) -> Ready | None:
        """What the node hands out now, without performing it."""
        return self.node.ready()

    # --- how effects are performed

    def _perform(self) -> list[Message]:
        """In the order that `Ready` states."""
        messages: list[Message] = []
        self.node.check_invariants()
        while True:
            if (ready := self.node.ready()) is not None:
                messages += ready.prompt_messages
                self._writing.append(ready)
            elif not self._writing or self.is_disk_slow:
                return messages
            while self._writing and not self.is_disk_slow:
                messages += self._write(self._writing.popleft())
            self.node.check_invariants()

    def _write(self, ready: Ready) -> tuple[Message, ...]:
        self.disk.save(ready.hard_state, ready.entries, ready.snapshot)
        if ready.snapshot is not None and ready.snapshot.is_received:
            self.installed.append(ready.snapshot.snapshot)
        self.committed += ready.committed
        self.reads += ready.reads
        self.refused += ready.refused
        self.facts += ready.facts
        if ready.entries:
            self.node.handle(Persisted(ready.entries[-1].index), self.now_ms)
        if ready.committed:
            self.node.handle(Applied(ready.committed[-1].index), self.now_ms)
        return ready.messages
