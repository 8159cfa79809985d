"""Golden scripts of Raft: a few nodes, commands that move them one step at a time, and everything they do as text.

A script is a text file. A line `> command` is followed by its exact output; `#` begins a comment that says what to look
for. Nothing happens by itself: a message waits until it is delivered, time passes only by `timeout` and `elapse`.

    > cluster 1,2,3 [learners=4] [spare=5] [batch=1] [window=1]   nodes with a committed configuration at index 1
    > log 1 terms=1,2,2 [term=3] [vote=2] [commit=2]             node 1 starts over from this disk
    > timeout 1          time passes until node 1's election timeout; only node 1 notices
    > heartbeat 1        time passes until leader 1's next heartbeat; only node 1 notices
    > run 1000           so many ms pass; every node gets its ticks, and messages arrive at once
    > propose 1 x        > change 1 1,2,3 [learners=4]           > stepdown 1
    > deliver 1>2 ...    deliver what waits on these ways now; `deliver` alone: everything that waits now
    > drop 1>2 ...       lose it; `drop` alone: everything
    > cut 1>2 3 ...      lose what is sent on this way, or from and to node 3, until `heal`
    > settle             deliver until nothing waits; shows only what nodes say of themselves
    > stop 1             > start 1                               crash, and restart from the disk
    > state              all nodes
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Applied,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    PreVoteRequest,
    PreVoteResponse,
    Proposed,
    RaftEvent,
    Ready,
    Received,
    StepDown,
    Tick,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.facts import (
    ConfigurationChanged,
    LeaderKnown,
    PeerCaughtUp,
    PeerResponsive,
    PeerUnresponsive,
    RaftFact,
    RoleChanged,
)
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim.machine import Disk


@dataclass(slots=True)
class Host:
    """A node, its disk, and whether it runs."""

    node: RaftNode
    disk: Disk = field(default_factory=Disk)
    is_up: bool = True


class Cluster:
    """Executes commands; each returns its output lines."""

    def __init__(self) -> None:
        self._hosts: dict[NodeId, Host] = {}
        self._waiting: list[Message] = []
        self._now_ms = 0
        self._num_requests = 0
        self._config = RaftConfig()
        self._lines: list[str] = []
        self._cuts: list[str] = []
        self._commands: dict[str, Callable[[Sequence[str], dict[str, str]], None]] = {
            "cluster": self._cluster,
            "log": self._log,
            "timeout": self._timeout,
            "heartbeat": self._timeout,
            "run": self._run,
            "propose": self._propose,
            "change": self._change,
            "stepdown": self._step_down,
            "deliver": self._deliver,
            "drop": self._drop,
            "cut": self._cut,
            "heal": self._heal,
            "settle": self._settle,
            "stop": self._stop,
            "start": self._start,
            "state": self._state,
        }

    def execute(self, command: str) -> list[str]:
        """Run one command line; its output."""
        name, *words = command.split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        self._lines = []
        self._commands[name]([word for word in words if "=" not in word], options)
        return self._lines or ["ok"]

    # --- setting up

    def _cluster(self, words: Sequence[str], options: dict[str, str]) -> None:
        configuration = Configuration(_ids(words[0]), _ids(options.get("learners", "")))
        self._config = RaftConfig(
            max_entries_per_append=int(options.get("batch", 256)), max_inflight=int(options.get("window", 16))
        )
        first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, configuration.encode())
        for node_id in configuration.voters + configuration.learners:
            disk = Disk(HardState(Term(1), None, LogIndex(1)), [first])
            self._boot(node_id, disk)
        for node_id in _ids(options.get("spare", "")):
            self._boot(node_id, Disk())
        self._lines.clear()

    def _log(self, words: Sequence[str], options: dict[str, str]) -> None:
        node_id = NodeId(int(words[0]))
        terms = [int(term) for term in options["terms"].split(",")]
        entries = self._hosts[node_id].disk.entries[:1]
        entries += [
            Entry(LogIndex(place), Term(term), EntryKind.COMMAND, f"{place}/{term}".encode())
            for place, term in enumerate(terms[1:], start=2)
        ]
        vote = NodeId(int(options.get("vote", 0))) or None
        term = Term(int(options.get("term", terms[-1])))
        hard_state = HardState(term, vote, LogIndex(int(options.get("commit", 1))))
        self._boot(node_id, Disk(hard_state, entries))
        self._lines.clear()

    def _boot(self, node_id: NodeId, disk: Disk) -> None:
        node = RaftNode(
            node_id,
            self._config,
            random.Random(node_id),
            hard_state=disk.hard_state,
            entries=tuple(disk.entries),
            now_ms=self._now_ms,
        )
        self._hosts[node_id] = Host(node, disk)
        self._perform(node_id)

    # --- time and requests

    def _timeout(self, words: Sequence[str], _: dict[str, str]) -> None:
        node_id = NodeId(int(words[0]))
        deadline_ms = self._hosts[node_id].node.deadline_ms()
        assert deadline_ms is not None, f"node {node_id} waits for messages only"
        self._now_ms = max(self._now_ms, deadline_ms)
        self._handle(node_id, Tick())

    def _run(self, words: Sequence[str], _: dict[str, str]) -> None:
        until_ms = self._now_ms + int(words[0])
        while True:
            self._settle((), {})
            due = [(host.node.deadline_ms(), node_id) for node_id, host in self._hosts.items() if host.is_up]
            soonest = min(((at_ms, node_id) for at_ms, node_id in due if at_ms is not None), default=None)
            if soonest is None or soonest[0] > until_ms:
                break
            self._now_ms = max(self._now_ms, soonest[0])
            self._handle(soonest[1], Tick())
        self._now_ms = until_ms

    def _propose(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._num_requests += 1
        self._handle(NodeId(int(words[0])), Proposed(self._num_requests, words[1].encode()))

    def _change(self, words: Sequence[str], options: dict[str, str]) -> None:
        self._num_requests += 1
        wanted = Configuration(_ids(words[1]), _ids(options.get("learners", "")))
        self._handle(NodeId(int(words[0])), ConfigurationProposed(self._num_requests, wanted))

    def _step_down(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._handle(NodeId(int(words[0])), StepDown())

    # --- messages

    def _deliver(self, words: Sequence[str], _: dict[str, str]) -> None:
        chosen = self._take(words)
        assert chosen, "nothing waits there"
        for message in chosen:
            self._lines.append(message_text(message))
            self._receive(message)

    def _drop(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._lines.extend(f"lost: {message_text(message)}" for message in self._take(words))

    def _settle(self, words: Sequence[str], _: dict[str, str]) -> None:
        for _round in range(1000):
            chosen = self._take(words)
            if not chosen:
                return
            for message in chosen:
                self._receive(message)
        raise AssertionError("the messages do not come to an end")

    def _take(self, ways: Sequence[str]) -> list[Message]:
        chosen = [message for message in self._waiting if not ways or f"{message.sender}>{message.receiver}" in ways]
        self._waiting = [message for message in self._waiting if message not in chosen]
        return chosen

    def _receive(self, message: Message) -> None:
        if self._hosts[message.receiver].is_up:
            self._handle(message.receiver, Received(message))

    def _cut(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._cuts.extend(words)

    def _heal(self, _words: Sequence[str], _: dict[str, str]) -> None:
        self._cuts.clear()

    def _is_cut(self, message: Message) -> bool:
        ways = (f"{message.sender}>{message.receiver}", str(message.sender), str(message.receiver))
        return any(way in self._cuts for way in ways)

    # --- crashes

    def _stop(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._hosts[NodeId(int(words[0]))].is_up = False

    def _start(self, words: Sequence[str], _: dict[str, str]) -> None:
        node_id = NodeId(int(words[0]))
        self._boot(node_id, self._hosts[node_id].disk)
        self._lines.append(self._node_text(node_id))

    # --- performing and showing

    def _handle(self, node_id: NodeId, event: RaftEvent) -> None:
        self._hosts[node_id].node.handle(event, self._now_ms)
        self._perform(node_id)

    def _perform(self, node_id: NodeId) -> None:
        """As the host does: persist, send, apply, tell the core."""
        host = self._hosts[node_id]
        host.node.check_invariants()
        while (ready := host.node.ready()) is not None:
            host.disk.save(ready.hard_state, ready.entries)
            self._waiting.extend(message for message in ready.messages if not self._is_cut(message))
            self._lines.extend(f"  {node_id} {line}" for line in _ready_lines(ready))
            if ready.entries:
                host.node.handle(Persisted(ready.entries[-1].index), self._now_ms)
            if ready.committed:
                host.node.handle(Applied(ready.committed[-1].index), self._now_ms)
            host.node.check_invariants()

    def _state(self, _words: Sequence[str], _: dict[str, str]) -> None:
        self._lines.extend(self._node_text(node_id) for node_id in sorted(self._hosts))
        self._lines.extend(f"waits: {message_text(message)}" for message in self._waiting)

    def _node_text(self, node_id: NodeId) -> str:
        host = self._hosts[node_id]
        if not host.is_up:
            return f"{node_id} down"
        status = host.node.status()
        vote = host.disk.hard_state.voted_for if host.disk.hard_state is not None else None
        terms = ",".join(str(entry.term) for entry in host.disk.entries)
        return (
            f"{node_id} {status.role} term={status.term} vote={vote or '-'} leader={status.leader or '-'} "
            f"log={terms or '-'} commit={status.commit_index}"
        )


# --- text


def _ids(text: str) -> tuple[NodeId, ...]:
    return tuple(NodeId(int(part)) for part in text.split(",") if part)


def _entries_text(entries: Iterable[Entry]) -> str:
    return " ".join(f"{entry.index}/{entry.term}" for entry in entries) or "-"


def message_text(message: Message) -> str:
    """A message in one line."""
    way = f"{message.sender}>{message.receiver} term={message.term}"
    match message.body:
        case PreVoteRequest(index, term):
            return f"{way} pre-vote? last={index}/{term}"
        case PreVoteResponse(granted):
            return f"{way} pre-vote {'granted' if granted else 'refused'}"
        case VoteRequest(index, term, is_transfer):
            return f"{way} vote? last={index}/{term}{' (transfer)' if is_transfer else ''}"
        case VoteResponse(granted):
            return f"{way} vote {'granted' if granted else 'refused'}"
        case AppendRequest(index, term, entries, commit_index, _):
            return f"{way} append after {index}/{term}: {_entries_text(entries)} commit={commit_index}"
        case AppendResponse(success, match_index, _, _, _) if success:
            return f"{way} appended, match={match_index}"
        case AppendResponse(_, _, conflict_index, conflict_term, _):
            return f"{way} does not fit, try index {conflict_index} or term {conflict_term}"
        case TimeoutNow():
            return f"{way} stand now"


def _ready_lines(ready: Ready) -> list[str]:
    """What a Ready means for its own node; its messages show when they are delivered."""
    lines = []
    if ready.hard_state is not None:
        lines.append(f"saves term={ready.hard_state.term} vote={ready.hard_state.voted_for or '-'}")
    if ready.entries:
        lines.append(f"saves {_entries_text(ready.entries)}")
    if ready.committed:
        lines.append(f"commits {_entries_text(ready.committed)}")
    lines.extend(f"refuses: {refused.reason}, leader {refused.leader or '-'}" for refused in ready.refused)
    return lines + [text for fact in ready.facts if (text := fact_text(fact))]


def fact_text(fact: RaftFact) -> str:
    """A fact in a few words; empty for what another line shows."""
    match fact:
        case RoleChanged(_, role, term):
            return f"is {role} of term {term}" if role in ("leader", "candidate") else f"is {role}"
        case LeaderKnown(leader, term):
            return f"follows {leader} in term {term}" if leader is not None else "knows no leader"
        case PeerUnresponsive(node_id):
            return f"hears nothing of {node_id}"
        case PeerResponsive(node_id):
            return f"hears {node_id}"
        case PeerCaughtUp(node_id, match_index):
            return f"says that {node_id} has caught up at {match_index}"
        case ConfigurationChanged(voters, learners, index):
            group = ",".join(map(str, voters))
            return f"uses voters {group} learners {','.join(map(str, learners)) or '-'} of entry {index}"


def run_script(text: str) -> str:
    """Execute a script; the same script with the outputs that came out."""
    cluster = Cluster()
    result: list[str] = []
    for line in text.splitlines():
        if line.startswith("> "):
            result.append(line)
            result.extend(f"  {output}" for output in cluster.execute(line.removeprefix("> ")))
        elif not line or line.startswith("#"):
            result.append(line)
    return "\n".join(result) + "\n"
