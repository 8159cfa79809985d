"""Partitions: disjoint, complete, repeatable, as skewed as asked, never too small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import ConfigError
from raftgossip.learning.partition import MIN_SAMPLES, Indices, by_key, dirichlet, iid, make_shards

SEEDS = st.integers(0, 2**32 - 1)


def _assert_divides(shards: list[Indices], num_samples: int) -> None:
    assert np.sort(np.concatenate(shards)).tolist() == list(range(num_samples))
    for shard in shards:
        assert shard.tolist() == sorted(shard.tolist())
        assert shard.dtype == np.int64


@given(num_samples=st.integers(1, 300), num_shards=st.integers(1, 20), seed=SEEDS)
def test_iid_shards_divide_the_data_into_equal_parts(num_samples: int, num_shards: int, seed: int) -> None:
    num_shards = min(num_shards, num_samples)
    shards = iid(num_samples, num_shards, np.random.default_rng(seed))
    _assert_divides(shards, num_samples)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(
    num_samples=st.integers(80, 300),
    num_classes=st.integers(1, 10),
    num_shards=st.integers(1, 10),
    alpha=st.sampled_from([1e-4, 0.05, 0.5, 10.0, 1e6]),
    seed=SEEDS,
)
def test_dirichlet_shards_divide_the_data_and_none_is_too_small(
    num_samples: int, num_classes: int, num_shards: int, alpha: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shards = dirichlet(rng.integers(0, num_classes, num_samples), num_shards, alpha, rng)
    assert len(shards) == num_shards
    _assert_divides(shards, num_samples)
    assert min(map(len, shards)) >= MIN_SAMPLES


@given(seed=SEEDS)
def test_same_generator_state_gives_the_same_shards(seed: int) -> None:
    labels = np.arange(200) % 5
    for partition in ("iid", "dirichlet:0.5"):
        first, second = (make_shards(partition, labels, None, 4, np.random.default_rng(seed)) for _ in range(2))
        assert [shard.tolist() for shard in first] == [shard.tolist() for shard in second]


def test_another_seed_gives_other_shards() -> None:
    labels = np.arange(200) % 5
    for partition in ("iid", "dirichlet:0.5"):
        first, second = (make_shards(partition, labels, None, 4, np.random.default_rng(seed)) for seed in (1, 2))
        assert [shard.tolist() for shard in first] != [shard.tolist() for shard in second]


def _largest_class_fraction(alpha: float) -> float:
    """The mean fraction of a shard that its most frequent class makes up."""
    labels = np.arange(5000) % 10
    shards = dirichlet(labels, 5, alpha, np.random.default_rng(3))
    return float(np.mean([np.bincount(labels[shard]).max() / len(shard) for shard in shards]))


def test_small_alpha_skews_the_labels_and_a_large_one_does_not() -> None:
    assert _largest_class_fraction(1e6) == pytest.approx(0.1, abs=0.01)  # ten classes, all alike
    assert 0.15 < _largest_class_fraction(0.5) < _largest_class_fraction(0.01)


def test_dirichlet_fractions_have_the_mean_of_the_distribution() -> None:
    labels = np.zeros(1000, dtype=np.int64)
    sizes = [len(dirichlet(labels, 4, 0.5, np.random.default_rng(seed))[0]) for seed in range(400)]
    # Beta(0.5, 1.5) has a standard deviation of 0.25: the mean of 400 draws is within four of its own, 0.05.
    assert np.mean(sizes) / 1000 == pytest.approx(0.25, abs=0.05)


def test_natural_shards_keep_each_key_together_in_sorted_order() -> None:
    keys = ["zurich", "basel", "zurich", "va", "basel"]
    assert [shard.tolist() for shard in by_key(keys, 3)] == [[1, 4], [3], [0, 2]]


def test_fewer_natural_shards_than_keys_are_dealt_the_keys_in_turn() -> None:
    assert [shard.tolist() for shard in by_key(["a", "b", "c"], 2)] == [[0, 2], [1]]


def test_more_natural_shards_than_keys_are_refused_with_the_keys() -> None:
    with pytest.raises(ConfigError, match="into 3 shards needs as many keys; there are 2: a, b"):
        by_key(["b", "a"], 3)


@pytest.mark.parametrize("partition", ["idd", "iid:3", "dirichlett:1", "natural", ""])
def test_unknown_partition_names_those_that_the_data_has(partition: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{partition}' is unknown for this task; known are iid, dirichlet:0\.5$"):
        make_shards(partition, np.zeros(50, dtype=np.int64), None, 2, np.random.default_rng(0))


def test_natural_is_known_where_the_data_has_keys() -> None:
    labels = np.zeros(4, dtype=np.int64)
    shards = make_shards("natural", labels, ["b", "a", "b", "a"], 2, np.random.default_rng(0))
    assert [shard.tolist() for shard in shards] == [[1, 3], [0, 2]]
    with pytest.raises(ConfigError, match=r"known are iid, dirichlet:0\.5, natural"):
        make_shards("x", labels, ["b", "a", "b", "a"], 2, np.random.default_rng(0))


@pytest.mark.parametrize(
    "partition",
    ["dirichlet", "dirichlet:", "dirichlet:0", "dirichlet:-1", "dirichlet:nan", "dirichlet:inf", "dirichlet:a"],
)
def test_alpha_that_is_no_number_above_zero_is_refused(partition: str) -> None:
    with pytest.raises(ConfigError, match="needs a number above 0 after the colon"):
        make_shards(partition, np.zeros(50, dtype=np.int64), None, 2, np.random.default_rng(0))


def test_too_many_shards_are_refused_with_the_number_that_would_do() -> None:
    with pytest.raises(ConfigError, match=r"3 samples cannot be divided into 4 shards.*: use from 1 to 3 shards"):
        iid(3, 4, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=rf"at least {MIN_SAMPLES}: use from 1 to 2 shards"):
        dirichlet(np.zeros(2 * MIN_SAMPLES + 1, dtype=np.int64), 3, 0.5, np.random.default_rng(0))
