"""Builders for ledgers and coordinators: a run of five peers, and a world in which one coordinator leads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

import pytest

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    FailedEdge,
    LinkBytes,
    OpenEpoch,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.epoch.config import EpochConfig, RunSpec
from raftgossip.core.epoch.coordinator import Coordinator, CoordinatorEvent, LeadershipChanged, LedgerChanged, Tick
from raftgossip.core.epoch.ledger import Applied, Ledger
from raftgossip.core.raft.message import Configuration
from raftgossip.facts import ConfigurationChanged, PeerResponsive, PeerUnresponsive
from raftgossip.ids import Address, Epoch, Incarnation, LogIndex, NodeId


def spec(**changes: int | str) -> RunSpec:
    """A run that is easy to reckon with: 10 s of training, 4 s of exchange."""
    settings: dict[str, int | str | bytes] = {
        "task": "toy",
        "algorithm": "fedavg",
        "topology": "base",
        "num_epochs": 0,
        "min_participants": 2,
        "seed": 7,
        "local_passes": 1,
        "train_deadline_ms": 10_000,
        "exchange_deadline_ms": 4_000,
        "min_epoch_ms": 0,
        "max_attempts": 5,
        "schema_digest": b"s" * 32,
        "num_elements": 10,
    }
    return RunSpec(**{**settings, **changes})  # type: ignore[arg-type]


def plan_digest(participants: Sequence[int]) -> bytes:
    """What `World`'s plan function gives for these participants."""
    return hashlib.sha256(repr(tuple(participants)).encode()).digest()


class Make:
    """Short names for commands, so that a story reads as one."""

    spec = staticmethod(spec)
    plan_digest = staticmethod(plan_digest)

    @staticmethod
    def start(**changes: int | str) -> StartRun:
        return StartRun(spec(**changes), b"initial")

    @staticmethod
    def add(node: int, life: str = "a", owner: str = "") -> AddPeer:
        return AddPeer(NodeId(node), Address(f"node{node}", 7000), Incarnation(life), owner=owner or f"owner{node}")

    @staticmethod
    def open(epoch: int, *nodes: int, exact: bool = True) -> OpenEpoch:
        return OpenEpoch(Epoch(epoch), tuple(map(NodeId, nodes)), plan_digest(nodes), NodeId(1), exact)

    @staticmethod
    def retry(epoch: int, attempt: int, *nodes: int, exact: bool = True) -> RetryExchange:
        return RetryExchange(Epoch(epoch), attempt, tuple(map(NodeId, nodes)), plan_digest(nodes), exact)

    @staticmethod
    def report(
        epoch: int,
        attempt: int,
        node: int,
        *,
        failed: Iterable[int] = (),
        refused: Iterable[int] = (),
        error: str = "",
        digest: bytes | None = None,
        samples: int = 10,
        metrics: tuple[tuple[str, float], ...] = (),
        sent: int = 100,
    ) -> ReportEpoch:
        """Completed, unless edges failed or were refused, or there is an error."""
        edges = (
            *(FailedEdge(NodeId(other), "broke", refused=False) for other in failed),
            *(FailedEdge(NodeId(other), "NaN", refused=True) for other in refused),
        )
        if digest is None:
            digest = b"" if edges or error else b"model"
        links = (LinkBytes(NodeId(99), sent, sent),)
        return ReportEpoch(Epoch(epoch), attempt, NodeId(node), digest, samples, metrics, links, edges, error)

    @staticmethod
    def close(epoch: int, attempt: int, outcome: str = "closed", reason: str = "") -> CloseEpoch:
        return CloseEpoch(Epoch(epoch), attempt, outcome, reason, NodeId(1))

    @staticmethod
    def ledger(*commands: Command, nodes: Iterable[int] = range(1, 6), **changes: int | str) -> Ledger:
        """A started run with these nodes in the roster, to which the commands were applied."""
        ledger = Ledger()
        for index, command in enumerate([Make.start(**changes), *map(Make.add, nodes), *commands], start=1):
            result, _ = ledger.apply(index, command)
            assert result.accepted, (command, result.reason)
        return ledger


