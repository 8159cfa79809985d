"""The accumulator of one step: weighted means in closed form, accuracy, ranges, threads, memory."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.learning.mixing import BLOCK_ELEMENTS, Accumulator
from raftgossip.update import FloatVector

# float32 rounds by 6e-8 of an element; a step rounds it about three times, and rounding errors do not all add up.
TOLERANCE = 1e-6


def _relative_difference(vector: FloatVector, expected: npt.NDArray[np.float64]) -> float:
    return float(np.abs(vector - expected).max() / np.abs(expected).max())


def _mean(vectors: FloatVector, masses: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return masses @ vectors.astype(np.float64) / masses.sum()


def test_mix_of_two_is_the_mass_weighted_mean() -> None:
    accumulator = Accumulator(np.array([1.0, 2.0], dtype=np.float32), mass=3.0, self_share=0.5)
    accumulator.fold(0, np.array([5.0, 6.0], dtype=np.float32), 0.5 * 1.0)
    accumulator.add_mass(0.5 * 1.0)
    mixed, mass = accumulator.normalise()
    assert mixed.tolist() == [2.0, 3.0]  # (1.5 · 1 + 0.5 · 5) / 2
    assert mass == 2.0
    assert mixed.dtype == np.float32


def test_peer_alone_keeps_its_vector_and_mass() -> None:
    vector = np.array([1.5, -2.0], dtype=np.float32)
    mixed, mass = Accumulator(vector, mass=7.0, self_share=1.0).normalise()
    assert mixed.tolist() == vector.tolist()
    assert mass == 7.0


@pytest.mark.parametrize("num_peers", [2, 4, 8, 16, 64])
def test_log2_steps_of_the_exponential_graph_give_the_exact_mean_for_large_sample_counts(num_peers: int) -> None:
    rng = np.random.default_rng(num_peers)
    vectors = rng.standard_normal((num_peers, 20_000)).astype(np.float32)
    masses = rng.integers(1, 900_000, num_peers).astype(np.float64)
    held = list(zip(vectors, masses.tolist(), strict=True))
    distance = 1
    while distance < num_peers:
        folded = []
        for peer in range(num_peers):
            sender_vector, sender_mass = held[(peer - distance) % num_peers]
            accumulator = Accumulator(*held[peer], self_share=0.5)
            for start in range(0, 20_000, 7_000):
                accumulator.fold(start, sender_vector[start : start + 7_000], 0.5 * sender_mass)
            accumulator.add_mass(0.5 * sender_mass)
            folded.append(accumulator.normalise())
        held = folded
        distance *= 2
    expected = _mean(vectors, masses)
    assert max(_relative_difference(vector, expected) for vector, _ in held) < TOLERANCE
    assert [mass * num_peers for _, mass in held] == pytest.approx([masses.sum()] * num_peers, rel=1e-12)


@given(
    num_peers=st.integers(2, 9),
    steps=st.integers(1, 12),
    seed=st.integers(0, 2**32 - 1),
)
def test_mass_and_mass_times_vector_are_conserved_by_any_column_stochastic_shares(
    num_peers: int, steps: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((num_peers, 50)).astype(np.float32)
    masses = rng.integers(1, 500_000, num_peers).astype(np.float64)
    held = list(zip(vectors, masses.tolist(), strict=True))
    for _ in range(steps):
        shares = rng.dirichlet(np.ones(num_peers), num_peers).T  # column j: how peer j divides what it holds
        held = [_received(held, peer, shares[peer]) for peer in range(num_peers)]
    final_masses = np.array([mass for _, mass in held])
    final_mean = _mean(np.stack([vector for vector, _ in held]), final_masses)
    assert final_masses.sum() == pytest.approx(masses.sum(), rel=1e-12)
    # Each of up to 12 steps may round in another direction, and the mean may be smaller than the vectors.
    assert np.abs(final_mean - _mean(vectors, masses)).max() < 2 * TOLERANCE * np.abs(vectors).max()


def _received(
    held: list[tuple[FloatVector, float]], peer: int, shares: npt.NDArray[np.float64]
) -> tuple[FloatVector, float]:
    accumulator = Accumulator(*held[peer], self_share=shares[peer])
    for sender, (vector, mass) in enumerate(held):
        if sender != peer:
            accumulator.fold(0, vector, shares[sender] * mass)
            accumulator.add_mass(shares[sender] * mass)
    return accumulator.normalise()


def test_equal_vectors_stay_where_they_are_over_a_hundred_steps_with_thirds() -> None:
    vector = np.random.default_rng(1).standard_normal(1000).astype(np.float32)
    mixed, mass = vector, 123_457.0
    for _ in range(100):
        accumulator = Accumulator(mixed, mass, self_share=1 / 3)
        for _ in range(2):
            accumulator.fold(0, mixed, mass / 3)
            accumulator.add_mass(mass / 3)
        mixed, mass = accumulator.normalise()
    # Two units in the last place, however many steps: a divisor rounded to float32 lets them wander by five.
    assert _relative_difference(mixed, vector.astype(np.float64)) < 2e-7
    assert mass == pytest.approx(123_457.0, rel=1e-12)


def test_reduce_scatter_then_all_gather_in_ranges_gives_everyone_the_weighted_mean() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((3, 1000)).astype(np.float32)
    masses = np.array([10.0, 200_000.0, 30.0])
    cuts = [0, 300, 650, 1000]
    reduced = []
    for owner in range(3):
        accumulator = Accumulator(vectors[owner], masses[owner], self_share=1.0)
        for sender in range(3):
            if sender != owner:
                accumulator.fold(cuts[owner], vectors[sender, cuts[owner] : cuts[owner + 1]], masses[sender])
        reduced.append(accumulator.normalise()[0])
    for peer in range(3):
        accumulator = Accumulator(reduced[peer], mass=1.0, self_share=0.0)
        for owner in range(3):
            if owner != peer:
                accumulator.fold(cuts[owner], reduced[owner][cuts[owner] : cuts[owner + 1]], 1.0)
        assert _relative_difference(accumulator.normalise()[0], _mean(vectors, masses)) < TOLERANCE


def test_elements_outside_a_partial_range_keep_their_value_and_those_inside_are_mixed() -> None:
    accumulator = Accumulator(np.zeros(6, dtype=np.float32), mass=1.0, self_share=1.0)
    accumulator.fold(2, np.array([4.0], dtype=np.float32), 1.0)
    accumulator.fold(3, np.array([4.0], dtype=np.float32), 1.0)
    accumulator.fold(3, np.array([8.0, 8.0], dtype=np.float32), 2.0)
    assert accumulator.normalise()[0].tolist() == [0.0, 0.0, 2.0, 5.0, pytest.approx(16 / 3, rel=1e-7), 0.0]


def test_peer_without_mass_takes_over_what_it_receives() -> None:
    accumulator = Accumulator(np.array([9.0, 9.0], dtype=np.float32), mass=0.0, self_share=0.5)
    accumulator.fold(0, np.array([1.0, 2.0], dtype=np.float32), 5.0)
    accumulator.add_mass(5.0)
    mixed, mass = accumulator.normalise()
    assert mixed.tolist() == [1.0, 2.0]
    assert mass == 5.0


def test_no_mass_anywhere_keeps_the_own_vector() -> None:
    accumulator = Accumulator(np.array([9.0, 9.0], dtype=np.float32), mass=0.0, self_share=0.5)
    accumulator.fold(0, np.array([1.0, 2.0], dtype=np.float32), 0.0)
    mixed, mass = accumulator.normalise()
    assert mixed.tolist() == [9.0, 9.0]
    assert mass == 0.0


def test_neither_input_is_changed_and_both_may_be_read_only() -> None:
    vector, span = np.ones(4, dtype=np.float32), np.full(4, 3, dtype=np.float32)
    vector.flags.writeable = span.flags.writeable = False
    accumulator = Accumulator(vector, mass=1.0, self_share=0.5)
    accumulator.fold(0, span, 0.5)
    accumulator.normalise()
    assert vector.tolist() == [1.0] * 4
    assert span.tolist() == [3.0] * 4


def test_fold_after_the_end_changes_nothing() -> None:
    accumulator = Accumulator(np.ones(4, dtype=np.float32), mass=1.0, self_share=1.0)
    mixed, _ = accumulator.normalise()
    accumulator.fold(0, np.full(4, 100, dtype=np.float32), 1.0)
    assert mixed.tolist() == [1.0] * 4
    assert accumulator.normalise()[0] is mixed
    assert not mixed.flags.writeable


def test_folds_of_many_threads_all_count() -> None:
    num_threads, num_folds, size = 6, 40, 2 * BLOCK_ELEMENTS
    accumulator = Accumulator(np.zeros(size, dtype=np.float32), mass=1.0, self_share=1.0)
    together = threading.Barrier(num_threads)

    def work(value: int) -> None:
        span = np.full(size, value, dtype=np.float32)
        together.wait(10)
        for _ in range(num_folds):
            accumulator.fold(0, span, 1.0)
            accumulator.add_mass(1.0)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mixed, mass = accumulator.normalise()
    assert mass == 1 + num_threads * num_folds
    assert set(mixed.tolist()) == {np.float32(40 * (0 + 1 + 2 + 3 + 4 + 5) / 241)}


def test_fold_and_normalise_need_no_memory_but_a_block() -> None:
    size = 40 * BLOCK_ELEMENTS
    accumulator = Accumulator(np.zeros(size, dtype=np.float32), mass=1.0, self_share=0.5)
    span = np.ones(size, dtype=np.float32)
    tracemalloc.start()
    accumulator.fold(0, span, 0.5)
    accumulator.normalise()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 * BLOCK_ELEMENTS * 2  # a block in float64, and change


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_weight_that_is_no_weight_is_our_bug(weight: float) -> None:
    accumulator = Accumulator(np.zeros(4, dtype=np.float32), mass=1.0, self_share=1.0)
    with pytest.raises(ValueError, match="not a finite number from 0 on"):
        accumulator.fold(0, np.zeros(4, dtype=np.float32), weight)
    with pytest.raises(ValueError, match="not a finite number from 0 on"):
        accumulator.add_mass(weight)


@pytest.mark.parametrize("start", [-1, 2])
def test_span_outside_the_vector_is_our_bug(start: int) -> None:
    accumulator = Accumulator(np.zeros(4, dtype=np.float32), mass=1.0, self_share=1.0)
    with pytest.raises(ValueError, match="lies outside a vector of 4 elements"):
        accumulator.fold(start, np.zeros(3, dtype=np.float32), 1.0)
