"""What all peers agree on: the run, the roster, the open epoch and the ended ones.

`Ledger.apply` is deterministic and total: the same commands in the same order give the same state and the same answers
on every peer, and any command in any state gives an answer. What would break the promise of an epoch is refused here,
whoever proposed it. Clocks, liveness and models are not known here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    EpochRecord,
    OpenEpoch,
    OpenEpochState,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    RosterEntry,
    StartRun,
)
from raftgossip.core.epoch.config import RunSpec
from raftgossip.facts import EpochClosed, EpochOpened, LedgerFact, RosterChanged, RunStarted
from raftgossip.ids import MAX_NODE_ID, Epoch, LogIndex, NodeId

CLOSED = "closed"
FAILED = "failed"

UNCLAIMED = ""
"""The owner of a peer that an operator added before it came: whoever comes first under its id becomes the owner."""
MAX_ROSTER = 10_000
"""Peers that a roster may hold; more are refused."""
MAX_DEPARTED = 10_000
"""Departed peers whose owners are remembered; the longest departed are forgotten first."""
MAX_USED_TOKENS = 10_000
"""Used join tokens that are remembered; while none of them can be forgotten, nobody enters with another."""
FORGET_TOKENS_S = 1_020
"""A used token is forgotten when one enters that expires so much later: the 15 minutes that a token may be valid, and
two minutes in which clocks may differ. Then the earlier one has expired on every clock."""
MAX_METRICS = 128
"""Metrics in one report; a report with more is refused."""
MAX_BYTES_SENT = 2**64 - 1
"""A count of bytes that its reporters drive higher stays here, so that 64 bits hold it in messages and snapshots."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What the ledger did with a command. `reason` says why it was refused, for people; empty if accepted."""

    accepted: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerView:
    """The ledger at one moment, for reading."""

    specification: RunSpec | None
    initial_digest: bytes
    """Of the common initial model; empty before the run started."""
    roster: tuple[RosterEntry, ...]
    """Sorted by node id."""
    departed: tuple[NodeId, ...]
    """Who was in the roster and left it, sorted."""
    departed_owners: tuple[tuple[NodeId, str], ...]
    """The same nodes, the longest departed first, and to whom their ids still belong."""
    open_epoch: OpenEpochState | None
    last_epoch: Epoch
    """The last ended epoch, closed or failed; 0 before the first. So `last_epoch + 1` is the open or the next one."""
    last_closed: EpochRecord | None
    applied_index: int
    """Where the last applied command stands in the log."""
    num_closed: int
    run_finished: bool
    """As many epochs are closed as the run asks for."""


@dataclass(frozen=True, slots=True)
class LedgerState:
    """Everything that `Ledger.apply` reads, at one moment: what a snapshot holds. Equal after equal commands."""

    specification: RunSpec | None = None
    initial_digest: bytes = b""
    roster: tuple[RosterEntry, ...] = ()
    """Sorted by node id."""
    departed: tuple[tuple[NodeId, str], ...] = ()
    """(node id, owner), the longest departed first."""
    open_epoch: OpenEpochState | None = None
    records: tuple[EpochRecord, ...] = ()
    """From epoch 1 on, without a gap."""
    applied_index: int = 0
    used_tokens: tuple[tuple[str, int], ...] = ()
    """(token id, when it expires in seconds since the Unix epoch), the earliest used first."""


_EMPTY = LedgerState()

_Outcome = str | tuple[LedgerFact, ...]
"""Why a command is refused, or what became true by it."""


