"""One attempt's arithmetic at all peers at once, over a network of shared memory whose edges can break."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from raftgossip.ids import NodeId
from raftgossip.learning.algorithm import make_algorithm
from raftgossip.peer.attempt import AttemptResult, AttemptWork, run_attempt
from raftgossip.runtime.exchange import Cancellation, EdgeOutcome, StepWork
from raftgossip.topology.plan import EpochPlan
from raftgossip.topology.schedule import make_plan
from raftgossip.update import FloatVector

SIZE = 1000
Broken = frozenset[tuple[int, int]]


class StoppedClock:
    """No time passes."""

    def now_ms(self) -> int:
        return 0

    def wall_ms(self) -> int:
        return 0


class MemoryHub:
    """Stands for the network: hands each neighbour's vector over, or breaks the edge half way. Fake, no sockets."""

    def __init__(self, broken: Broken = frozenset()) -> None:
        self._broken = broken
        self._changed = threading.Condition()
        self._sent: dict[tuple[int, NodeId], tuple[FloatVector, float]] = {}

    def run_step(self, work: StepWork, stop: Cancellation) -> dict[NodeId, EdgeOutcome]:
        """As `ExchangeHub.run_step`."""
        with self._changed:
            self._sent[work.step, work.node_id] = (work.vector, work.mass)
            self._changed.notify_all()
        outcomes: dict[NodeId, EdgeOutcome] = {}
        for edge in work.edges:
            key = (work.step, edge.neighbour)
            with self._changed:
                assert self._changed.wait_for(lambda: key in self._sent, 10)  # noqa: B023
            vector, mass = self._sent[key]
            start, stop_index = edge.receives or (0, 0)
            sink = edge.open_sink(mass)
            half = (start + stop_index) // 2
            sink.fold(start, vector[start:half])
            if {(work.node_id, edge.neighbour), (edge.neighbour, work.node_id)} & self._broken:
                sink.discard()
                outcomes[edge.neighbour] = EdgeOutcome(0, 0, "broke")
                continue
            sink.fold(half, vector[half:stop_index])
            sink.complete()
            outcomes[edge.neighbour] = EdgeOutcome(4 * SIZE, 4 * SIZE)
        return outcomes


def run_all(
    algorithm_name: str, plan: EpochPlan, vectors: FloatVector, num_samples: list[int], broken: Broken = frozenset()
) -> list[AttemptResult]:
    """The attempt at peers 1 … n; `vectors`: (n, P), what each trained."""
    hub, algorithm = MemoryHub(broken), make_algorithm(algorithm_name)

    def run(position: int) -> AttemptResult:
        work = AttemptWork("c", 1, 1, NodeId(position + 1), b"s" * 32, plan, deadline_ms=1000)
        state = algorithm.local_update(
            algorithm.init(np.zeros(SIZE, np.float32), num_samples[position]), vectors[position]
        )
        return run_attempt(work, algorithm, state, hub, StoppedClock(), Cancellation())  # type: ignore[arg-type]

    with ThreadPoolExecutor(len(vectors)) as threads:
        return list(threads.map(run, range(len(vectors))))


def trained(num_peers: int) -> FloatVector:
    return np.random.default_rng(3).standard_normal((num_peers, SIZE)).astype(np.float32)


@pytest.mark.parametrize("num_peers", [1, 2, 3, 4, 6, 9])
def test_fedavg_gives_everybody_the_sample_weighted_mean(num_peers: int) -> None:
    vectors, num_samples = trained(num_peers), [10 * (position + 1) for position in range(num_peers)]
    plan = make_plan("base", tuple(map(NodeId, range(1, num_peers + 1))), 1, 0, SIZE, require_exact=True)

    results = run_all("fedavg", plan, vectors, num_samples)

    expected = np.average(vectors.astype(np.float64), axis=0, weights=num_samples)
    for result in results:
        assert result.model is not None and not result.failed_edges
        np.testing.assert_allclose(result.model, expected, atol=1e-6)


def test_a_broken_edge_makes_an_exact_attempt_void_at_both_of_its_ends() -> None:
    plan = make_plan("full", tuple(map(NodeId, (1, 2, 3))), 1, 0, SIZE, require_exact=True)

    results = run_all("fedavg", plan, trained(3), [1, 1, 1], broken=frozenset({(1, 2)}))

    assert results[0].model is None and [edge.node_id for edge in results[0].failed_edges] == [2]
    assert results[1].model is None and [edge.node_id for edge in results[1].failed_edges] == [1]
    assert results[2].model is not None


def test_a_share_that_was_not_delivered_stays_with_its_owner() -> None:
    plan = make_plan("ring", tuple(map(NodeId, (1, 2, 3, 4))), 1, 0, SIZE, require_exact=False)
    vectors = trained(4)

    results = run_all("dpsgd", plan, vectors, [1, 1, 1, 1], broken=frozenset({(1, 2)}))

    third = 1 / 3
    mixing = np.array(
        [
            [2 * third, 0, 0, third],  # what peer 1 could not send to 2 is still its own
            [0, 2 * third, third, 0],
            [0, third, third, third],
            [third, 0, third, third],
        ]
    )
    for row, result in zip(mixing, results, strict=True):
        assert result.model is not None
        np.testing.assert_allclose(result.model, row @ vectors, atol=1e-6)


def test_a_lost_edge_neither_makes_nor_destroys_mass() -> None:
    plan = make_plan("ring", tuple(map(NodeId, (1, 2, 3, 4, 5))), 1, 0, SIZE, require_exact=False)
    vectors = trained(5)

    results = run_all("dpsgd", plan, vectors, [1] * 5, broken=frozenset({(1, 2), (3, 4)}))

    total = np.sum([result.model for result in results if result.model is not None], axis=0)
    np.testing.assert_allclose(total, vectors.sum(axis=0), atol=1e-5)
