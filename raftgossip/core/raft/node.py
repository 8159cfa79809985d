"""RaftNode: takes events, dispatches messages, commits, and puts the Ready together.

The rules themselves are in the other files; here is only who calls them when.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import assert_never

from raftgossip.core.raft import election, membership, replication, snapshot
from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.effects import Effects
from raftgossip.core.raft.log import Log
from raftgossip.core.raft.message import (
    Appended,
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
    ReadGranted,
    ReadIndexRequest,
    ReadIndexResponse,
    ReadRequested,
    Ready,
    Received,
    Snapshot,
    SnapshotChunk,
    SnapshotResponse,
    SnapshotSave,
    SnapshotTaken,
    Tick,
    TimeoutNow,
    TransferRequested,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.read_index import MAX_WAITING, FollowerReads
from raftgossip.core.raft.roles import Roles
from raftgossip.core.raft.snapshot import Incoming
from raftgossip.core.raft.state import RaftState, Role
from raftgossip.core.raft.status import RaftStatus, status_of
from raftgossip.facts import LeaderKnown, RoleChanged
from raftgossip.ids import LogIndex, NodeId, Term

MAX_TERM_JUMP = 1_000_000
"""No cluster holds so many elections while a node is away: such a term is a mistake, and taking it over would use up
the numbers for good."""

COMMIT_SAVE_MS = 50
"""The commit index is saved along with entries no more often than this."""


class RaftNode:
    """One node's Raft: a `Core` of `RaftEvent` and `Ready`. Invariants: those of its parts."""

    def __init__(
        self,
        node_id: NodeId,
        config: RaftConfig,
        rng: random.Random,
        *,
        hard_state: HardState | None = None,
        snapshot: SnapshotSave | None = None,
        entries: Sequence[Entry] = (),
        now_ms: int = 0,
    ) -> None:
        """`hard_state`, `snapshot`, `entries`: what the disk holds; nothing for a node that joins.

        `rng` draws election timeouts and where this life's questions to leaders begin to count.
        """
        base = (snapshot.base_index, snapshot.base_term) if snapshot is not None else (LogIndex(0), Term(0))
        self._config = config
        self._state = state = RaftState(node_id, Log(entries, *base), now_ms=now_ms)
        self._effects = Effects(node_id)
        self._saved = hard_state or HardState(Term(0), None, LogIndex(0))
        self._commit_save_due_ms = now_ms
        committed, changed = membership.restore(state, self._saved, snapshot)
        self._effects.committed.extend(committed)
        if changed is not None:
            self._effects.facts.append(changed)
        self._roles = Roles(state, config, rng, self._effects)
        self._reads = FollowerReads(next_context=rng.getrandbits(40) << 20)
        self._incoming = Incoming()
        self._noted_role: tuple[str, Term] | None = None
        self._noted_leader: tuple[NodeId | None, Term] = (None, Term(0))
        self._handlers: dict[type, Callable[[Message], None]] = {
            PreVoteRequest: self._roles.on_pre_vote_request,
            PreVoteResponse: self._roles.on_pre_vote_response,
            VoteRequest: self._roles.on_vote_request,
            VoteResponse: self._roles.on_vote_response,
            TimeoutNow: self._roles.on_timeout_now,
            AppendRequest: self._on_append_request,
            AppendResponse: self._on_append_response,
            SnapshotChunk: self._on_snapshot_chunk,
            SnapshotResponse: self._on_snapshot_response,
            ReadIndexRequest: self._on_read_index_request,
            ReadIndexResponse: self._on_read_index_response,
        }
        self._note_changes()

    # --- the Core protocol

    def handle(self, event: RaftEvent, now_ms: int) -> None:
        """Take one event; `now_ms` is monotonic milliseconds and never goes back."""
        self._state.now_ms = max(self._state.now_ms, now_ms)
        match event:
            case Received(message):
                self._on_message(message)
            case Proposed(request_id, data):
                self._on_proposed(request_id, data)
            case Persisted():
                self._state.log.persisted()
                self._count()
            case Applied(index):
                self._state.applied_index = max(self._state.applied_index, index)
            case Tick():
                self._roles.on_tick()
            case ReadRequested(request_id):
                self._on_read_requested(request_id)
            case ConfigurationProposed(request_id, configuration):
                self._on_configuration_proposed(request_id, configuration)
            case TransferRequested(request_id, target):
                self._on_transfer_requested(request_id, target)
            case SnapshotTaken(index, data):
                self._on_snapshot_taken(index, data)
            case _:
                assert_never(event)
        self._note_changes()

    def deadline_ms(self) -> int | None:
        """When the next `Tick` is due; None: a node that may not stand and follows nobody waits for messages only."""
        state, leadership = self._state, self._roles.leadership
        if leadership is not None:
            return leadership.due_ms()
        if not state.is_voter and state.leader is None:
            return None
        return self._roles.election_due_ms

    def ready(self) -> Ready | None:
        """Take and clear what must happen now; None: nothing. See `Ready` for the order in which it is performed."""
        state, leadership = self._state, self._roles.leadership
        if leadership is not None:
            for waiting in leadership.take_confirmed_reads(state):
                self._grant(waiting.reader, waiting.number)
            leadership.send_due(state, self._effects)
        else:
            self._ask_leader()
        for request_id in self._reads.take_granted(state.commit_index):
            self._effects.reads.append(ReadGranted(request_id, state.commit_index))
        entries = state.log.take_unsaved(state.now_ms)
        has_promise = (state.term, state.voted_for) != (self._saved.term, self._saved.voted_for)
        # Nothing that a leader says promises more than its term and vote. They are durable if anybody answered with a
        # vote, which is asked for after they were saved, or if an entry of the term is.
        is_durable = state.term in (state.elected_term, state.log.term_at(state.log.durable_index))
        is_prompt = leadership is not None and is_durable
        hard_state = self._take_hard_state(has_promise, entries)
        return self._effects.take(hard_state, entries, is_prompt=is_prompt and not has_promise)

    def status(self) -> RaftStatus:
        """What is true now."""
        return status_of(self._state, self._roles.leadership)

    def entries(self, first: LogIndex, last: LogIndex) -> Sequence[Entry]:
        """The entries from `first`, which is not compacted, to `last`, for operators; the log reaches that far."""
        return self._state.log.span(first, last)

    def check_invariants(self) -> None:
        """Assert what the class promises; for tests and the simulator."""
        self._state.check_invariants()
        self._roles.check_invariants()

    def _take_hard_state(self, has_promise: bool, entries: tuple[Entry, ...]) -> HardState | None:
        """The hard state, if it has to be saved.

        A commit index that moved alone costs no write. It goes along with entries, so that a restart need not wait for
        a leader to know what is committed; under load only now and then, since it costs every commit a little, but
        always with a configuration: so the one before that is known to be committed (thesis section 4.1).
        """
        state = self._state
        if not has_promise:
            if not entries or state.commit_index == self._saved.commit_index:
                return None
            has_change = any(entry.kind is EntryKind.CONFIGURATION for entry in entries)
            if state.now_ms < self._commit_save_due_ms and not has_change:
                return None
        self._saved = HardState(state.term, state.voted_for, state.commit_index)
        self._commit_save_due_ms = state.now_ms + COMMIT_SAVE_MS
        return self._saved

    def _note_changes(self) -> None:
        """Report role and leader if they changed, compared with what was reported last."""
        state = self._state
        role = state.shown_role
        shown = (role, state.term if role in ("candidate", "leader") else Term(0))
        if shown != self._noted_role:
            self._noted_role = shown
            self._effects.facts.append(RoleChanged(state.node_id, role, state.term))
        known = (state.leader, state.term if state.leader is not None else Term(0))
        if known != self._noted_leader:
            self._noted_leader = known
            self._effects.facts.append(LeaderKnown(state.leader, state.term))

    # --- proposals

    def _on_proposed(self, request_id: int, data: bytes) -> None:
        if not self._refuses(request_id, len(data)):
            entry = self._roles.append(EntryKind.COMMAND, data)
            self._effects.appended.append(Appended(request_id, entry.index, entry.term))

    def _on_configuration_proposed(self, request_id: int, proposed: Configuration) -> None:
        state = self._state
        if self._refuses(request_id, 0):
            return
        reason = membership.refusal_of_change(state, proposed)
        if reason is not None:
            self._effects.refuse(request_id, reason, state.leader)
            return
        first = membership.transition(state.configuration, proposed)
        entry = self._roles.append(EntryKind.CONFIGURATION, first.encode())
        self._effects.appended.append(Appended(request_id, entry.index, entry.term))

    def _refuses(self, request_id: int, num_bytes: int) -> bool:
        """Whether no proposal can be taken now; then the refusal is on its way."""
        state, leadership, config = self._state, self._roles.leadership, self._config
        if leadership is None:
            reason = "not_leader"
        elif leadership.transferee is not None:
            reason = "transferring"
        elif state.log.last_index - state.commit_index >= config.max_uncommitted or (
            leadership.uncommitted_bytes and leadership.uncommitted_bytes + num_bytes > config.max_uncommitted_bytes
        ):
            reason = "busy"
        else:
            return False
        self._effects.refuse(request_id, reason, state.leader)
        return True

    def _on_transfer_requested(self, request_id: int, target: NodeId | None) -> None:
        state, leadership = self._state, self._roles.leadership
        if leadership is None:
            self._effects.refuse(request_id, "not_leader", state.leader)
            return
        successor = target if target is not None else leadership.successor(state.configuration)
        if leadership.transferee is not None:
            self._effects.refuse(request_id, "transferring", state.leader)
        elif successor is None:
            self._effects.refuse(request_id, "no_successor", state.leader)
        elif successor == state.node_id or successor not in state.configuration.voters:
            self._effects.refuse(request_id, "invalid", state.leader)
        else:
            leadership.begin_transfer(request_id, successor, state, self._effects)

    # --- commitment

    def _count(self) -> None:
        """Move the leader's commit index as far as the counts allow; a change that takes effect changes the counts."""
        while (leadership := self._roles.leadership) is not None:
            index = leadership.committable_index(self._state)
            if index == self._state.commit_index:
                return
            self._commit(index)

    def _commit(self, index: LogIndex) -> None:
        """Hand out the entries up to `index` as committed."""
        state = self._state
        if index == state.commit_index:
            return
        for entry in state.log.span(LogIndex(state.commit_index + 1), index):
            state.commit_index = entry.index
            self._effects.committed.append(entry)
            if self._roles.leadership is not None:
                self._roles.leadership.uncommitted_bytes -= len(entry.data)
            if entry.kind is EntryKind.CONFIGURATION:
                self._on_configuration_committed(entry)
        leadership = self._roles.leadership
        if leadership is not None:
            leadership.note_news(state)
            final = membership.leaving(state)
            if final is not None:
                self._roles.append(EntryKind.CONFIGURATION, final.encode())

    def _on_configuration_committed(self, entry: Entry) -> None:
        state, roles = self._state, self._roles
        if roles.leadership is not None:
            # Who is removed by this entry learns it now or never: nobody sends to it afterwards.
            roles.leadership.heartbeat(state, self._effects)
        self._effects.facts.append(membership.committed_fact(entry.index, Configuration.decode(entry.data)))
        if roles.leadership is not None:
            roles.leadership.follow(state, LogIndex(state.log.last_index + 1))
        if not state.is_voter:
            roles.retire()
        if not state.is_voter and state.role is not Role.FOLLOWER:
            roles.follow(state.term)
        elif roles.leadership is None and state.committed_configuration.deciders == (state.node_id,):
            roles.restart_election_timer()

    # --- snapshots

    def _on_snapshot_taken(self, index: LogIndex, data: bytes) -> None:
        """Keep the state machine's own snapshot, unless a newer one was received meanwhile."""
        state, leadership = self._state, self._roles.leadership
        if index <= state.snapshot_index:
            return
        term = state.log.term_at(index)
        assert term is not None and index <= state.applied_index, f"a snapshot of {index}, which is not applied"
        taken = Snapshot.of(index, term, state.configuration_at(index), data)
        base_index = LogIndex(max(state.log.base_index, index - self._config.snapshot_trailing))
        if leadership is not None:
            base_index = max(state.log.base_index, leadership.compactable_index(base_index, state))
        state.take_snapshot(taken, base_index)
        self._effects.snapshot = SnapshotSave(taken, state.log.base_index, state.log.base_term, is_received=False)

    def _on_snapshot_chunk(self, message: Message) -> None:
        state, chunk = self._state, message.body
        assert isinstance(chunk, SnapshotChunk)
        if not snapshot.is_well_formed(chunk, message.term, self._config) or not self._accepts_leader(message):
            return
        if snapshot.is_news(chunk, state.commit_index):
            received = self._incoming.take(chunk, message.term)
            if received is not None:
                self._install(received)
        if chunk.last_index <= state.commit_index:
            covered = AppendResponse(True, chunk.last_index, LogIndex(0), Term(0), chunk.sequence)
            self._effects.send(message.sender, state.term, covered)
        else:
            held_bytes = self._incoming.held_bytes(chunk)
            answer = SnapshotResponse(chunk.last_index, chunk.last_term, held_bytes, chunk.sequence)
            self._effects.send(message.sender, state.term, answer)

    def _install(self, received: Snapshot) -> None:
        """Take over a complete snapshot that reaches further than what is committed here (thesis chapter 5)."""
        state = self._state
        if state.log.matches(received.last_index, received.last_term):
            # The log holds all of it already; what follows there may be acknowledged, and stays.
            self._commit(received.last_index)
            return
        state.install_snapshot(received)
        self._effects.committed.clear()  # covered by the snapshot, which is installed before anything is applied
        self._effects.snapshot = SnapshotSave(received, received.last_index, received.last_term, is_received=True)
        self._effects.facts.append(membership.committed_fact(received.last_index, received.configuration))

    def _on_snapshot_response(self, message: Message) -> None:
        response = message.body
        assert isinstance(response, SnapshotResponse)
        leadership = self._roles.leadership
        if leadership is not None and message.term == self._state.term:
            leadership.on_snapshot_response(message.sender, response, self._state, self._effects)

    # --- reads

    def _on_read_requested(self, request_id: int) -> None:
        state, leadership = self._state, self._roles.leadership
        if leadership is not None:
            if not leadership.add_read(state.node_id, request_id, state):
                self._effects.refuse(request_id, "busy", state.leader)
        elif state.leader is None:
            self._effects.refuse(request_id, "not_leader", None)
        elif len(self._reads.fresh) >= MAX_WAITING:
            self._effects.refuse(request_id, "busy", state.leader)
        else:
            self._reads.fresh.append(request_id)

    def _ask_leader(self) -> None:
        """One question for all reads that came since the last Ready."""
        state = self._state
        if state.leader is None:
            for request_id in self._reads.take_all():
                self._effects.refuse(request_id, "not_leader", None)
            return
        context = self._reads.take_question()
        if context is not None:
            self._effects.send(state.leader, state.term, ReadIndexRequest(context))

    def _grant(self, reader: NodeId, number: int) -> None:
        """Everything that was committed when the read came is committed here, and will be applied before the answer."""
        state = self._state
        if reader == state.node_id:
            self._effects.reads.append(ReadGranted(number, state.commit_index))
        else:
            self._effects.send(reader, state.term, ReadIndexResponse(number, state.commit_index))

    def _on_read_index_request(self, message: Message) -> None:
        request, leadership = message.body, self._roles.leadership
        assert isinstance(request, ReadIndexRequest)
        if leadership is not None and message.sender in leadership.followers:
            leadership.add_read(message.sender, request.context, self._state)

    def _on_read_index_response(self, message: Message) -> None:
        response = message.body
        assert isinstance(response, ReadIndexResponse)
        self._reads.answered(response.context, response.index)

    # --- messages

    def _on_message(self, message: Message) -> None:
        """Drop what is not for this node or tells nothing, take over a newer term, and dispatch by kind of body."""
        state, body = self._state, message.body
        if message.receiver != state.node_id or message.sender == state.node_id:
            return
        if message.term > state.term + MAX_TERM_JUMP:
            return
        if isinstance(body, VoteRequest) and not body.is_transfer and election.hears_leader(state, self._config):
            # Thesis section 4.2.3: a server that was removed or cut off must not raise the term of a working cluster.
            return
        raises_term = not isinstance(body, PreVoteRequest) and not (isinstance(body, PreVoteResponse) and body.granted)
        if raises_term and message.term > state.term:
            self._roles.follow(message.term)
        self._handlers[type(body)](message)

    def _accepts_leader(self, message: Message) -> bool:
        """Follow the sender of what only leaders send, if it leads this node's term; else tell it that it does not."""
        state, request = self._state, message.body
        assert isinstance(request, AppendRequest | SnapshotChunk)
        if state.role is Role.LEADER and message.term == state.term:
            return False
        if message.term < state.term:
            # The sender leads no more; or this node's term ran ahead, and the sender must follow or it is never heard.
            refusal = AppendResponse(False, LogIndex(0), LogIndex(0), Term(0), request.sequence)
            self._effects.send(message.sender, state.term, refusal)
            return False
        self._roles.follow(message.term, message.sender)
        state.leader_contact_ms = state.now_ms
        return True

    def _on_append_request(self, message: Message) -> None:
        state, request = self._state, message.body
        assert isinstance(request, AppendRequest)
        if not replication.is_well_formed(request, message.term) or not self._accepts_leader(message):
            return
        self._incoming.forget_up_to(state.commit_index)
        response = replication.accept_append(state, request)
        self._effects.send(message.sender, state.term, response)
        if response.success:
            self._commit(max(state.commit_index, replication.verified_commit_index(request)))

    def _on_append_response(self, message: Message) -> None:
        response = message.body
        assert isinstance(response, AppendResponse)
        leadership = self._roles.leadership
        if leadership is None or message.term != self._state.term:
            return
        if leadership.on_response(message.sender, response, self._state, self._effects):
            self._count()