class Ledger:
    """The state that Raft replicates.

    Invariants: the records are numbered from 1 without a gap; the open epoch is the one after the last record; its
    participants are sorted and were all in the roster; only current participants have reports.
    """

    def __init__(self, state: LedgerState = _EMPTY) -> None:
        """`state`: from a snapshot; by default nothing has been applied."""
        self._specification = state.specification
        self._initial_digest = state.initial_digest
        self._roster = {entry.node_id: entry for entry in state.roster}
        self._departed = dict(state.departed)
        """Owner by node id, the longest departed first."""
        self._used_tokens = dict(state.used_tokens)
        self._open = state.open_epoch
        self._records = list(state.records)
        closed = [record for record in state.records if record.outcome == CLOSED]
        self._last_closed = closed[-1] if closed else None
        self._num_closed = len(closed)
        self._applied_index = state.applied_index
        self._view: LedgerView | None = None

    # --- reading

    def view(self) -> LedgerView:
        """The state now; the same object until the next `apply`."""
        if self._view is None:
            self._view = LedgerView(
                specification=self._specification,
                initial_digest=self._initial_digest,
                roster=tuple(self._roster[node_id] for node_id in sorted(self._roster)),
                departed=tuple(sorted(self._departed)),
                departed_owners=tuple(self._departed.items()),
                open_epoch=self._open,
                last_epoch=self._last_epoch,
                last_closed=self._last_closed,
                applied_index=self._applied_index,
                num_closed=self._num_closed,
                run_finished=self._is_finished,
            )
        return self._view

    def state(self) -> LedgerState:
        """The state now, for a snapshot; quick, since the values in it are only referred to."""
        return LedgerState(
            specification=self._specification,
            initial_digest=self._initial_digest,
            roster=self.view().roster,
            departed=tuple(self._departed.items()),
            open_epoch=self._open,
            records=tuple(self._records),
            applied_index=self._applied_index,
            used_tokens=tuple(self._used_tokens.items()),
        )

    def records(self, first: Epoch, limit: int) -> tuple[EpochRecord, ...]:
        """Ended epochs, closed and failed, from number `first` on, at most `limit`."""
        start = max(first, 1) - 1
        return tuple(self._records[start : start + max(limit, 0)])

    @property
    def _last_epoch(self) -> Epoch:
        return Epoch(len(self._records))

    @property
    def _is_finished(self) -> bool:
        return self._specification is not None and 0 < self._specification.num_epochs <= self._num_closed

    def check_invariants(self) -> None:
        """Assert what the class promises; for tests and the simulator."""
        assert [record.epoch for record in self._records] == list(range(1, len(self._records) + 1))
        assert self._num_closed == sum(record.outcome == CLOSED for record in self._records)
        opened = self._open
        if opened is None:
            return
        assert opened.epoch == self._last_epoch + 1
        assert opened.participants == tuple(sorted(set(opened.participants))) != ()
        assert set(opened.participants) <= set(opened.first_participants)
        assert set(opened.lost) <= set(opened.participants)
        reporters = [report.node_id for report in opened.reports]
        assert reporters == sorted(set(reporters)) and set(reporters) <= set(opened.participants)

    # --- applying

    def apply(self, index: int, command: Command) -> tuple[Applied, tuple[LedgerFact, ...]]:
        """Take the command that stands at `index` of the log: what was decided, and what became true by it."""
        self._view = None
        self._applied_index = index
        outcome = self._dispatch(index, command)
        if isinstance(outcome, str):
            return Applied(False, outcome), ()
        return Applied(True, ""), outcome

    def _dispatch(self, index: int, command: Command) -> _Outcome:
        match command:
            case StartRun():
                return self._on_start_run(index, command)
            case AddPeer():
                return self._on_add_peer(command)
            case RemovePeer():
                return self._on_remove_peer(command)
            case OpenEpoch():
                return self._on_open_epoch(command)
            case RetryExchange():
                return self._on_retry_exchange(command)
            case ReportEpoch():
                return self._on_report_epoch(command)
            case CloseEpoch():
                return self._on_close_epoch(index, command)
            case _:
                assert_never(command)

    def _on_start_run(self, index: int, command: StartRun) -> _Outcome:
        if self._specification is not None:
            return "the run has started already"
        self._specification = command.specification
        self._initial_digest = command.initial_digest
        return (RunStarted(LogIndex(index)),)

    # --- the roster

    def _on_add_peer(self, command: AddPeer) -> _Outcome:
        node_id = command.node_id
        known = self._roster.get(node_id)
        if not 1 <= node_id <= MAX_NODE_ID:
            return f"the node id {node_id} is not between 1 and {MAX_NODE_ID}"
        if known is None and len(self._roster) >= MAX_ROSTER:
            return f"the roster is full: it holds {MAX_ROSTER} peers"
        owner = known.owner if known is not None else self._departed.get(node_id, command.owner)
        if owner not in (UNCLAIMED, command.owner):
            # Also for the departed: their vote may still count in the Raft configuration.
            return (
                f"node id {node_id} belongs to another state directory, also after it left: "
                "start it with that one, or choose another id"
            )
        is_new = known is None or known.owner != command.owner
        if is_new and (reason := self._refuse_token(command)):
            return reason
        entry = RosterEntry(node_id, command.address, command.incarnation, command.metadata, command.owner)
        if entry == known:
            return ()
        if known is not None and known.incarnation != entry.incarnation:
            self._mark_lost(node_id)
        if is_new and command.token_id:
            self._used_tokens = {
                **self._unforgettable(command.token_expires_s),
                command.token_id: command.token_expires_s,
            }
        self._departed.pop(node_id, None)
        self._roster[node_id] = entry
        return (RosterChanged(node_id, present=True),)

    def _refuse_token(self, command: AddPeer) -> str:
        """Why who is not in yet cannot enter with this join token, or without any; who is in needs none."""
        if command.token_id in self._used_tokens:
            return f"join token {command.token_id!a} was used before: enter with a new one"
        if command.token_id:
            is_full = len(self._unforgettable(command.token_expires_s)) >= MAX_USED_TOKENS
            return f"{MAX_USED_TOKENS} join tokens were used in the last minutes: retry later" if is_full else ""
        requires_token = self._specification is not None and self._specification.requires_token
        if not requires_token or needs_no_token(command.node_id, command.owner, self._roster):
            return ""
        return f"this run requires a join token, and node {command.node_id} shows none"

    def _unforgettable(self, expires_s: int) -> dict[str, int]:
        """The used tokens that may not have expired yet when one enters that expires then."""
        return {each: until_s for each, until_s in self._used_tokens.items() if until_s >= expires_s - FORGET_TOKENS_S}

    def _on_remove_peer(self, command: RemovePeer) -> _Outcome:
        entry = self._roster.pop(command.node_id, None)
        if entry is None:
            return f"node {command.node_id} is not in the roster"
        self._mark_lost(entry.node_id)
        self._departed[entry.node_id] = entry.owner
        if len(self._departed) > MAX_DEPARTED:
            del self._departed[next(iter(self._departed))]
        return (RosterChanged(entry.node_id, present=False),)

    def _mark_lost(self, node_id: NodeId) -> None:
        opened = self._open
        if opened is not None and node_id in opened.participants:
            self._open = replace(opened, lost=tuple(sorted({*opened.lost, node_id})))

    # --- epochs

    def _on_open_epoch(self, command: OpenEpoch) -> _Outcome:
        if self._specification is None:
            return "the run has not started"
        if self._is_finished:
            return f"the run is finished: {self._num_closed} epochs are closed"
        if self._open is not None:
            return f"epoch {self._open.epoch} is open"
        if command.epoch != self._last_epoch + 1:
            return f"epoch {command.epoch} is not the next: that is {self._last_epoch + 1}"
        reason = _refuse_participants(self._specification, command.participants)
        strangers = [node_id for node_id in command.participants if node_id not in self._roster]
        if not reason and strangers:
            reason = f"not in the roster: {_listed(strangers)}"
        if reason:
            return reason
        self._open = OpenEpochState(
            epoch=command.epoch,
            attempt=1,
            first_participants=command.participants,
            participants=command.participants,
            plan_digest=command.plan_digest,
            leader=command.leader,
            reports=(),
            bytes_sent=0,
            exact=command.exact,
        )
        return (EpochOpened(command.epoch, 1, command.participants),)

    def _on_retry_exchange(self, command: RetryExchange) -> _Outcome:
        opened = self._open
        if opened is None or self._specification is None or opened.epoch != command.epoch:
            return f"epoch {command.epoch} is not open"
        if command.attempt != opened.attempt + 1:
            return f"attempt {command.attempt} is not the next: that is {opened.attempt + 1}"
        reason = _refuse_participants(self._specification, command.participants)
        strangers = [node_id for node_id in command.participants if node_id not in opened.participants]
        lost = [node_id for node_id in command.participants if node_id in opened.lost]
        if not reason and strangers:
            reason = f"not participants of attempt {opened.attempt}: {_listed(strangers)}"
        elif not reason and lost:
            reason = f"restarted or left, so that they hold no trained vector: {_listed(lost)}"
        if reason:
            return reason
        self._open = replace(
            opened,
            attempt=command.attempt,
            participants=command.participants,
            plan_digest=command.plan_digest,
            exact=command.exact,
            reports=(),
            bytes_sent=_total_bytes_sent(opened),
            lost=(),
            repeated=command.participants == opened.participants,
        )
        return (EpochOpened(command.epoch, command.attempt, command.participants),)

    def _on_report_epoch(self, command: ReportEpoch) -> _Outcome:
        opened = self._open
        if opened is None or (opened.epoch, opened.attempt) != (command.epoch, command.attempt):
            return f"attempt {command.attempt} of epoch {command.epoch} is not open"
        if command.node_id not in opened.participants:
            return f"node {command.node_id} is not a participant of attempt {opened.attempt}"
        if command.node_id in opened.lost:
            # What it exchanged before and after its restart may stem from two different vectors.
            return f"node {command.node_id} restarted or left since epoch {opened.epoch} opened"
        if command.num_samples < 0:
            return f"num_samples is {command.num_samples}; it must be at least 0"
        if len(command.metrics) > MAX_METRICS:
            return f"{len(command.metrics)} metrics are more than {MAX_METRICS}"
        others = [report for report in opened.reports if report.node_id != command.node_id]
        reports = tuple(sorted([*others, command], key=lambda report: report.node_id))
        self._open = replace(opened, reports=reports)
        return ()

    def _on_close_epoch(self, index: int, command: CloseEpoch) -> _Outcome:
        opened = self._open
        if opened is None or (opened.epoch, opened.attempt) != (command.epoch, command.attempt):
            return f"attempt {command.attempt} of epoch {command.epoch} is not open"
        contributors: tuple[ReportEpoch, ...] = ()
        if command.outcome == CLOSED:
            contributors = closing_reports(opened)
            reason = self._refuse_closing(opened, contributors)
            if reason:
                return reason
        elif command.outcome != FAILED:
            return f"the outcome {command.outcome!a} is neither {CLOSED!r} nor {FAILED!r}"
        record = _record(index, opened, command, contributors)
        self._records.append(record)
        self._open = None
        if record.outcome == CLOSED:
            self._last_closed = record
            self._num_closed += 1
        return (EpochClosed(record.epoch, record.attempt, record.outcome, record.contributors, record.model_digest),)

    def _refuse_closing(self, opened: OpenEpochState, contributors: tuple[ReportEpoch, ...]) -> str:
        assert self._specification is not None
        if opened.exact and len(contributors) < len(opened.participants):
            done = {report.node_id for report in contributors}
            missing = [node_id for node_id in opened.participants if node_id not in done]
            return f"the exchange is not complete at: {_listed(missing)}"
        if len(contributors) < self._specification.min_participants:
            return f"{len(contributors)} contributors are fewer than {self._specification.min_participants}"
        if all(report.node_id in opened.lost for report in contributors):
            return "every contributor restarted or left, so that nobody is known to hold the model"
        return ""