class World:
    """One coordinator that leads as node 1, the ledger that its proposals reach, and a clock that tests move.

    `told` is the transcript of what the coordinator proposed. With `commits` on, its commands are applied at once.
    """

    def __init__(self, nodes: Iterable[int], config: EpochConfig, *, exact: bool, **changes: int | str) -> None:
        self.exact = exact
        self.ledger = Make.ledger(nodes=nodes, **changes)
        self.now_ms = 1_000_000
        self.told: list[str] = []
        self.commits = True
        self.coordinator = Coordinator(NodeId(1), config, lambda spec, nodes, *_: (plan_digest(nodes), self.exact))

    def lead(self, responsive: Iterable[int] = ()) -> None:
        """Become the leader of a configuration with everybody in it; these peers answer at once."""
        members = tuple(entry.node_id for entry in self.ledger.view().roster)
        self.configure(members)
        self.tell(LedgerChanged(self.ledger.view()))
        self.tell(LeadershipChanged(True))
        for node in responsive:
            self.tell(PeerResponsive(NodeId(node)))

    def configure(self, voters: Iterable[int], learners: Iterable[int] = (), outgoing: Iterable[int] = ()) -> None:
        """This Raft configuration is in force now."""
        groups = [tuple(map(NodeId, group)) for group in (voters, learners, outgoing)]
        self.tell(ConfigurationChanged(groups[0], groups[1], LogIndex(1), groups[2]))

    def apply(self, *commands: Command) -> list[Applied]:
        """Commit these commands; the coordinator sees the ledger after each."""
        results = []
        for command in commands:
            results.append(self.ledger.apply(self.ledger.view().applied_index + 1, command)[0])
            self.ledger.check_invariants()
            self.tell(LedgerChanged(self.ledger.view()))
        return results

    def die(self, node: int) -> None:
        """This peer does not acknowledge any more."""
        self.tell(PeerUnresponsive(NodeId(node)))

    def wait(self, duration_ms: int) -> None:
        """Let time pass; the coordinator is ticked exactly when it asked for it, and not otherwise."""
        end_ms = self.now_ms + duration_ms
        for _ in range(1000):
            deadline_ms = self.coordinator.deadline_ms()
            if deadline_ms is None or deadline_ms > end_ms:
                self.now_ms = end_ms
                return
            assert deadline_ms >= self.now_ms, "the coordinator wants to be woken in the past"
            self.now_ms = deadline_ms
            self.tell(Tick())
        raise AssertionError("the coordinator is woken again and again")

    def tell(self, event: CoordinatorEvent) -> None:
        """Feed one event and perform what comes out."""
        self.coordinator.handle(event, self.now_ms)
        woken_ms = self.coordinator.deadline_ms()
        assert woken_ms is None or woken_ms > self.now_ms
        ready = self.coordinator.ready()
        assert self.coordinator.ready() is None
        if ready is None:
            return
        self.told.extend(map(_described_change, ready.configurations))
        self.told.extend(map(_described, ready.commands))
        if self.commits:
            self.apply(*ready.commands)

    def take(self) -> list[str]:
        """What was proposed since the last call."""
        told, self.told = self.told, []
        return told


def _described_change(configuration: Configuration) -> str:
    return f"configure {configuration.encode().decode()}"


def _described(command: Command) -> str:
    match command:
        case OpenEpoch():
            return f"open {command.epoch}: {_nodes(command.participants)}"
        case RetryExchange():
            return f"retry {command.epoch}.{command.attempt}: {_nodes(command.participants)}"
        case CloseEpoch():
            reason = f": {command.reason}" if command.reason else ""
            return f"{command.outcome} {command.epoch}.{command.attempt}{reason}"
        case _:
            return type(command).__name__


def _nodes(nodes: Sequence[NodeId]) -> str:
    return " ".join(map(str, nodes))


@pytest.fixture
def make() -> type[Make]:
    """Builders of commands and ledgers."""
    return Make


@pytest.fixture
def lead_world() -> Callable[..., World]:
    """A function that makes a world in which node 1 leads `nodes`, all of them answer, and epoch 1 is open."""

    def build(
        nodes: Iterable[int] = (1, 2, 3, 4),
        *,
        config: EpochConfig | None = None,
        exact: bool = True,
        **changes: int | str,
    ) -> World:
        nodes = tuple(nodes)
        world = World(nodes, config or EpochConfig(), exact=exact, **changes)
        world.lead(responsive=nodes[1:])
        world.wait(500)
        return world

    return build


@pytest.fixture
def new_world() -> type[World]:
    """For stories that begin before the leader is settled."""
    return World
