"""Elections: who may stand, who gets a vote, and how the votes of one attempt add up (thesis chapters 3.4, 6.4, 9.6).

The rules are functions of the state; changing role is `node.py`'s part.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import PreVoteRequest, VoteRequest
from raftgossip.core.raft.quorum import VoteResult, vote_result
from raftgossip.core.raft.state import RaftState, Role
from raftgossip.ids import NodeId, Term


@dataclass(slots=True)
class Tally:
    """The answers to one attempt, the candidate's own included. One answer a node; a repeated one changes nothing."""

    is_transfer: bool = False
    """The leader itself asked for this attempt."""
    answers: dict[NodeId, bool] = field(default_factory=dict)

    def record(self, node_id: NodeId, granted: bool) -> None:
        """Take one node's answer."""
        self.answers.setdefault(node_id, granted)

    def result(self, state: RaftState) -> VoteResult:
        """How it stands among the voters of the newest configuration in the log, of each half if it is joint."""
        return vote_result(state.configuration.halves, self.answers)


def draw_timeout_ms(config: RaftConfig, rng: random.Random) -> int:
    """A new election timeout; drawn anew for every attempt, so that split votes end (section 3.4)."""
    return rng.randint(config.election_min_ms, config.election_max_ms)


def hears_leader(state: RaftState, config: RaftConfig) -> bool:
    """Whether a leader is alive here: then nobody else gets a vote (leader stickiness, thesis section 6.4)."""
    if state.role is Role.LEADER:
        return True
    contact_ms = state.leader_contact_ms
    return contact_ms is not None and state.now_ms - contact_ms < config.election_min_ms


def log_allows_vote(state: RaftState, request: VoteRequest | PreVoteRequest) -> bool:
    """The election restriction (section 3.6.1): only a log at least as up-to-date as the voter's may win."""
    return state.log.is_behind_or_equal(request.last_log_index, request.last_log_term)


def may_grant_pre_vote(state: RaftState, config: RaftConfig, term: Term, request: PreVoteRequest) -> bool:
    """Whether this node would vote for such a candidate in `term` (section 9.6). Nothing is promised by it."""
    return term > state.term and not hears_leader(state, config) and log_allows_vote(state, request)


def may_grant_vote(state: RaftState, candidate: NodeId, request: VoteRequest) -> bool:
    """Whether `candidate`, whose term is this node's, gets its one vote of the term (section 3.4)."""
    return state.leader is None and state.voted_for in (None, candidate) and log_allows_vote(state, request)


def vote_request(state: RaftState, tally: Tally) -> VoteRequest:
    """What a candidate asks."""
    return VoteRequest(state.log.last_index, state.log.last_term, tally.is_transfer)


def pre_vote_request(state: RaftState) -> PreVoteRequest:
    """What a pre-candidate asks, in a message whose term is the one it would stand for."""
    return PreVoteRequest(state.log.last_index, state.log.last_term)
