"""Roles: how a node becomes follower, candidate and leader, by time and by votes (thesis sections 3.4, 6.2, 9.6, 3.10).

The rules of voting are in `election.py`, the leader's own variables in `replication.py`; here is who calls them when.
"""

from __future__ import annotations

import random

from raftgossip.core.raft import election
from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.effects import Effects
from raftgossip.core.raft.election import Tally
from raftgossip.core.raft.message import (
    Entry,
    EntryKind,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftgossip.core.raft.quorum import VoteResult
from raftgossip.core.raft.replication import Leadership
from raftgossip.core.raft.state import RaftState, Role
from raftgossip.ids import LogIndex, NodeId, Term


class Roles:
    """One node's role and what belongs to it.

    Invariants: there is a leadership exactly while the role is leader, and a tally exactly while it is (pre-)candidate.
    """

    def __init__(self, state: RaftState, config: RaftConfig, rng: random.Random, effects: Effects) -> None:
        """A node starts as a follower of nobody. `rng`: draws election timeouts."""
        self._state = state
        self._config = config
        self._rng = rng
        self._effects = effects
        self._tally: Tally | None = None
        self.leadership: Leadership | None = None
        self.election_due_ms = state.now_ms
        if config.lease_drift_percent and state.term:
            # It may have confirmed a leader just before it stopped: that leader's lease must not be broken.
            state.leader_contact_ms = state.now_ms
        self.restart_election_timer()

    # --- time

    def on_tick(self) -> None:
        """Do what time asks for; the deadline may not have come yet."""
        state, leadership = self._state, self.leadership
        if leadership is None:
            if state.now_ms >= self.election_due_ms:
                self._on_election_timeout()
            return
        if state.now_ms - leadership.quorum_contact_ms(state) >= self._config.election_max_ms:
            # Check-quorum (thesis section 6.2): a leader that is cut off must let its clients look elsewhere.
            self.follow(state.term)
            return
        if self._has_hung_disk() and leadership.successor(state.configuration) is not None:
            # Its heartbeats do not wait for its disk, so nobody else would stand while that hangs and nothing commits
            # here. Once it follows, it cannot win again before its disk works: its votes wait for it.
            self.retire()
            return
        leadership.note_silence(state, self._effects)
        if leadership.transferee is not None and state.now_ms >= leadership.transfer_until_ms:
            leadership.transferee = None
            self._effects.refuse(leadership.transfer_request_id, "transfer_failed", state.node_id)
        if state.now_ms >= leadership.heartbeat_due_ms:
            leadership.heartbeat(state, self._effects)
            leadership.hand_over(state, self._effects)

    def _has_hung_disk(self) -> bool:
        """Whether entries have waited for the disk as long as others would wait for a leader."""
        oldest_ms = self._state.log.oldest_out_ms
        return oldest_ms is not None and self._state.now_ms - oldest_ms >= self._config.election_max_ms

    def _on_election_timeout(self) -> None:
        """The leader is lost. Who may not stand forgets it all the same, so that candidates get their votes."""
        self.follow(self._state.term)
        self._state.leader_contact_ms = None
        if self._state.is_voter:
            self._start_pre_vote()

    def restart_election_timer(self) -> None:
        """Wait a whole timeout from now; who decides alone need not wait for anybody."""
        state = self._state
        delay_ms = election.draw_timeout_ms(self._config, self._rng)
        if state.committed_configuration.deciders == state.configuration.deciders == (state.node_id,):
            delay_ms = 0
        self.election_due_ms = state.now_ms + delay_ms

    # --- changing role

    def follow(self, term: Term, leader: NodeId | None = None) -> None:
        """Follow `leader` (None: nobody yet) in `term`. Who waited for this node as leader is told that it is none."""
        state = self._state
        if term > state.term:
            state.term, state.voted_for = term, None
        state.role, state.leader = Role.FOLLOWER, leader
        if not self._config.lease_drift_percent:
            # With leases a node keeps its word to the last leader whatever term it hears of.
            state.leader_contact_ms = None
        leadership, self.leadership, self._tally = self.leadership, None, None
        if leadership is not None:
            for waiting in leadership.reads.take_all():
                if waiting.reader == state.node_id:
                    self._effects.refuse(waiting.number, "not_leader", leader)
        self.restart_election_timer()

    def retire(self) -> None:
        """A leader that may lead no more hands over at once, and follows (thesis section 4.2.2)."""
        state, leadership = self._state, self.leadership
        if leadership is None:
            return
        successor = leadership.successor(state.configuration)
        if successor is not None:
            leadership.send_to(successor, leadership.followers[successor], state, self._effects)
            self._effects.send(successor, state.term, TimeoutNow())
        self.follow(state.term)

    def _start_pre_vote(self) -> None:
        """Ask whether an election could be won, before any term moves (thesis section 9.6)."""
        state = self._state
        state.role, self._tally = Role.PRE_CANDIDATE, Tally()
        self._tally.record(state.node_id, True)
        for voter in state.configuration.deciders:
            if voter != state.node_id:
                self._effects.send(voter, Term(state.term + 1), election.pre_vote_request(state))
        self._on_answer_counted()

    def _start_election(self, is_transfer: bool) -> None:
        """Stand in a new term (thesis section 3.4)."""
        state = self._state
        self.follow(Term(state.term + 1))
        state.role, state.voted_for = Role.CANDIDATE, state.node_id
        self._tally = tally = Tally(is_transfer)
        tally.record(state.node_id, True)
        for voter in state.configuration.deciders:
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
                    self._lead()

    def _lead(self) -> None:
        """Lead: nothing is known of the others; an empty entry commits what earlier terms left (thesis section 6.4)."""
        state = self._state
        state.role, state.leader, self._tally = Role.LEADER, state.node_id, None
        self.leadership = Leadership(state, self._config)
        self.append(EntryKind.NOOP, b"")

    def append(self, kind: EntryKind, data: bytes) -> Entry:
        """Put an entry of this term at the leader's log's end; `ready` sends it, so that one message carries many."""
        state, leadership = self._state, self.leadership
        assert leadership is not None, "only a leader appends"
        entry = Entry(LogIndex(state.log.last_index + 1), state.term, kind, data)
        state.append(entry)
        leadership.uncommitted_bytes += len(data)
        if kind is EntryKind.CONFIGURATION:
            leadership.follow(state, entry.index)
        return entry

    # --- messages

    def on_pre_vote_request(self, message: Message) -> None:
        """Say whether this node would vote so; nothing is promised by it."""
        state, request = self._state, message.body
        assert isinstance(request, PreVoteRequest)
        granted = election.may_grant_pre_vote(state, self._config, message.term, request)
        self._effects.send(message.sender, message.term if granted else state.term, PreVoteResponse(granted))

    def on_pre_vote_response(self, message: Message) -> None:
        """Count an answer to this node's question."""
        response = message.body
        assert isinstance(response, PreVoteResponse)
        if self._state.role is not Role.PRE_CANDIDATE or self._tally is None:
            return
        if response.granted and message.term != self._state.term + 1:
            return
        self._tally.record(message.sender, response.granted)
        self._on_answer_counted()

    def on_vote_request(self, message: Message) -> None:
        """Give this term's vote, or not."""
        state, request = self._state, message.body
        assert isinstance(request, VoteRequest)
        granted = message.term == state.term and election.may_grant_vote(state, message.sender, request)
        if granted:
            state.voted_for = message.sender
            self.restart_election_timer()
        self._effects.send(message.sender, state.term, VoteResponse(granted))

    def on_vote_response(self, message: Message) -> None:
        """Count a vote of this term."""
        response = message.body
        assert isinstance(response, VoteResponse)
        if self._state.role is not Role.CANDIDATE or self._tally is None or message.term != self._state.term:
            return
        if response.granted:
            self._state.elected_term = message.term
        self._tally.record(message.sender, response.granted)
        self._on_answer_counted()

    def on_timeout_now(self, message: Message) -> None:
        """The leader retires in this node's favour: stand at once and without asking (thesis section 3.10)."""
        state = self._state
        if message.term == state.term and state.leader in (None, message.sender) and state.is_voter:
            self._start_election(is_transfer=True)

    def check_invariants(self) -> None:
        """Assert what the class promises."""
        role = self._state.role
        assert (self.leadership is not None) == (role is Role.LEADER)
        assert (self._tally is not None) == (role in (Role.PRE_CANDIDATE, Role.CANDIDATE))
        if self.leadership is not None:
            self.leadership.check_invariants(self._state)
