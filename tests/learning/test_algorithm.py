"""The algorithms: one peer at a time and all peers at once are the same mathematics; the table of names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import ConfigError
from raftgossip.learning.algorithm import ALGORITHMS, Algorithm, State, make_algorithm
from raftgossip.learning.mixing import Accumulator

Matrix = npt.NDArray[np.float64]


def _doubly_stochastic(num_peers: int, rng: np.random.Generator) -> Matrix:
    """A mean of permutations (Birkhoff): rows and columns sum to 1."""
    weights = rng.dirichlet(np.ones(4))
    return sum(weight * np.eye(num_peers)[rng.permutation(num_peers)] for weight in weights)  # type: ignore[return-value]


def _step_by_messages(algorithm: Algorithm, states: list[State], shares: Matrix) -> list[State]:
    """One step as peers do it: each folds the shares that it gets."""
    messages = [algorithm.message(state) for state in states]
    mixed = []
    for peer, state in enumerate(states):
        accumulator = Accumulator(*messages[peer], self_share=shares[peer, peer])
        for sender, (vector, mass) in enumerate(messages):
            if sender != peer and shares[peer, sender] > 0:
                accumulator.fold(0, vector, shares[peer, sender] * mass)
                accumulator.add_mass(shares[peer, sender] * mass)
        mixed.append(algorithm.mix(state, *accumulator.normalise()))
    return mixed


def _step_by_matrix(algorithm: Algorithm, state: State, shares: Matrix) -> State:
    """One step as a simulator does it, for all peers at once: W (m X) / W m."""
    vectors, masses = algorithm.message(state)
    masses = np.broadcast_to(masses, (len(vectors), 1))  # type: ignore[assignment]
    total = shares @ masses
    return algorithm.mix(state, (shares @ (masses * vectors) / total).astype(np.float32), total)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@given(num_peers=st.integers(2, 8), num_steps=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_exchanging_messages_equals_multiplying_by_the_matrix(
    name: str, num_peers: int, num_steps: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    algorithm = make_algorithm(name)
    base = rng.standard_normal((num_peers, 30)).astype(np.float32)
    trained = rng.standard_normal((num_peers, 30)).astype(np.float32)
    counts = rng.integers(1, 100_000, num_peers)
    all_at_once = algorithm.local_update(algorithm.init(base, counts[:, None]), trained)  # type: ignore[arg-type]
    one_by_one = [
        algorithm.local_update(algorithm.init(base[peer], int(counts[peer])), trained[peer])
        for peer in range(num_peers)
    ]
    for _ in range(num_steps):
        shares = _doubly_stochastic(num_peers, rng)
        all_at_once = _step_by_matrix(algorithm, all_at_once, shares)
        one_by_one = _step_by_messages(algorithm, one_by_one, shares)
    expected = algorithm.model(algorithm.finish(all_at_once))
    models = np.stack([algorithm.model(algorithm.finish(state)) for state in one_by_one])
    # Both are float32 with up to 5 steps of three roundings each.
    assert np.abs(models - expected).max() <= 2e-6 * np.abs(trained).max()


def _full(num_peers: int) -> Matrix:
    return np.full((num_peers, num_peers), 1 / num_peers)


@pytest.mark.parametrize("num_peers", [2, 3, 4, 5, 7])
def test_fedavg_over_an_exact_plan_is_the_sample_weighted_mean_at_every_peer(num_peers: int) -> None:
    rng = np.random.default_rng(num_peers)
    trained = rng.standard_normal((num_peers, 1000)).astype(np.float32)
    counts = rng.integers(1, 900_000, num_peers)
    fedavg = make_algorithm("fedavg")
    base = np.zeros(1000, dtype=np.float32)
    states = [fedavg.local_update(fedavg.init(base, int(n)), vector) for n, vector in zip(counts, trained, strict=True)]
    states = _step_by_messages(fedavg, states, _full(num_peers))
    expected = counts @ trained.astype(np.float64) / counts.sum()
    for state in states:
        assert np.abs(fedavg.model(state) - expected).max() < 1e-6 * np.abs(expected).max()


def test_dpsgd_over_an_exact_plan_is_the_plain_mean_whatever_the_sample_counts() -> None:
    dpsgd = make_algorithm("dpsgd")
    trained = np.array([[0.0, 3.0], [1.0, 6.0], [5.0, 0.0]], dtype=np.float32)
    base = np.zeros(2, dtype=np.float32)
    states = [dpsgd.local_update(dpsgd.init(base, 10**n), vector) for n, vector in enumerate(trained)]
    states = _step_by_messages(dpsgd, states, _full(3))
    for state in states:
        assert dpsgd.model(state) == pytest.approx(np.array([2.0, 3.0]), rel=1e-6)


def test_dpsgd_starts_the_next_step_with_mass_one_after_a_lost_share() -> None:
    dpsgd = make_algorithm("dpsgd")
    state = dpsgd.init(np.ones(2, dtype=np.float32), 5)
    state = dpsgd.mix(state, np.full(2, 3, dtype=np.float32), 0.5)
    vector, mass = dpsgd.message(state)
    assert vector.tolist() == [3.0, 3.0]
    assert mass == 1.0


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_no_method_changes_the_state_that_it_is_given(name: str) -> None:
    algorithm = make_algorithm(name)
    base, trained = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
    mixed = np.full(3, 9, dtype=np.float32)
    for vector in (base, trained, mixed):
        vector.flags.writeable = False
    kept = algorithm.local_update(algorithm.init(base, 4), trained)
    first = algorithm.model(algorithm.finish(algorithm.mix(kept, mixed, 2.0)))
    second = algorithm.model(algorithm.finish(algorithm.mix(kept, mixed, 2.0)))
    assert first.tolist() == second.tolist() == [9.0] * 3
    assert kept.vector.tolist() == [1.0] * 3


def test_only_fedavg_asks_for_exact_epochs() -> None:
    assert make_algorithm("fedavg").needs_exact
    assert not make_algorithm("dpsgd").needs_exact


@pytest.mark.parametrize("name", ["fedavgg", "FedAvg"])
def test_unknown_algorithm_names_the_nearest_and_all_known(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name!r} is unknown; did you mean 'fedavg'\? known are dpsgd, fedavg"):
        make_algorithm(name)


def test_unknown_algorithm_that_is_near_to_none_names_all_known() -> None:
    with pytest.raises(ConfigError, match="'zzz' is unknown; known are dpsgd, fedavg"):
        make_algorithm("zzz")
