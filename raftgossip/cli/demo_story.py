"""The demo's course: watches the peers, kills and restarts processes when it is time, and writes down what it saw."""

from __future__ import annotations

from collections.abc import Mapping

from raftgossip.cli.demo_plan import Plan
from raftgossip.cli.demo_processes import Cast
from raftgossip.cli.demo_summary import CLOSED, Event, SeenEpoch, Witnessed, seen_epoch
from raftgossip.cli.demo_tls import look_who_is_authenticated
from raftgossip.errors import RaftGossipError
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.grpc_documents import StatusDocument

STUCK_MS = 60_000
"""Nothing has happened for so long: the demo gives up."""
RESTART_AFTER_MS = 6_000
"""A killed peer comes back when the gateway is dead too, but no later than so long after its death if no epoch closes:
of two peers, one alone has no majority."""


class Story:
    """What has happened so far. `step` looks and acts once; it is called again and again."""

    def __init__(self, plan: Plan, cast: Cast, clock: Clock) -> None:
        """The time line begins now."""
        self.started_ms = clock.wall_ms()
        self.epochs: list[SeenEpoch] = []
        self.events: list[Event] = []
        self.statuses: Mapping[int, StatusDocument] = {}
        """Of the peers that answered when last asked."""
        self.witnessed: Witnessed | None = None
        """Who was authenticated, as soon as all peers are there; None: not yet, or there is no TLS."""
        self._plan = plan
        self._cast = cast
        self._clock = clock
        self._moved_ms = clock.now_ms()
        self._victim: int | None = None
        self._killed_ms = 0

    @property
    def num_closed(self) -> int:
        """Epochs that count."""
        return sum(each.outcome == CLOSED for each in self.epochs)

    @property
    def is_over(self) -> bool:
        """All epochs are closed, all that was to be killed was, and every peer knows and holds the final model."""
        if self.num_closed < self._plan.num_epochs or (self._plan.kills and not self._has("kill", "gateway")):
            return False
        if self._plan.kills and not self._has("back", "peer"):
            return False
        return len(self.statuses) == self._plan.num_peers and all(
            status["run_finished"] and self._holds_newest(status) for status in self.statuses.values()
        )

    def step(self) -> None:
        """Look at all peers, then do what is due.

        Raises:
            RaftGossipError: a process ended by itself, or nothing happens any more.
        """
        self._cast.check()
        asked = {node: peer.status() for node, peer in self._cast.peers.items()}
        self.statuses = {node: status for node, status in asked.items() if status is not None}
        num_before = len(self.epochs), len(self.events)
        self._read_epochs()
        if self.witnessed is None and len(self.statuses) == self._plan.num_peers:
            self.witnessed = self._witness()
        if self._plan.kills:
            self._act()
        if (len(self.epochs), len(self.events)) != num_before:
            self._moved_ms = self._clock.now_ms()
        elif self._clock.now_ms() - self._moved_ms > STUCK_MS:
            raise RaftGossipError(f"nothing has happened for {STUCK_MS // 1000} s: {self._state()}")

    def ledgers(self) -> dict[int, tuple[tuple[int, str], ...]]:
        """Number and model digest of all ended epochs, as each peer that answers tells them."""
        told = {node: peer.epochs(1) for node, peer in self._cast.peers.items()}
        return {
            node: tuple((entry["epoch"], entry["model_digest"] or "") for entry in entries)
            for node, entries in told.items()
            if entries is not None
        }

    def leader(self) -> int | None:
        """Who leads now, if anybody says that he does."""
        leading = [status for status in self.statuses.values() if status["role"] == "leader"]
        return max(leading, key=lambda status: status["term"])["node_id"] if leading else None

    # --- looking

    def _read_epochs(self) -> None:
        """What the peer that knows most has to tell."""
        ahead = sorted(self.statuses.values(), key=lambda status: -status["applied_index"])
        for status in ahead[:1]:
            entries = self._cast.peers[status["node_id"]].epochs(len(self.epochs) + 1) or ()
            self.epochs.extend(seen_epoch(entry, self.started_ms) for entry in entries)

    def _witness(self) -> Witnessed | None:
        gateway = self._cast.gateway.address()
        peers = {node: peer.process.address() for node, peer in self._cast.peers.items()}
        known = {node: address for node, address in peers.items() if address is not None}
        if self._cast.keys is None or gateway is None or len(known) < len(peers):
            return None
        return look_who_is_authenticated(self._cast.keys, gateway, known)

    def _holds_newest(self, status: StatusDocument) -> bool:
        """Whether the peer holds the model of the newest closed epoch that anybody has told of."""
        newest = next((each for each in reversed(self.epochs) if each.outcome == CLOSED), None)
        return newest is not None and status["model_digest"] in newest.digests

    # --- acting

    def _act(self) -> None:
        victim = self._victim
        if victim is None:
            if self.num_closed >= self._plan.leader_dies_after:
                self._kill_leader()
            return
        if not self._has("kill", "gateway") and self.num_closed >= self._plan.gateway_dies_after:
            self._cast.gateway.kill()
            self._note("kill", "gateway", None)
        if not self._has("restart", "peer"):
            if self._may_restart():
                self._cast.peers[victim].process.start()
                self._note("restart", "peer", victim)
        elif not self._has("back", "peer"):
            status = self.statuses.get(victim)
            if status is not None and self._holds_newest(status):
                self._note("back", "peer", victim)

    def _kill_leader(self) -> None:
        leader = self.leader()
        if leader is None:
            return  # an election is going on: at the next look there is somebody
        self._cast.peers[leader].kill()
        self._victim, self._killed_ms = leader, self._clock.now_ms()
        self._note("kill", "leader", leader)

    def _may_restart(self) -> bool:
        """An epoch after the gateway's death: so coming back is shown to need no gateway."""
        after_gateway = self._has("kill", "gateway") and self.num_closed > self._plan.gateway_dies_after
        no_majority = self._clock.now_ms() - max(self._killed_ms, self._moved_ms) > RESTART_AFTER_MS
        return after_gateway or no_majority or self.num_closed >= self._plan.num_epochs

    def _note(self, kind: str, what: str, node: int | None) -> None:
        self.events.append(Event(kind, what, node, round((self._clock.wall_ms() - self.started_ms) / 1000, 3)))

    def _has(self, kind: str, what: str) -> bool:
        return any((event.kind, event.what) == (kind, what) for event in self.events)

    def _state(self) -> str:
        phases = [f"node {node} {status['phase']}" for node, status in sorted(self.statuses.items())]
        silent = [f"node {node} silent" for node in sorted(set(self._cast.peers) - set(self.statuses))]
        return ", ".join([f"{self.num_closed} epochs closed", *phases, *silent])
