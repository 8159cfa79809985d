"""RaftNode: takes events, dispatches messages, changes role, and puts the Ready together.

The rules themselves are in `election.py`, `replication.py` and `membership.py`; here is only who calls them when.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from raftgossip.core.raft import election, membership, replication
from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.effects import Effects
from raftgossip.core.raft.election import Tally
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
    Ready,
    Received,
    Refused,
    StepDown,
    Tick,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.quorum import VoteResult
from raftgossip.core.raft.replication import Leadership
from raftgossip.core.raft.state import RaftState, Role
from raftgossip.facts import LeaderKnown, RoleChanged
from raftgossip.ids import LogIndex, NodeId, Term

MAX_TERM_JUMP = 1_000_000
"""No cluster holds so many elections while a node is away: such a term is a mistake, and taking it over would use up
the numbers for good."""


@dataclass(frozen=True, slots=True)
class FollowerStatus:
    """One other node, as the leader sees it."""

    node_id: NodeId
    match_index: LogIndex
    responsive: bool
    """False also before its first answer in this leadership."""


@dataclass(frozen=True, slots=True)
class RaftStatus:
    """A copy of what is true now, for operators."""

    node_id: NodeId
    role: str
    """`follower`, `candidate`, `leader` or `learner`."""
    term: Term
    leader: NodeId | None
    commit_index: LogIndex
    applied_index: LogIndex
    last_index: LogIndex
    configuration: Configuration
    followers: tuple[FollowerStatus, ...]
    """Empty except at the leader."""


class RaftNode:
    """One node's Raft: a `Core` of `RaftEvent` and `Ready`.

    Invariants: those of the state, the log and the leadership; there is a leadership exactly while the role is leader,
    and a tally exactly while it is (pre-)candidate.
    """

    def __init__(
        self,
        node_id: NodeId,
        config: RaftConfig,
        rng: random.Random,
        *,
        hard_state: HardState | None = None,
        entries: Sequence[Entry] = (),
        now_ms: int = 0,
    ) -> None:
        """`hard_state`, `entries`: what the disk holds; nothing for a node that joins. `rng`: draws timeouts only."""
        self._config = config
        self._rng = rng
        self._state = state = RaftState(node_id, Log(entries), now_ms=now_ms)
        self._effects = Effects(node_id)
        self._leadership: Leadership | None = None
        self._tally: Tally | None = None
        saved = hard_state or HardState(Term(0), None, LogIndex(0))
        self._saved = saved
        state.term, state.voted_for = saved.term, saved.voted_for
        committed, changed = membership.restore_committed(state, saved.commit_index)
        self._effects.committed.extend(committed)
        if changed is not None:
            self._effects.facts.append(changed)
        self._noted_role: tuple[str, Term] | None = None
        self._noted_leader: tuple[NodeId | None, Term] = (None, Term(0))
        self._election_due_ms = now_ms
        self._restart_election_timer()
        self._handlers: dict[type, Callable[[Message], None]] = {
            PreVoteRequest: self._on_pre_vote_request,
            PreVoteResponse: self._on_pre_vote_response,
            VoteRequest: self._on_vote_request,
            VoteResponse: self._on_vote_response,
            AppendRequest: self._on_append_request,
            AppendResponse: self._on_append_response,
            TimeoutNow: self._on_timeout_now,
        }
        self._note_changes()

    # --- the Core protocol

    def handle(self, event: RaftEvent, now_ms: int) -> None:
        """Take one event; `now_ms` is monotonic milliseconds and never goes back."""
        self._state.now_ms = max(self._state.now_ms, now_ms)
        match event:
            case Received(message):
                self._on_message(message)
            case Tick():
                self._on_tick()
            case Proposed(request_id, data):
                self._on_proposed(request_id, data)
            case ConfigurationProposed(request_id, configuration):
                self._on_configuration_proposed(request_id, configuration)
            case Persisted(last_index):
                self._state.log.persisted(last_index)
                self._count()
            case Applied(index):
                self._state.applied_index = max(self._state.applied_index, index)
            case StepDown():
                self._on_step_down()
            case _:
                assert_never(event)
        self._note_changes()

    def deadline_ms(self) -> int | None:
        """When the next `Tick` is due; None: a node that may not stand and follows nobody waits for messages only."""
        state = self._state
        if self._leadership is not None:
            return self._leadership.heartbeat_due_ms
        if not state.is_voter and state.leader is None:
            return None
        return self._election_due_ms

    def ready(self) -> Ready | None:
        """Take and clear what must happen now; None: nothing. Readys are performed in the order in which they came."""
        state, effects = self._state, self._effects
        if self._leadership is not None:
            self._leadership.send_due(state, effects)
        entries = state.log.take_unsaved()
        hard_state = self._take_hard_state(bool(entries))
        if hard_state is None and not entries and effects.is_empty:
            return None
        self._effects = Effects(state.node_id)
        return Ready(
            hard_state=hard_state,
            entries=entries,
            messages=tuple(effects.messages),
            committed=tuple(effects.committed),
            appended=tuple(effects.appended),
            refused=tuple(effects.refused),
            facts=tuple(effects.facts),
        )

    def status(self) -> RaftStatus:
        """What is true now."""
        state = self._state
        followers = self._leadership.followers if self._leadership is not None else {}
        return RaftStatus(
            node_id=state.node_id,
            role=state.shown_role,
            term=state.term,
            leader=state.leader,
            commit_index=state.commit_index,
            applied_index=state.applied_index,
            last_index=state.log.last_index,
            configuration=state.configuration,
            followers=tuple(
                FollowerStatus(node_id, progress.match_index, progress.responsive is True)
                for node_id, progress in followers.items()
            ),
        )

    def check_invariants(self) -> None:
        """Assert what the class promises; for tests and the simulator."""
        self._state.check_invariants()
        assert (self._leadership is not None) == (self._state.role is Role.LEADER)
        assert (self._tally is not None) == (self._state.role in (Role.PRE_CANDIDATE, Role.CANDIDATE))
        if self._leadership is not None:
            self._leadership.check_invariants(self._state)

    def _take_hard_state(self, has_entries: bool) -> HardState | None:
        """The hard state, if it has to be saved.

        A commit index that moved alone costs no write. It goes along with entries, which membership rule 3 needs.
        """
        state, saved = self._state, self._saved
        current = HardState(state.term, state.voted_for, state.commit_index)
        has_promise = (current.term, current.voted_for) != (saved.term, saved.voted_for)
        if not has_promise and (not has_entries or current == saved):
            return None
        self._saved = current
        return current

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

    # --- time

    def _on_tick(self) -> None:
        state, leadership = self._state, self._leadership
        if leadership is None:
            if state.now_ms >= self._election_due_ms:
                self._on_election_timeout()
            return
        if state.now_ms - leadership.quorum_contact_ms(state) >= self._config.election_max_ms:
            # Check-quorum (thesis section 6.2): a leader that is cut off must let its clients look elsewhere.
            self._become_follower(state.term)
            return
        leadership.note_silence(state, self._effects)
        if state.now_ms >= leadership.heartbeat_due_ms:
            leadership.heartbeat(state, self._effects)

    def _on_election_timeout(self) -> None:
        """The leader is lost. Who may not stand forgets it all the same, so that candidates get their votes."""
        self._become_follower(self._state.term)
        if self._state.is_voter:
            self._start_pre_vote()

    def _restart_election_timer(self) -> None:
        delay_ms = election.draw_timeout_ms(self._config, self._rng)
        state = self._state
        if state.committed_configuration.voters == state.configuration.voters == (state.node_id,):
            delay_ms = 0
        self._election_due_ms = self._state.now_ms + delay_ms

    # --- roles

    def _become_follower(self, term: Term, leader: NodeId | None = None) -> None:
        """Follow `leader` (None: nobody yet) in `term`."""
        state = self._state
        if term > state.term:
            state.term, state.voted_for = term, None
        state.role, state.leader, state.leader_contact_ms = Role.FOLLOWER, leader, None
        self._leadership, self._tally = None, None
        self._restart_election_timer()

    def _start_pre_vote(self) -> None:
        """Ask whether an election could be won, before any term moves (thesis section 9.6)."""
        state = self._state
        state.role, self._tally = Role.PRE_CANDIDATE, Tally()
        self._tally.record(state.node_id, True)
        for voter in state.configuration.voters:
            if voter != state.node_id:
                self._effects.send(voter, Term(state.term + 1), election.pre_vote_request(state))
        self._on_answer_counted()

    def _start_election(self, is_transfer: bool) -> None:
        """Stand in a new term (thesis section 3.4)."""
        state = self._state
        self._become_follower(Term(state.term + 1))
        state.role, state.voted_for = Role.CANDIDATE, state.node_id
        self._tally = tally = Tally(is_transfer)
        tally.record(state.node_id, True)
        for voter in state.configuration.voters:
            if voter != state.node_id:
                self._effects.send(voter, state.term, election.vote_request(state, tally))
        self._on_answer_counted()

    def _on_answer_counted(self) -> None:
        """Go on as the tally stands. A lost attempt ends here; the next one starts at the timeout."""
        assert self._tally is not None
        match self._tally.result(self._state):
            case VoteResult.PENDING:
                return
            case VoteResult.LOST:
                self._state.role, self._tally = Role.FOLLOWER, None
            case VoteResult.WON:
                if self._state.role is Role.PRE_CANDIDATE:
                    self._start_election(is_transfer=False)
                else:
                    self._become_leader()

    def _become_leader(self) -> None:
        """Lead: nothing is known of the others; an empty entry commits what earlier terms left (thesis section 6.4)."""
        state = self._state
        state.role, state.leader, self._tally = Role.LEADER, state.node_id, None
        self._leadership = Leadership(state, self._config)
        self._append(EntryKind.NOOP, b"")

    def _on_step_down(self) -> None:
        """Hand over (thesis section 3.10): bring the successor up to date, let it stand at once, and follow."""
        state, leadership = self._state, self._leadership
        if leadership is None:
            return
        successor = leadership.successor(state.configuration)
        if successor is None:
            return
        leadership.send_to(successor, leadership.followers[successor], state, self._effects)
        self._effects.send(successor, state.term, TimeoutNow())
        self._become_follower(state.term)

    # --- proposals

    def _on_proposed(self, request_id: int, data: bytes) -> None:
        if self._refuses(request_id):
            return
        entry = self._append(EntryKind.COMMAND, data)
        self._effects.appended.append(Appended(request_id, entry.index, entry.term))

    def _on_configuration_proposed(self, request_id: int, configuration: Configuration) -> None:
        if self._refuses(request_id):
            return
        reason = membership.refusal_of_change(self._state, configuration)
        if reason is not None:
            self._effects.refused.append(Refused(request_id, reason, self._state.leader))
            return
        entry = self._append(EntryKind.CONFIGURATION, configuration.encode())
        self._effects.appended.append(Appended(request_id, entry.index, entry.term))

    def _refuses(self, request_id: int) -> bool:
        """Whether no proposal can be taken now; then the refusal is on its way."""
        state = self._state
        if self._leadership is None:
            self._effects.refused.append(Refused(request_id, "not_leader", state.leader))
            return True
        if state.log.last_index - state.commit_index >= self._config.max_uncommitted:
            self._effects.refused.append(Refused(request_id, "busy", state.leader))
            return True
        return False

    def _append(self, kind: EntryKind, data: bytes) -> Entry:
        """Put an entry of this term at the log's end; `ready` sends it, so that one message carries many."""
        state = self._state
        entry = Entry(LogIndex(state.log.last_index + 1), state.term, kind, data)
        state.append(entry)
        if kind is EntryKind.CONFIGURATION and self._leadership is not None:
            self._leadership.follow(state)
        return entry

    # --- commitment

    def _count(self) -> None:
        """Move the leader's commit index as far as the counts allow; a change that takes effect changes the counts."""
        while self._leadership is not None:
            index = self._leadership.committable_index(self._state)
            if index == self._state.commit_index:
                return
            self._commit(index)

    def _commit(self, index: LogIndex) -> None:
        """Hand out the entries up to `index` as committed."""
        state = self._state
        for entry in state.log.span(LogIndex(state.commit_index + 1), index):
            state.commit_index = entry.index
            self._effects.committed.append(entry)
            if entry.kind is EntryKind.CONFIGURATION:
                self._on_configuration_committed(entry)

    def _on_configuration_committed(self, entry: Entry) -> None:
        state = self._state
        if self._leadership is not None:
            # Who is removed by this entry learns it now or never: nobody sends to it afterwards.
            self._leadership.heartbeat(state, self._effects)
        self._effects.facts.append(membership.committed_fact(entry))
        if self._leadership is not None:
            self._leadership.follow(state)
        if self._leadership is not None and not state.is_voter:
            self._on_step_down()
        if not state.is_voter and state.role is not Role.FOLLOWER:
            self._become_follower(state.term)
        elif self._leadership is None and state.committed_configuration.voters == (state.node_id,):
            self._restart_election_timer()

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
            self._become_follower(message.term)
        self._handlers[type(body)](message)

    def _on_pre_vote_request(self, message: Message) -> None:
        state, request = self._state, message.body
        assert isinstance(request, PreVoteRequest)
        granted = election.may_grant_pre_vote(state, self._config, message.term, request)
        self._effects.send(message.sender, message.term if granted else state.term, PreVoteResponse(granted))

    def _on_pre_vote_response(self, message: Message) -> None:
        response = message.body
        assert isinstance(response, PreVoteResponse)
        if self._state.role is not Role.PRE_CANDIDATE or self._tally is None:
            return
        if response.granted and message.term != self._state.term + 1:
            return
        self._tally.record(message.sender, response.granted)
        self._on_answer_counted()

    def _on_vote_request(self, message: Message) -> None:
        state, request = self._state, message.body
        assert isinstance(request, VoteRequest)
        granted = message.term == state.term and election.may_grant_vote(state, message.sender, request)
        if granted:
            state.voted_for = message.sender
            self._restart_election_timer()
        self._effects.send(message.sender, state.term, VoteResponse(granted))

    def _on_vote_response(self, message: Message) -> None:
        response = message.body
        assert isinstance(response, VoteResponse)
        if self._state.role is not Role.CANDIDATE or self._tally is None or message.term != self._state.term:
            return
        self._tally.record(message.sender, response.granted)
        self._on_answer_counted()

    def _on_append_request(self, message: Message) -> None:
        state, request = self._state, message.body
        assert isinstance(request, AppendRequest)
        if state.role is Role.LEADER and message.term == state.term:
            return
        if not replication.is_well_formed(request, message.term):
            return
        if message.term < state.term:
            # The sender leads no more; or this node's term ran ahead, and the sender must follow or it is never heard.
            refusal = AppendResponse(False, LogIndex(0), LogIndex(0), Term(0), request.sequence)
            self._effects.send(message.sender, state.term, refusal)
            return
        self._become_follower(message.term, message.sender)
        state.leader_contact_ms = state.now_ms
        response = replication.accept_append(state, request)
        self._effects.send(message.sender, state.term, response)
        if response.success:
            self._commit(max(state.commit_index, replication.verified_commit_index(request)))

    def _on_append_response(self, message: Message) -> None:
        response = message.body
        assert isinstance(response, AppendResponse)
        if self._leadership is None or message.term != self._state.term:
            return
        if self._leadership.on_response(message.sender, response, self._state, self._effects):
            self._count()

    def _on_timeout_now(self, message: Message) -> None:
        """The leader retires in this node's favour: stand at once and without asking (thesis section 3.10)."""
        state = self._state
        if message.term == state.term and state.leader in (None, message.sender) and state.is_voter:
            self._start_election(is_transfer=True)
