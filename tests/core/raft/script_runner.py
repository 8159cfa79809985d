"""Golden scripts of Raft: a few nodes, commands that move them one step at a time, and everything they do as text.

A script is a text file. A line `> command` is followed by its exact output; `#` begins a comment that says what to look
for. Nothing happens by itself: a message waits until it is delivered, time passes only by the commands that say so.

    > cluster 1,2,3 [learners=4] [spare=5] [batch=1] [...]     nodes with a committed configuration at index 1
    > log 1 terms=1,2,2 [term=3] [vote=2] [commit=2]           node 1 starts over from this disk
    > lead 1             node 1 is elected, and all that hear of it follow; shows nothing
    > timeout 1          time passes until node 1 wants to do something by itself; only node 1 notices
    > heartbeat 1        time passes until a leader's next heartbeat; only node 1 notices
    > elapse 600         so many ms pass; nobody notices before something else happens to it
    > run 1000           so many ms pass; every node does what it wants in time, and messages arrive at once
    > propose 1 x        > change 1 1,2,3 [learners=4]         > transfer 1 [2]         > read 1
    > snapshot 1         node 1 takes a snapshot of all that it has applied
    > deliver 1>2 ...    deliver what waits on these ways now; `deliver` alone: everything that waits now
    > drop 1>2 ...       lose it; `drop` alone: everything
    > aside 1>2          keep back what waits there                > copy 1>2    ... or a copy of it
    > late               deliver what was kept back
    > cut 1>2 3 ...      lose what is sent on this way, or from and to node 3, until `heal`
    > settle             deliver until nothing waits; shows only what nodes say of themselves
    > hold 1             from now on node 1's disk takes its time  > sync 1      it has written everything, and is quick
    > stop 1             crash: what the disk has not written is lost
    > start 1            restart from the disk
    > state              all nodes
    > followers 1        what leader 1 knows of the others       > configuration 1 2    which one decides at 1 and 2

The state of a node is the words that it applied, so a snapshot is a text. `cluster` takes the settings of `OPTIONS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Applied,
    Configuration,
    ConfigurationProposed,
    Entry,
    EntryKind,
    HardState,
    Message,
    Persisted,
    Proposed,
    RaftEvent,
    ReadRequested,
    Ready,
    Received,
    SnapshotTaken,
    Tick,
    TransferRequested,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.sim.machine import Disk
from tests.core.raft.script_text import configuration_text, ids, message_text, ready_lines

OPTIONS = {
    "batch": "max_entries_per_append",
    "window": "max_inflight",
    "uncommitted": "max_uncommitted",
    "uncommitted_bytes": "max_uncommitted_bytes",
    "inflight_bytes": "max_inflight_bytes",
    "trailing": "snapshot_trailing",
    "chunk": "snapshot_chunk_bytes",
    "rate": "snapshot_bytes_per_s",
    "lease": "lease_drift_percent",
    "lag": "caught_up_lag",
}
"""What `cluster` calls the settings of `RaftConfig`."""


@dataclass(slots=True)
class Host:
    """A node, its disk, and whether it runs."""

    node: RaftNode
    disk: Disk = field(default_factory=Disk)
    is_up: bool = True
    words: list[str] = field(default_factory=list)
    """The state: the commands that were applied."""
    is_held: bool = False
    writing: list[Ready] = field(default_factory=list)
    """Readys that wait for the disk, in order."""


class Cluster:
    """Executes commands; each returns its output lines."""

    def __init__(self) -> None:
        self._hosts: dict[NodeId, Host] = {}
        self._waiting: list[Message] = []
        self._kept_back: list[Message] = []
        self._now_ms = 0
        self._num_requests = self._num_reads = 0
        self._config = RaftConfig()
        self._lines: list[str] = []
        self._cuts: list[str] = []
        self._commands: dict[str, Callable[[Sequence[str], dict[str, str]], None]] = {
            "cluster": self._cluster,
            "log": self._log,
            "lead": self._lead,
            "timeout": self._timeout,
            "heartbeat": self._heartbeat,
            "elapse": self._elapse,
            "run": self._run,
            "propose": self._propose,
            "change": self._change,
            "transfer": self._transfer,
            "read": self._read,
            "snapshot": self._snapshot,
            "deliver": self._deliver,
            "drop": self._drop,
            "aside": self._aside,
            "copy": self._copy,
            "late": self._late,
            "cut": self._cut,
            "heal": self._heal,
            "settle": self._settle,
            "hold": self._hold,
            "sync": self._sync,
            "stop": self._stop,
            "start": self._start,
            "state": self._state,
            "followers": self._followers,
            "configuration": self._configuration,
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
        self._hosts.clear()
        self._waiting.clear()
        configuration = Configuration(ids(words[0]), ids(options.pop("learners", "")))
        spare = ids(options.pop("spare", ""))
        self._config = RaftConfig(**{OPTIONS[name]: int(value) for name, value in options.items()})
        first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, configuration.encode())
        for node_id in configuration.voters + configuration.learners:
            self._boot(node_id, Disk(HardState(Term(1), None, LogIndex(1)), [first]))
        for node_id in spare:
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
            snapshot=disk.snapshot,
            entries=tuple(disk.entries),
            now_ms=self._now_ms,
        )
        words = disk.snapshot.snapshot.data.decode().split() if disk.snapshot is not None else []
        self._hosts[node_id] = Host(node, disk, words=words)
        self._perform(node_id)

    def _lead(self, words: Sequence[str], _: dict[str, str]) -> None:
        for step in (self._timeout, self._heartbeat):
            step(words, {})
            self._settle((), {})
        assert self._host(words[0]).node.status().role == "leader", "it was not elected"
        self._lines.clear()

    # --- time

    def _timeout(self, words: Sequence[str], _: dict[str, str]) -> None:
        deadline_ms = self._host(words[0]).node.deadline_ms()
        assert deadline_ms is not None, f"node {words[0]} waits for messages only"
        self._now_ms = max(self._now_ms, deadline_ms)
        self._handle(words[0], Tick())

    def _heartbeat(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._now_ms += self._config.heartbeat_ms
        self._handle(words[0], Tick())

    def _elapse(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._now_ms += int(words[0])

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

    # --- requests

    def _propose(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._num_requests += 1
        self._handle(words[0], Proposed(self._num_requests, words[1].encode()))

    def _change(self, words: Sequence[str], options: dict[str, str]) -> None:
        self._num_requests += 1
        wanted = Configuration(ids(words[1]), ids(options.get("learners", "")))
        self._handle(words[0], ConfigurationProposed(self._num_requests, wanted))

    def _transfer(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._num_requests += 1
        target = NodeId(int(words[1])) if len(words) > 1 else None
        self._handle(words[0], TransferRequested(self._num_requests, target))

    def _read(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._num_reads += 1
        self._handle(words[0], ReadRequested(self._num_reads))

    def _snapshot(self, words: Sequence[str], _: dict[str, str]) -> None:
        host = self._host(words[0])
        self._handle(words[0], SnapshotTaken(host.node.status().applied_index, " ".join(host.words).encode()))

    # --- messages

    def _deliver(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._receive_all(self._take(words))

    def _drop(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._lines.extend(f"lost: {message_text(message)}" for message in self._take(words))

    def _aside(self, words: Sequence[str], _: dict[str, str]) -> None:
        chosen = self._take(words)
        self._kept_back.extend(chosen)
        self._lines.extend(f"kept back: {message_text(message)}" for message in chosen)

    def _copy(self, words: Sequence[str], options: dict[str, str]) -> None:
        waiting = list(self._waiting)
        self._aside(words, options)
        self._waiting = waiting

    def _late(self, _words: Sequence[str], _: dict[str, str]) -> None:
        chosen, self._kept_back = self._kept_back, []
        self._receive_all(chosen)

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

    def _receive_all(self, chosen: Sequence[Message]) -> None:
        assert chosen, "nothing waits there"
        for message in chosen:
            self._lines.append(message_text(message))
            self._receive(message)

    def _receive(self, message: Message) -> None:
        if self._hosts[message.receiver].is_up:
            self._handle(message.receiver, Received(message))

    def _cut(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._cuts.extend(words)

    def _heal(self, _words: Sequence[str], _: dict[str, str]) -> None:
        self._cuts.clear()

    def _send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            ways = (f"{message.sender}>{message.receiver}", str(message.sender), str(message.receiver))
            if not any(way in self._cuts for way in ways):
                self._waiting.append(message)

    # --- disks and crashes

    def _hold(self, words: Sequence[str], _: dict[str, str]) -> None:
        self._host(words[0]).is_held = True

    def _sync(self, words: Sequence[str], _: dict[str, str]) -> None:
        host = self._host(words[0])
        host.is_held = False
        writing, host.writing = host.writing, []
        for ready in writing:
            self._finish(NodeId(int(words[0])), ready)
        self._perform(NodeId(int(words[0])))

    def _stop(self, words: Sequence[str], _: dict[str, str]) -> None:
        host = self._host(words[0])
        host.is_up = False
        host.writing.clear()

    def _start(self, words: Sequence[str], _: dict[str, str]) -> None:
        node_id = NodeId(int(words[0]))
        self._boot(node_id, self._hosts[node_id].disk)
        self._lines.append(self._node_text(node_id))

    # --- performing

    def _host(self, word: str) -> Host:
        return self._hosts[NodeId(int(word))]

    def _handle(self, node: str | NodeId, event: RaftEvent) -> None:
        node_id = NodeId(int(node))
        self._hosts[node_id].node.handle(event, self._now_ms)
        self._perform(node_id)

    def _perform(self, node_id: NodeId) -> None:
        """As the host does: send what may go at once; persist, send, apply; tell the core."""
        host = self._hosts[node_id]
        host.node.check_invariants()
        while (ready := host.node.ready()) is not None:
            self._send(ready.prompt_messages)
            if host.writing or (host.is_held and ready.needs_disk):
                host.writing.append(ready)
            else:
                self._finish(node_id, ready)
            host.node.check_invariants()

    def _finish(self, node_id: NodeId, ready: Ready) -> None:
        """Everything behind the prompt messages."""
        host = self._hosts[node_id]
        self._lines.extend(f"  {node_id} {line}" for line in ready_lines(ready, host.disk.hard_state))
        host.disk.save(ready.hard_state, ready.entries, ready.snapshot)
        self._send(ready.messages)
        if ready.snapshot is not None and ready.snapshot.is_received:
            host.words = ready.snapshot.snapshot.data.decode().split()
        host.words.extend(entry.data.decode() for entry in ready.committed if entry.kind is EntryKind.COMMAND)
        for granted in ready.reads:
            self._lines.append(f"  {node_id} answers read {granted.request_id} with {' '.join(host.words)!r}")
        if ready.entries:
            host.node.handle(Persisted(ready.entries[-1].index), self._now_ms)
        if ready.committed:
            host.node.handle(Applied(ready.committed[-1].index), self._now_ms)

    # --- showing

    def _state(self, _words: Sequence[str], _: dict[str, str]) -> None:
        self._lines.extend(self._node_text(node_id) for node_id in sorted(self._hosts))
        self._lines.extend(f"waits: {message_text(message)}" for message in self._waiting)

    def _node_text(self, node_id: NodeId) -> str:
        host = self._hosts[node_id]
        if not host.is_up:
            return f"{node_id} down"
        status, disk = host.node.status(), host.disk
        vote = disk.hard_state.voted_for if disk.hard_state is not None else None
        terms = ",".join(str(entry.term) for entry in disk.entries) or "-"
        compacted = f"({disk.base_index})" if disk.base_index else ""
        line = (
            f"{node_id} {status.role} term={status.term} vote={vote or '-'} leader={status.leader or '-'} "
            f"log={compacted}{terms} commit={status.commit_index}"
        )
        return f"{line} snapshot={status.snapshot_index}" if status.snapshot_index else line

    def _followers(self, words: Sequence[str], _: dict[str, str]) -> None:
        for each in self._host(words[0]).node.status().followers:
            silent = "" if each.responsive else ", silent"
            self._lines.append(f"{each.node_id} {each.flow} match={each.match_index}{silent}")

    def _configuration(self, words: Sequence[str], _: dict[str, str]) -> None:
        """Of each of these nodes, the one that decides there."""
        for word in words:
            self._lines.append(f"{word} uses {configuration_text(self._host(word).node.status().configuration)}")


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
