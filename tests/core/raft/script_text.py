"""What Raft's values look like in golden scripts.

An entry is written `index/term`; one that holds a configuration `5/2(1,2,3)`, with learners `5/2(1,2,3 + 4)`, and while
it is joint `5/2(1,4,5 from 1,2,3)`.
"""

from __future__ import annotations

from collections.abc import Iterable

from raftgossip.core.raft.message import (
    AppendRequest,
    AppendResponse,
    Body,
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    Ready,
    SnapshotChunk,
    SnapshotResponse,
    SnapshotSave,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.facts import (
    ConfigurationChanged,
    LeaderKnown,
    PeerCaughtUp,
    PeerResponsive,
    PeerUnresponsive,
    RaftFact,
    RoleChanged,
)
from raftgossip.ids import NodeId

QUESTIONS = 1 << 20
"""A life's questions are numbered from a random multiple of this on; scripts show them from 0 on."""


def ids(text: str) -> tuple[NodeId, ...]:
    """The nodes in `1,2,3`."""
    return tuple(NodeId(int(part)) for part in text.split(",") if part)


def group_text(nodes: Iterable[NodeId]) -> str:
    """The nodes as `1,2,3`."""
    return ",".join(map(str, nodes)) or "-"


def entries_text(entries: Iterable[Entry]) -> str:
    """Entries in one line."""
    return " ".join(map(_entry_text, entries)) or "-"


def _entry_text(entry: Entry) -> str:
    place = f"{entry.index}/{entry.term}"
    if entry.kind is not EntryKind.CONFIGURATION:
        return place
    return f"{place}({configuration_text(Configuration.decode(entry.data))})"


def configuration_text(configuration: Configuration) -> str:
    """Voters, learners and outgoing voters."""
    learners = f" + {group_text(configuration.learners)}" if configuration.learners else ""
    outgoing = f" from {group_text(configuration.outgoing)}" if configuration.outgoing else ""
    return f"{group_text(configuration.voters)}{learners}{outgoing}"


def message_text(message: Message) -> str:
    """A message in one line."""
    return f"{message.sender}>{message.receiver} term={message.term} {_body_text(message.body)}"


def _body_text(body: Body) -> str:
    match body:
        case AppendRequest(index, term, entries, commit_index, _):
            return f"append after {index}/{term}: {entries_text(entries)} commit={commit_index}"
        case AppendResponse(success, match_index, conflict_index, conflict_term, _):
            if success:
                return f"appended, match={match_index}"
            return f"does not fit, try index {conflict_index} or term {conflict_term}"
        case SnapshotChunk():
            return _chunk_text(body)
        case SnapshotResponse(index, term, next_offset, _):
            return f"holds {next_offset} bytes of snapshot {index}/{term}"
        case ReadIndexRequest(context):
            return f"read? question {context % QUESTIONS}"
        case ReadIndexResponse(context, index):
            return f"read at {index}, question {context % QUESTIONS}"
        case _:
            return _election_text(body)


def _election_text(body: PreVoteRequest | PreVoteResponse | VoteRequest | VoteResponse | TimeoutNow) -> str:
    match body:
        case PreVoteRequest(index, term):
            return f"pre-vote? last={index}/{term}"
        case PreVoteResponse(granted):
            return f"pre-vote {'granted' if granted else 'refused'}"
        case VoteRequest(index, term, is_transfer):
            return f"vote? last={index}/{term}{' (transfer)' if is_transfer else ''}"
        case VoteResponse(granted):
            return f"vote {'granted' if granted else 'refused'}"
        case TimeoutNow():
            return "stand now"


def _chunk_text(chunk: SnapshotChunk) -> str:
    stop = chunk.offset + len(chunk.data)
    text = chunk.data.decode(errors="replace")
    return (
        f"snapshot {chunk.last_index}/{chunk.last_term} bytes {chunk.offset} to {stop} of {chunk.total_bytes}: {text!r}"
    )


def ready_lines(ready: Ready, before: HardState | None) -> list[str]:
    """What a Ready means for its own node, whose disk held `before`; its messages show when they are delivered."""
    lines = []
    saved = ready.hard_state
    if saved is not None and (before is None or (saved.term, saved.voted_for) != (before.term, before.voted_for)):
        lines.append(f"saves term={saved.term} vote={saved.voted_for or '-'}")
    if ready.snapshot is not None:
        lines.append(_snapshot_text(ready.snapshot))
    if ready.entries:
        lines.append(f"saves {entries_text(ready.entries)}")
    if ready.committed:
        lines.append(f"commits {entries_text(ready.committed)}")
    lines.extend(f"refuses: {refused.reason}, leader {refused.leader or '-'}" for refused in ready.refused)
    return lines + [text for fact in ready.facts if (text := _fact_text(fact))]


def _snapshot_text(save: SnapshotSave) -> str:
    snapshot = save.snapshot
    place = f"{snapshot.last_index}/{snapshot.last_term} {snapshot.data.decode()!r}"
    if save.is_received:
        return f"takes the state of snapshot {place} in place of its own"
    return f"saves snapshot {place}, drops entries up to {save.base_index}"


def _fact_text(fact: RaftFact) -> str:
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
        case ConfigurationChanged(voters, learners, index, outgoing):
            joint = f" outgoing {group_text(outgoing)}" if outgoing else ""
            return f"agrees on voters {group_text(voters)} learners {group_text(learners)}{joint} of entry {index}"
