"""The leader's coordinator: membership facts and time in, commands to propose out.

Every node runs one; it acts only while its node leads. All that matters is read from the ledger, so that a new leader
neither doubles nor skips an epoch; what a coordinator remembers by itself is only since when it has seen what, and what
it has proposed and not yet seen. How commands are replicated is not known here, nor what a plan looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from raftgossip.core.epoch.blame import accused, gave_up, silent_suspects, worst_connected
from raftgossip.core.epoch.command import CloseEpoch, Command, OpenEpoch, OpenEpochState, RetryExchange
from raftgossip.core.epoch.config import EpochConfig, RunSpec
from raftgossip.core.epoch.ledger import CLOSED, FAILED, LedgerView, closing_reports
from raftgossip.core.epoch.sightings import Liveness, Sightings
from raftgossip.core.epoch.voters import Health, next_configuration
from raftgossip.core.raft.message import Configuration
from raftgossip.facts import ConfigurationChanged, PeerCaughtUp, PeerResponsive, PeerUnresponsive
from raftgossip.ids import Epoch, NodeId

FAILURE_BACKOFF_MS = (500, 10_000)
"""The pause before an epoch after two failed ones in a row, doubled with each further failure, and its maximum."""

MAX_ERRORS = 500
"""Characters of the participants' own errors in the reason of a failed epoch."""

PlanFunction = Callable[[RunSpec, tuple[NodeId, ...], Epoch, int], tuple[bytes, bool]]
"""(specification, participants, epoch, attempt) -> (digest of the plan, whether it is exact)."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline that the core asked for has come."""


@dataclass(frozen=True, slots=True)
class LeadershipChanged:
    """This node began or ceased to lead."""

    is_leader: bool


@dataclass(frozen=True, slots=True)
class LedgerChanged:
    """Commands were applied here; this is what they add up to."""

    view: LedgerView


CoordinatorEvent = (
    Tick | LeadershipChanged | LedgerChanged | PeerResponsive | PeerUnresponsive | PeerCaughtUp | ConfigurationChanged
)


@dataclass(frozen=True, slots=True)
class CoordinatorReady:
    """What to propose now; the proposer fills in `CloseEpoch.closed_at_ms`.

    A proposal that fails needs no answer: its effect does not show in the ledger, and the coordinator decides anew.
    """

    commands: tuple[Command, ...] = ()
    configurations: tuple[Configuration, ...] = ()