def needs_no_token(node_id: NodeId, owner: str, roster: Mapping[NodeId, RosterEntry]) -> bool:
    """Whether a node may enter without a join token where the run requires one: the founder, and for whom an operator
    keeps a place, which is an invitation. Without an owner it is the operator who keeps one. Who left needs another."""
    if owner == UNCLAIMED or all(entry.owner == UNCLAIMED for entry in roster.values()):
        return True
    return node_id in roster


def closing_reports(opened: OpenEpochState) -> tuple[ReportEpoch, ...]:
    """The reports of those who would contribute if the epoch closed now, by node id."""
    if opened.exact:
        return tuple(report for report in opened.reports if report.completed)
    return tuple(report for report in opened.reports if report.contributes)


def _refuse_participants(spec: RunSpec, participants: tuple[NodeId, ...]) -> str:
    if participants != tuple(sorted(set(participants))):
        return "the participants are not sorted or repeat themselves"
    if len(participants) < spec.min_participants:
        return f"{len(participants)} participants are fewer than {spec.min_participants}"
    return ""


def _record(
    index: int, opened: OpenEpochState, command: CloseEpoch, contributors: tuple[ReportEpoch, ...]
) -> EpochRecord:
    return EpochRecord(
        epoch=opened.epoch,
        attempt=opened.attempt,
        outcome=command.outcome,
        participants=opened.first_participants,
        contributors=tuple(report.node_id for report in contributors),
        model_digest=contributors[0].digest if contributors else b"",
        digests=tuple((report.node_id, report.digest) for report in contributors),
        metrics=average_metrics(contributors),
        bytes_sent=_total_bytes_sent(opened),
        leader=command.leader,
        closed_at_ms=command.closed_at_ms,
        reason=command.reason,
        log_index=index,
    )


