"""Log replication: how a follower takes entries, and how a leader sends, retries and counts (thesis section 3.5, 3.6).

A leader sends optimistically: each message starts where the last one ended, up to a window. Loss shows itself when a
follower refuses what does not fit, at the latest with the next heartbeat, which starts where the last entry ended;
then the leader probes from the place that the refusal names. So no timer per message is needed and nothing wedges.
"""

from __future__ import annotations

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.effects import Effects
from raftgossip.core.raft.membership import has_committed_in_term, is_readable
from raftgossip.core.raft.message import AppendRequest, AppendResponse, Configuration, SnapshotResponse, TimeoutNow
from raftgossip.core.raft.progress import Flow, Progress
from raftgossip.core.raft.quorum import agreed_value
from raftgossip.core.raft.read_index import LeaderReads, SendTimes, Waiting, lease_ms
from raftgossip.core.raft.snapshot import Outgoing
from raftgossip.core.raft.state import RaftState
from raftgossip.facts import PeerCaughtUp, PeerResponsive, PeerUnresponsive
from raftgossip.ids import LogIndex, NodeId, Term

PIN_SILENCE = 10
"""Times `unresponsive_after_ms`: so long a follower that saves a snapshot may be silent before it is given up."""
PIN_SNAPSHOTS = 4
"""Times `snapshot_entries`: so many entries are kept at most for a follower that got a snapshot."""

# --- the follower


def is_well_formed(request: AppendRequest, term: Term) -> bool:
    """Whether the entries are readable and follow `previous_index` without a gap, in terms that do not fall or pass
    `term`.
    """
    index, last_term = request.previous_index, request.previous_term
    for entry in request.entries:
        if entry.index != index + 1 or not last_term <= entry.term <= term or not is_readable(entry):
            return False
        index, last_term = entry.index, entry.term
    return True


def accept_append(state: RaftState, request: AppendRequest) -> AppendResponse:
    """Take the entries if the log holds the one before them (the consistency check); the answer for the leader.

    Raises:
        RuntimeError: the leader of this term wants a committed entry replaced: the cluster is broken.
    """
    base_index = state.log.base_index
    # What is compacted here is committed, and so it is the same in every leader's log.
    is_compacted = request.previous_index < base_index
    if not is_compacted and not state.log.matches(request.previous_index, request.previous_term):
        return _refuse(state, request)
    _merge(state, request)
    match_index = LogIndex(request.previous_index + len(request.entries))
    if is_compacted:
        match_index = max(match_index, base_index)
    return AppendResponse(True, match_index, LogIndex(0), Term(0), request.sequence)


def verified_commit_index(request: AppendRequest) -> LogIndex:
    """How far an accepted request allows the follower to commit: not past what it verified (Figure 2, step 5)."""
    return min(request.commit_index, LogIndex(request.previous_index + len(request.entries)))


def _merge(state: RaftState, request: AppendRequest) -> None:
    """Append what is missing. Entries that match stay, also those behind them: the request may be an old one."""
    log = state.log
    for position, entry in enumerate(request.entries):
        if entry.index <= log.base_index or log.matches(entry.index, entry.term):
            continue
        if entry.index <= log.last_index:
            if entry.index <= state.commit_index:
                raise RuntimeError(
                    f"node {state.node_id}: the leader of term {state.term} replaces the committed entry {entry.index}"
                )
            state.truncate_from(entry.index)
        for missing in request.entries[position:]:
            state.append(missing)
        return


def _refuse(state: RaftState, request: AppendRequest) -> AppendResponse:
    """Name the place where the leader should try next (thesis section 3.5: one refusal a term, not an entry)."""
    conflict_term = state.log.term_at(request.previous_index)
    if conflict_term is None:
        after_last = LogIndex(state.log.last_index + 1)
        return AppendResponse(False, LogIndex(0), after_last, Term(0), request.sequence)
    first = state.log.first_index_of(conflict_term)
    return AppendResponse(False, LogIndex(0), first, conflict_term, request.sequence)


# --- the leader