class Coordinator:
    """Decides for the leader: who is let into the Raft configuration and who votes (by the rules of `voters.py`), and
    when an epoch opens, is retried, or ends.

    Invariants: nothing is proposed while not leading; at most one epoch command and one configuration change are
    pending, and neither is repeated before its effect shows or its time is up.
    """

    def __init__(self, node_id: NodeId, config: EpochConfig, plan: PlanFunction) -> None:
        self._node_id = node_id
        self._config = config
        self._plan = plan
        self._view: LedgerView | None = None
        self._configuration: Configuration | None = None
        self._is_leader = False
        self._liveness = Liveness(node_id, config.unresponsive_grace_ms, config.rejoin_ms, now_ms=0)
        self._caught_up: set[NodeId] = set()
        self._sightings = Sightings()
        self._pending_until_ms: int | None = None
        self._change_until_ms: int | None = None
        self._commands: list[Command] = []
        self._configurations: list[Configuration] = []
        self._wake_ms: int | None = None

    # --- the core's three methods

    def handle(self, event: CoordinatorEvent, now_ms: int) -> None:
        """Take one event, then decide anew from everything that is known."""
        match event:
            case Tick():
                pass
            case LeadershipChanged():
                self._on_leadership_changed(event.is_leader, now_ms)
            case LedgerChanged():
                self._on_ledger_changed(event.view, now_ms)
            case PeerResponsive():
                self._liveness.set_responsive(event.node_id, now_ms)
            case PeerUnresponsive():
                self._liveness.set_unresponsive(event.node_id, now_ms)
                self._caught_up.discard(event.node_id)  # what it misses meanwhile may be much
            case PeerCaughtUp():
                self._caught_up.add(event.node_id)
            case ConfigurationChanged():
                self._on_configuration_changed(Configuration(event.voters, event.learners, event.outgoing))
            case _:
                assert_never(event)
        self._wake_ms = None
        if self._is_leader and self._view is not None:
            self._decide_membership(self._view, now_ms)
            self._decide_epoch(self._view, now_ms)

    def deadline_ms(self) -> int | None:
        """When time alone may change a decision; None: only an event can."""
        return self._wake_ms

    def ready(self) -> CoordinatorReady | None:
        """Take what is to be proposed now."""
        if not self._commands and not self._configurations:
            return None
        ready = CoordinatorReady(tuple(self._commands), tuple(self._configurations))
        self._commands.clear()
        self._configurations.clear()
        return ready

    def _on_leadership_changed(self, is_leader: bool, now_ms: int) -> None:
        if is_leader == self._is_leader:
            return
        self._is_leader = is_leader
        config = self._config
        self._liveness = Liveness(self._node_id, config.unresponsive_grace_ms, config.rejoin_ms, now_ms)
        self._caught_up.clear()
        self._pending_until_ms = self._change_until_ms = None
        self._commands.clear()
        self._configurations.clear()

    def _on_configuration_changed(self, configuration: Configuration) -> None:
        if self._configuration is not None:
            # Who left and comes back has to catch up again.
            self._caught_up -= set(self._configuration.members) - set(configuration.members)
        self._configuration = configuration
        self._change_until_ms = None

    def _on_ledger_changed(self, view: LedgerView, now_ms: int) -> None:
        if self._view is not None and _position(view) != _position(self._view):
            self._pending_until_ms = None
        if self._view is not None and view.roster != self._view.roster:
            before = {entry.node_id: entry.incarnation for entry in self._view.roster}
            for entry in view.roster:
                if before.get(entry.node_id) != entry.incarnation:
                    self._liveness.set_announced(entry.node_id)
        self._view = view
        self._sightings.observe(view, now_ms)

    def _is_due(self, when_ms: int | None, now_ms: int) -> bool:
        """Whether `when_ms` has come (None: long since); if not, ask to be woken then."""
        if when_ms is None or when_ms <= now_ms:
            return True
        self._wake_ms = when_ms if self._wake_ms is None else min(self._wake_ms, when_ms)
        return False

    # --- membership

    def _decide_membership(self, view: LedgerView, now_ms: int) -> None:
        if self._configuration is None or not self._is_due(self._change_until_ms, now_ms):
            return
        health = self._health(self._configuration, now_ms)
        change = next_configuration(self._configuration, view, health, self._config.max_voters)
        if change is not None:
            self._configurations.append(change)
            self._change_until_ms = now_ms + self._config.proposal_timeout_ms
            self._is_due(self._change_until_ms, now_ms)

    def _health(self, configuration: Configuration, now_ms: int) -> Health:
        """How its members answer now; asks to be woken when silence makes the next voter a lost one."""
        liveness = self._liveness
        lost: list[tuple[int, NodeId]] = []
        for voter in configuration.voters:
            since_ms = liveness.silent_since_ms(voter)
            if since_ms is not None and self._is_due(since_ms + self._config.promote_after_ms, now_ms):
                lost.append((since_ms, voter))
        return Health(
            ready=tuple(node for node in sorted(self._caught_up) if liveness.is_alive(node)),
            silent=tuple(node for node in configuration.members if liveness.is_dead(node, now_ms)),
            lost=tuple(voter for _, voter in sorted(lost)),
        )

    # --- epochs

    def _decide_epoch(self, view: LedgerView, now_ms: int) -> None:
        spec, opened = view.specification, view.open_epoch
        if spec is None or not self._is_due(self._pending_until_ms, now_ms):
            return
        if opened is None:
            command = self._decide_opening(view, spec, now_ms)
        elif opened.exact:
            command = self._decide_exact(spec, opened, now_ms)
        else:
            command = self._decide_approximate(spec, opened, now_ms)
        if command is not None:
            self._commands.append(command)
            self._pending_until_ms = now_ms + self._config.proposal_timeout_ms
            self._is_due(self._pending_until_ms, now_ms)

    def _decide_opening(self, view: LedgerView, spec: RunSpec, now_ms: int) -> Command | None:
        configuration = self._configuration
        if view.run_finished or configuration is None:
            return None
        roster = tuple(entry.node_id for entry in view.roster)
        reached = frozenset(configuration.members)
        eligible = tuple(node for node in roster if node in reached and self._liveness.is_alive(node))
        if len(eligible) < spec.min_participants:
            return None
        if self._liveness.any_unknown(roster, now_ms):
            self._is_due(self._liveness.grace_ends_ms, now_ms)
            return None  # a new leader should leave nobody out by accident
        earliest_ms = max(self._earliest_opening_ms(view, spec), self._liveness.all_settled_ms(eligible))
        if not self._is_due(earliest_ms, now_ms):
            return None
        epoch = Epoch(view.last_epoch + 1)
        digest, exact = self._plan(spec, eligible, epoch, 1)
        return OpenEpoch(epoch, eligible, digest, self._node_id, exact)

    def _earliest_opening_ms(self, view: LedgerView, spec: RunSpec) -> int:
        num_failures = view.last_epoch - (view.last_closed.epoch if view.last_closed is not None else 0)
        earliest_ms = self._sightings.opened_ms + spec.min_epoch_ms if view.last_epoch > 0 else 0
        if num_failures >= 2:
            first_ms, longest_ms = FAILURE_BACKOFF_MS
            pause_ms = min(first_ms * 2 ** min(num_failures - 2, 16), longest_ms)
            earliest_ms = max(earliest_ms, self._sightings.ended_ms + pause_ms)
        return earliest_ms

    def _decide_approximate(self, spec: RunSpec, opened: OpenEpochState, now_ms: int) -> Command | None:
        """Close with what came, once nobody else will report or the time is up."""
        heard = {report.node_id for report in opened.reports} | set(self._gone(opened, now_ms))
        if not heard.issuperset(opened.participants) and not self._is_due(self._deadline_ms(spec, opened), now_ms):
            return None
        if len(closing_reports(opened)) < spec.min_participants:
            num_reports = len(closing_reports(opened))
            return self._fail(opened, f"only {num_reports} of at least {spec.min_participants} participants reported")
        return self._close(opened)

    def _decide_exact(self, spec: RunSpec, opened: OpenEpochState, now_ms: int) -> Command | None:
        """Close when every edge completed; retry when it is certain that one will not, and who is to blame."""
        completed = {report.node_id for report in closing_reports(opened)}
        if len(completed) == len(opened.participants):
            return self._close(opened)
        gone = self._gone(opened, now_ms)
        reported = {report.node_id for report in opened.reports}
        out_of_time = self._is_due(self._deadline_ms(spec, opened), now_ms)
        has_failed = reported != completed or any(node not in completed for node in gone)
        if not has_failed and not out_of_time:
            return None
        if self._liveness.any_unknown(opened.participants, now_ms):
            return None  # `_gone` has asked to be woken when the grace ends
        if not self._is_due(self._liveness.all_settled_ms(opened.participants), now_ms):
            return None  # after a restart of many, their announcements should cost one retry, not one each
        out = gone | gave_up(opened)
        out |= accused(opened, excused=out)
        if out_of_time:
            out |= {node for node in opened.participants if node not in reported}
        else:
            suspects = silent_suspects(opened, cleared=out)
            if not self._is_due(self._suspicion_ends_ms(suspects.values()), now_ms):
                return None  # one of them may just be dying: its death would make a second retry necessary
            out |= {node for node in suspects if self._is_overdue(spec, node, now_ms)}
        if not out and opened.repeated:
            worst = worst_connected(opened)
            out |= {worst} if worst is not None else set()
        return self._retry(spec, opened, out)

    def _gone(self, opened: OpenEpochState, now_ms: int) -> frozenset[NodeId]:
        """Participants that are dead, or no longer hold their trained vector."""
        if self._liveness.any_unknown(opened.participants, now_ms):
            self._is_due(self._liveness.grace_ends_ms, now_ms)
        dead = {node for node in opened.participants if self._liveness.is_dead(node, now_ms)}
        return frozenset({*dead, *opened.lost})

    def _deadline_ms(self, spec: RunSpec, opened: OpenEpochState) -> int:
        """When the leader's patience with the current attempt ends.

        Training counts from the opening, also if an early death made it a later attempt before all had trained. A new
        leader grants a whole exchange, because reports could not commit while nobody led.
        """
        since_ms = max(self._sightings.attempt_ms, self._liveness.since_ms)
        if not self._sightings.trained.issuperset(opened.participants):
            since_ms = max(since_ms, self._sightings.opened_ms + spec.train_deadline_ms)
        return since_ms + spec.exchange_deadline_ms

    def _suspicion_ends_ms(self, accusers: Iterable[Sequence[NodeId]]) -> int | None:
        """When every silent suspect had `unresponsive_grace_ms` since it was first named; None: nobody is suspect."""
        named_ms = [min(self._sightings.report_ms[node] for node in nodes) for nodes in accusers]
        if not named_ms:
            return None
        return max(*named_ms, self._liveness.since_ms) + self._config.unresponsive_grace_ms

    def _is_overdue(self, spec: RunSpec, node_id: NodeId, now_ms: int) -> bool:
        """Whether it should have finished its training by now and has shown no sign of it."""
        late = now_ms >= self._sightings.opened_ms + spec.train_deadline_ms
        return late and node_id not in self._sightings.trained

    # --- how an attempt ends

    def _close(self, opened: OpenEpochState) -> Command:
        if all(report.node_id in opened.lost for report in closing_reports(opened)):
            return self._fail(opened, "every contributor restarted or left before the epoch closed")
        return CloseEpoch(opened.epoch, opened.attempt, CLOSED, "", self._node_id)

    def _fail(self, opened: OpenEpochState, reason: str) -> Command:
        return CloseEpoch(opened.epoch, opened.attempt, FAILED, reason, self._node_id)

    def _retry(self, spec: RunSpec, opened: OpenEpochState, out: frozenset[NodeId]) -> Command:
        survivors = tuple(node for node in opened.participants if node not in out)
        without = f"without {', '.join(map(str, sorted(out)))}" if out else "nobody to blame"
        errors = "; ".join(f"node {report.node_id}: {report.error}" for report in opened.reports if report.error)
        if errors:
            without = f"{without}; {errors[:MAX_ERRORS]}"
        if len(survivors) < spec.min_participants:
            reason = f"{len(survivors)} of at least {spec.min_participants} participants are left ({without})"
            return self._fail(opened, reason)
        if opened.attempt >= spec.max_attempts:
            return self._fail(opened, f"attempt {opened.attempt} of {spec.max_attempts} did not complete ({without})")
        attempt = opened.attempt + 1
        digest, exact = self._plan(spec, survivors, opened.epoch, attempt)
        return RetryExchange(opened.epoch, attempt, survivors, digest, exact)


def _position(view: LedgerView) -> tuple[int, int]:
    """What every accepted epoch command moves: the last ended epoch, and the open one's attempt (0: none is open)."""
    return view.last_epoch, view.open_epoch.attempt if view.open_epoch is not None else 0