def average_metrics(reports: Sequence[ReportEpoch]) -> tuple[tuple[str, float], ...]:
    """Each metric's mean over those who report it, weighted by num_samples, sorted by name.

    `math.fsum` in node order gives every peer the same bits. A value that is not finite is left out, and so is a name
    without any finite mean. If all weights are 0, they count alike.
    """
    columns: dict[str, list[tuple[int, float]]] = {}
    for report in reports:
        for name, value in sorted(dict(report.metrics).items()):
            if math.isfinite(value):
                columns.setdefault(name, []).append((report.num_samples, value))
    means = ((name, _weighted_mean(columns[name])) for name in sorted(columns))
    return tuple((name, mean) for name, mean in means if mean is not None)


def _weighted_mean(column: Sequence[tuple[int, float]]) -> float | None:
    total = sum(weight for weight, _ in column)
    if total == 0:
        column, total = [(1, value) for _, value in column], len(column)
    try:
        mean = math.fsum(weight * value for weight, value in column) / total
    except (OverflowError, ValueError):  # the sum leaves the range of a float, or is inf - inf
        return None
    return mean if math.isfinite(mean) else None


def _total_bytes_sent(opened: OpenEpochState) -> int:
    reported = sum(link.sent for report in opened.reports for link in report.links)
    return min(opened.bytes_sent + reported, MAX_BYTES_SENT)


def _listed(nodes: Sequence[NodeId]) -> str:
    return ", ".join(str(node_id) for node_id in nodes)