class Leadership:
    """A leader's own variables: what it knows of every other node of its configuration, and what it owes to whom.

    Invariants: one `Progress` for each other member, in the order of their ids; `sequence` only rises.
    """

    def __init__(self, state: RaftState, config: RaftConfig) -> None:
        """A new leader assumes nothing: match indices are 0 and nobody has answered."""
        self._config = config
        self._sequence = 0
        self._round_sequence = 0
        """When everybody was last sent a request, the sequence had come so far."""
        self._sent = SendTimes()
        self._followers: dict[NodeId, Progress] = {}
        self._news_due_ms: int | None = None
        self._has_lease = bool(config.lease_drift_percent)
        self.reads = LeaderReads()
        self.transferee: NodeId | None = None
        self.transfer_request_id = 0
        self.transfer_until_ms = 0
        self.heartbeat_due_ms = state.now_ms + config.heartbeat_ms
        uncommitted = state.log.span(LogIndex(state.commit_index + 1), state.log.last_index)
        self.uncommitted_bytes = sum(len(entry.data) for entry in uncommitted)
        self.follow(state, LogIndex(state.log.last_index + 1))

    @property
    def followers(self) -> dict[NodeId, Progress]:
        """Progress by node id, in ascending order."""
        return self._followers

    def follow(self, state: RaftState, next_index: LogIndex) -> None:
        """Keep progress for exactly the other members; newcomers are asked for what is before `next_index`."""
        first_sequence = self._sequence + 1
        self._followers = {
            node_id: self._followers.get(node_id) or Progress(next_index, first_sequence, contact_ms=state.now_ms)
            for node_id in _others(state)
        }

    def due_ms(self) -> int:
        """When time alone makes the leader do something."""
        wakes = [each.transfer.wake_ms(self._config) for each in self._followers.values() if each.transfer is not None]
        if self._news_due_ms is not None:
            wakes.append(self._news_due_ms)
        return min(self.heartbeat_due_ms, *wakes) if wakes else self.heartbeat_due_ms

    # --- sending

    def send_due(self, state: RaftState, effects: Effects) -> None:
        """Send every follower what its window allows, and whoever reads a round of heartbeats."""
        has_news = self._news_due_ms is not None and self._news_due_ms <= state.now_ms
        needs_round = self.reads.needs_round(self._round_sequence)
        for node_id, progress in self._followers.items():
            sequence = self._sequence
            self.send_to(node_id, progress, state, effects)
            is_behind = progress.flow is Flow.REPLICATE and progress.sent_commit_index < state.commit_index
            if (needs_round or (has_news and is_behind)) and sequence == self._sequence:
                self._append(node_id, progress, state, effects, with_entries=False)
        if has_news:
            self._news_due_ms = None
        if needs_round:
            self._round_sequence = self._next_sequence(state.now_ms)

    def send_to(self, node_id: NodeId, progress: Progress, state: RaftState, effects: Effects) -> None:
        """Send one follower what it lacks."""
        log, config = state.log, self._config
        if progress.next_index <= log.base_index and progress.transfer is None and progress.responsive:
            assert state.snapshot is not None, "what is compacted stands in the snapshot"
            progress.begin_transfer(Outgoing(state.snapshot))
        if progress.transfer is not None:
            chunk = progress.transfer.next_chunk(config, self._sequence + 1, state.now_ms)
            if chunk is not None:
                self._next_sequence(state.now_ms)
                effects.send(node_id, state.term, chunk)
        while log.base_index < progress.next_index <= log.last_index and progress.can_send(config):
            self._append(node_id, progress, state, effects, with_entries=True)

    def heartbeat(self, state: RaftState, effects: Effects) -> None:
        """Send every follower an empty request: it keeps elections away, uncovers losses and confirms reads."""
        self.heartbeat_due_ms = state.now_ms + self._config.heartbeat_ms
        for node_id, progress in self._followers.items():
            self._append(node_id, progress, state, effects, with_entries=False)
        self._round_sequence = self._next_sequence(state.now_ms)

    def note_news(self, state: RaftState) -> None:
        """The commit index moved: tell the followers soon, if no entries carry it there before.

        Under load they do, and a message of its own for each commit would double the traffic.
        """
        if self._news_due_ms is None:
            self._news_due_ms = state.now_ms + max(1, self._config.heartbeat_ms // 10)

    def _append(
        self, node_id: NodeId, progress: Progress, state: RaftState, effects: Effects, *, with_entries: bool
    ) -> None:
        log, config = state.log, self._config
        previous_index = LogIndex(progress.next_index - 1)
        previous_term = log.term_at(previous_index)
        if previous_term is None:
            # It lacks what is compacted: a heartbeat that fits every log.
            previous_index, previous_term = LogIndex(0), Term(0)
        entries = (
            log.batch(progress.next_index, config.max_entries_per_append, config.max_append_bytes)
            if with_entries
            else ()
        )
        sequence = self._next_sequence(state.now_ms)
        request = AppendRequest(previous_index, previous_term, entries, state.commit_index, sequence)
        effects.send(node_id, state.term, request)
        progress.sent_commit_index = max(progress.sent_commit_index, verified_commit_index(request))
        if entries:
            progress.sent(entries[-1].index, sum(len(entry.data) for entry in entries))

    def _next_sequence(self, now_ms: int) -> int:
        self._sequence += 1
        if self._has_lease:
            self._sent.note(self._sequence, now_ms, keep_ms=self._config.election_max_ms)
        return self._sequence

    # --- answers

    def on_response(self, node_id: NodeId, response: AppendResponse, state: RaftState, effects: Effects) -> bool:
        """Take a follower's answer to a request of this term; returns whether its match index rose.

        An answer that cannot be one to a request of ours is dropped: to a request never sent, to one sent in an
        earlier membership of the node, or with a match beyond this log.
        """
        progress = self._heard(node_id, response.sequence, state, effects)
        if progress is None or response.match_index > state.log.last_index:
            return False
        if not response.success:
            self._on_refusal(progress, response, state)
            return False
        has_news = progress.acknowledged(response.match_index)
        if progress.match_index + self._config.caught_up_lag >= state.commit_index:
            progress.pin_index = None
        self._note_caught_up(node_id, progress, state, effects)
        if node_id == self.transferee:
            self.hand_over(state, effects)
        return has_news

    def on_snapshot_response(
        self, node_id: NodeId, response: SnapshotResponse, state: RaftState, effects: Effects
    ) -> None:
        """A follower took a chunk, or says where it wants to go on."""
        progress = self._heard(node_id, response.sequence, state, effects)
        if progress is not None and progress.transfer is not None:
            progress.transfer.answered(response.last_index, response.last_term, response.next_offset)

    def _heard(self, node_id: NodeId, sequence: int, state: RaftState, effects: Effects) -> Progress | None:
        """Note that a follower answered the request `sequence`; None: it was none of ours."""
        progress = self._followers.get(node_id)
        if progress is None or not progress.first_sequence <= sequence <= self._sequence:
            return None
        progress.contact_ms = state.now_ms
        if sequence > progress.answered_sequence:
            progress.answered_sequence = sequence
            sent_ms = self._sent.sent_ms(sequence)
            if sent_ms is not None:
                progress.answered_sent_ms = sent_ms
        if progress.responsive is not True:
            progress.responsive = True
            effects.facts.append(PeerResponsive(node_id))
        return progress

    def _on_refusal(self, progress: Progress, response: AppendResponse, state: RaftState) -> None:
        if response.sequence < progress.probe_sequence or progress.flow is Flow.SNAPSHOT:
            return
        next_index = response.conflict_index
        if response.conflict_term:
            # The leader's last entry of that term matches the follower's, if it has one (thesis section 3.5).
            last_shared = state.log.last_index_of(response.conflict_term)
            next_index = LogIndex(last_shared + 1) if last_shared is not None else next_index
        bounded = min(max(next_index, LogIndex(1)), progress.next_index)
        progress.probe_from(bounded, self._sequence + 1)

    def _note_caught_up(self, node_id: NodeId, progress: Progress, state: RaftState, effects: Effects) -> None:
        if progress.caught_up or node_id not in state.configuration.learners or not progress.match_index:
            return
        # What is not committed yet is on its way to everybody, under load always.
        if progress.match_index + self._config.caught_up_lag >= state.commit_index:
            progress.caught_up = True
            effects.facts.append(PeerCaughtUp(node_id, progress.match_index))

    # --- counting

    def majority_index(self, state: RaftState) -> LogIndex:
        """Up to where a majority of the voters holds the log durably; the leader counts by its own disk."""
        return LogIndex(
            agreed_value(
                state.configuration.halves,
                lambda voter: state.log.durable_index if voter == state.node_id else self._followers[voter].match_index,
            )
        )

    def committable_index(self, state: RaftState) -> LogIndex:
        """The commit index that follows from the counts.

        Thesis section 3.6.2: only an entry of the current term is committed by counting; those before it go along.
        One of an earlier term that a majority holds may still be overwritten by a later leader (Figure 3.7).
        """
        index = self.majority_index(state)
        if index > state.commit_index and state.log.term_at(index) == state.term:
            return index
        return state.commit_index

    def quorum_contact_ms(self, state: RaftState) -> int:
        """When a majority of the voters, this leader included, was last heard."""
        return agreed_value(
            state.configuration.halves,
            lambda voter: state.now_ms if voter == state.node_id else self._followers[voter].contact_ms,
        )

    def take_confirmed_reads(self, state: RaftState) -> list[Waiting]:
        """The reads that may be answered now: a majority took this node for its leader after they came."""
        if self.reads.is_empty or not has_committed_in_term(state):
            return []
        sequence = agreed_value(
            state.configuration.halves,
            lambda voter: self._sequence + 1 if voter == state.node_id else self._followers[voter].answered_sequence,
        )
        return self.reads.take_confirmed(sequence)

    def add_read(self, reader: NodeId, number: int, state: RaftState) -> bool:
        """Let a read wait for its confirmation, which a lease gives at once; False: too many wait."""
        return self.reads.add(reader, number, 0 if self.holds_lease(state) else self._sequence + 1)

    def holds_lease(self, state: RaftState) -> bool:
        """Whether no other node can have been elected yet, if clocks are as good as `lease_drift_percent` says."""
        if not self._has_lease:
            return False
        heard_ms = agreed_value(
            state.configuration.halves,
            lambda voter: state.now_ms if voter == state.node_id else self._followers[voter].answered_sent_ms,
        )
        return state.now_ms < heard_ms + lease_ms(self._config)

    def note_silence(self, state: RaftState, effects: Effects) -> None:
        """Report followers that have not answered for too long; what was on the way to them is taken as lost."""
        for node_id, progress in self._followers.items():
            silent_ms = state.now_ms - progress.contact_ms
            if progress.responsive is not False and silent_ms >= self._config.unresponsive_after_ms:
                progress.responsive = progress.caught_up = False
                progress.probe_from(progress.next_index, self._sequence + 1)
                effects.facts.append(PeerUnresponsive(node_id))

    def compactable_index(self, index: LogIndex, state: RaftState) -> LogIndex:
        """How far the log may be compacted, `index` at most: whoever gets a snapshot needs the entries behind it.

        Else it would need the next snapshot by the time that it has this one, and so on. It is waited for while it
        answers now and then (it is silent while it saves the snapshot), and while it lacks little enough.
        """
        config = self._config
        pins = [
            progress.pin_index
            for progress in self._followers.values()
            if progress.pin_index is not None
            and state.now_ms - progress.contact_ms < PIN_SILENCE * config.unresponsive_after_ms
            and state.commit_index - progress.pin_index <= PIN_SNAPSHOTS * config.snapshot_entries
        ]
        return min(index, *pins) if pins else index

    # --- handing over

    def successor(self, configuration: Configuration) -> NodeId | None:
        """Who should lead next: the most caught-up other voter that answers; None: there is none."""
        candidates = [
            (-progress.match_index, node_id)
            for node_id, progress in self._followers.items()
            if node_id in configuration.voters and progress.responsive
        ]
        return min(candidates)[1] if candidates else None

    def begin_transfer(self, request_id: int, target: NodeId, state: RaftState, effects: Effects) -> None:
        """Hand over to `target` once it has the whole log; proposals wait for the next leader (thesis section 3.10)."""
        self.transferee, self.transfer_request_id = target, request_id
        self.transfer_until_ms = state.now_ms + self._config.election_max_ms
        self.hand_over(state, effects)

    def hand_over(self, state: RaftState, effects: Effects) -> None:
        """Ask the transferee to stand, if it lacks nothing. From then on another leader is possible at any time."""
        progress = self._followers.get(self.transferee) if self.transferee is not None else None
        if self.transferee is None or progress is None or progress.match_index < state.log.last_index:
            return
        self._has_lease = False
        effects.send(self.transferee, state.term, TimeoutNow())

    def check_invariants(self, state: RaftState) -> None:
        """Assert what the class promises."""
        assert list(self._followers) == _others(state)
        for progress in self._followers.values():
            progress.check_invariants(state.log.last_index, self._config)
        uncommitted = state.log.span(LogIndex(state.commit_index + 1), state.log.last_index)
        assert self.uncommitted_bytes == sum(len(entry.data) for entry in uncommitted)


def _others(state: RaftState) -> list[NodeId]:
    """Whom a leader sends to, in ascending order: whoever is removed, too, until that is committed."""
    members = {*state.configuration.members, *state.committed_configuration.members}
    return sorted(members - {state.node_id})
