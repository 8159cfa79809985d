"""One attempt of one epoch's exchange, step by step, in a worker thread: arrays and sockets, no ledger.

For an exact plan a transfer is folded straight into the step's accumulator: if it breaks, the whole attempt is void
and its accumulator is thrown away, since the survivors repeat the exchange from their kept vectors. For an approximate
plan a transfer is pooled and folded only when it is whole, and a share that was not delivered stays with its owner.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from raftgossip.core.epoch.command import FailedEdge, LinkBytes
from raftgossip.ids import NodeId
from raftgossip.learning.algorithm import Algorithm, State
from raftgossip.learning.mixing import Accumulator
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.exchange import Cancellation, Edge, EdgeOutcome, EdgeSink, ExchangeHub, StepWork
from raftgossip.topology.plan import EpochPlan, Step
from raftgossip.update import FloatVector


@dataclass(frozen=True, slots=True)
class AttemptWork:
    """What one attempt needs to know; everything here stands in the ledger, or derives from it."""

    cluster_id: str
    epoch: int
    attempt: int
    node_id: NodeId
    schema_digest: bytes
    plan: EpochPlan
    deadline_ms: int
    """On the monotonic clock: edges that are not complete by then have failed."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """How an attempt ended here. `model`: (P,) float32, or None if an exact attempt did not complete."""

    model: FloatVector | None
    links: tuple[LinkBytes, ...]
    failed_edges: tuple[FailedEdge, ...]


class _StepFold:
    """One step's accumulator and the sinks that feed it. After `close` nothing more gets in. Thread-safe."""

    def __init__(self, vector: FloatVector, mass: float, self_share: float, exact: bool) -> None:
        self._vector = vector
        self._mass = mass
        self._exact = exact
        self._accumulator = Accumulator(vector, mass, self_share)
        self._closed = False
        self._lock = threading.Lock()

    def open_sink(self, share: float, num_elements: int, mass: float) -> EdgeSink:
        """A neighbour's header was accepted: `share` of its `mass` will come."""
        if self._exact:
            return _DirectSink(self._accumulator, share * mass)
        return _PooledSink(self, share * mass, num_elements)

    def fold_whole(self, start: int, span: FloatVector, weight: float) -> None:
        """Fold a complete transfer, unless the step is over."""
        with self._lock:
            if not self._closed:
                self._accumulator.fold(start, span, weight)
                self._accumulator.add_mass(weight)

    def take_back(self, share: float) -> None:
        """A share that was not delivered stays with its owner."""
        self.fold_whole(0, self._vector, share * self._mass)

    def close(self) -> tuple[FloatVector, float]:
        """The mixed vector and its mass."""
        with self._lock:
            self._closed = True
            return self._accumulator.normalise()


class _DirectSink:
    """Folds spans as they arrive: a broken transfer makes the attempt void, and its accumulator with it."""

    def __init__(self, accumulator: Accumulator, weight: float) -> None:
        self._accumulator = accumulator
        self._weight = weight

    def fold(self, start: int, span: FloatVector) -> None:
        self._accumulator.fold(start, span, self._weight)

    def complete(self) -> None:
        self._accumulator.add_mass(self._weight)

    def discard(self) -> None:
        """Nothing to undo: the accumulator is thrown away."""


class _PooledSink:
    """Keeps spans aside until the transfer is whole: a broken one leaves no trace."""

    def __init__(self, step: _StepFold, weight: float, num_elements: int) -> None:
        self._step = step
        self._weight = weight
        self._pool = np.empty(num_elements, dtype=np.float32)
        self._start: int | None = None

    def fold(self, start: int, span: FloatVector) -> None:
        if self._start is None:
            self._start = start
        offset = start - self._start
        self._pool[offset : offset + len(span)] = span

    def complete(self) -> None:
        if self._start is not None:
            self._step.fold_whole(self._start, self._pool, self._weight)

    def discard(self) -> None:
        self._pool = np.empty(0, dtype=np.float32)


class _Account:
    """Bytes per link and failed edges over the steps of one attempt."""

    def __init__(self) -> None:
        self._bytes: dict[NodeId, tuple[int, int]] = {}
        self._failed: dict[NodeId, FailedEdge] = {}

    def add(self, outcomes: Mapping[NodeId, EdgeOutcome]) -> None:
        for node_id, outcome in outcomes.items():
            sent, received = self._bytes.get(node_id, (0, 0))
            self._bytes[node_id] = (sent + outcome.sent_bytes, received + outcome.received_bytes)
            if outcome.error:
                self._failed[node_id] = FailedEdge(node_id, outcome.error[:500], outcome.refused)

    @property
    def num_failed(self) -> int:
        return len(self._failed)

    def result(self, model: FloatVector | None) -> AttemptResult:
        links = tuple(LinkBytes(node, sent, received) for node, (sent, received) in sorted(self._bytes.items()))
        return AttemptResult(model, links, tuple(self._failed[node] for node in sorted(self._failed)))


def run_attempt(
    work: AttemptWork, algorithm: Algorithm, state: State, hub: ExchangeHub, clock: Clock, stop: Cancellation
) -> AttemptResult:
    """Run every step of the plan for this node; blocks. `state` is not changed, so that the attempt can be repeated."""
    account = _Account()
    for step_index, step in enumerate(work.plan.steps):
        vector, mass = algorithm.message(state)
        fold = _StepFold(vector, mass, step.self_share(work.node_id), work.plan.exact)
        edges = _edges(step, work, fold)
        timeout_s = max(0.001, (work.deadline_ms - clock.now_ms()) / 1000)
        step_work = StepWork(
            cluster_id=work.cluster_id,
            epoch=work.epoch,
            attempt=work.attempt,
            step=step_index,
            node_id=work.node_id,
            schema_digest=work.schema_digest,
            plan_digest=work.plan.digest,
            vector=vector,
            mass=mass,
            edges=edges,
            timeout_s=timeout_s,
        )
        outcomes = hub.run_step(step_work, stop)
        account.add(outcomes)
        if stop or (work.plan.exact and account.num_failed):
            return account.result(None)
        for transfer in step.outgoing(work.node_id):
            if outcomes[transfer.dst].error:
                fold.take_back(transfer.share)
        state = algorithm.mix(state, *fold.close())
    return account.result(algorithm.model(algorithm.finish(state)))


def _edges(step: Step, work: AttemptWork, fold: _StepFold) -> tuple[Edge, ...]:
    """This node's edges of a step; a neighbour has at most one transfer in each direction."""
    outgoing = {transfer.dst: transfer for transfer in step.outgoing(work.node_id)}
    incoming = {transfer.src: transfer for transfer in step.incoming(work.node_id)}
    edges = []
    for neighbour in step.neighbours(work.node_id):
        sent, received = outgoing.get(neighbour), incoming.get(neighbour)
        share = received.share if received else 0.0
        num_elements = received.stop - received.start if received else 0
        edges.append(
            Edge(
                neighbour=neighbour,
                sends=(sent.start, sent.stop) if sent else None,
                receives=(received.start, received.stop) if received else None,
                open_sink=partial(fold.open_sink, share, num_elements),
            )
        )
    return tuple(edges)
