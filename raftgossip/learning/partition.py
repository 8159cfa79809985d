"""Divide a data set among peers: disjoint index sets that cover it. Randomness comes from the generator passed in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from raftgossip.errors import ConfigError

Indices = npt.NDArray[np.int64]
"""Positions in the data set, ascending."""

MIN_SAMPLES = 8
"""What every shard gets at least: a peer with next to nothing neither trains nor shows anything."""


def make_shards(
    partition: str,
    labels: npt.NDArray[np.integer],
    keys: Sequence[str] | None,
    num_shards: int,
    rng: np.random.Generator,
) -> list[Indices]:
    """Divide by name: `iid`, `dirichlet:ALPHA`, or `natural` where the data has keys. `labels`: (n,) integers.

    Raises:
        ConfigError: the name is unknown or malformed, or there are too few samples or keys for so many shards.
    """
    name, _, argument = partition.partition(":")
    if name == "iid" and not argument:
        return iid(len(labels), num_shards, rng)
    if name == "dirichlet":
        return dirichlet(labels, num_shards, _alpha(argument, partition), rng)
    if name == "natural" and not argument and keys is not None:
        return by_key(keys, num_shards)
    known = "iid, dirichlet:0.5" + (", natural" if keys is not None else "")
    raise ConfigError(f"partition {partition!r} is unknown for this task; known are {known}")


def iid(num_samples: int, num_shards: int, rng: np.random.Generator) -> list[Indices]:
    """Shuffle, and cut into shards whose sizes differ by at most one."""
    _check_enough(num_samples, num_shards, 1)
    return [np.sort(part) for part in np.array_split(rng.permutation(num_samples), num_shards)]


def dirichlet(
    labels: npt.NDArray[np.integer],
    num_shards: int,
    alpha: float,
    rng: np.random.Generator,
    min_samples: int = MIN_SAMPLES,
) -> list[Indices]:
    """Skewed labels: of each class, shard k gets the fraction p_k, p ~ Dirichlet(α, …, α). `labels`: (n,) integers.

    Hsu, Qi, Brown (2019), "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
    Classification", §3; here the fractions are of a class, not of a shard, so that the shards cover the data. A small
    α gives shards of few classes, a large one near-iid shards. Where we differ: shards that end with fewer than
    `min_samples` are filled from the largest ones, instead of drawing again until all are large enough.
    """
    _check_enough(len(labels), num_shards, min_samples)
    parts: list[list[int]] = [[] for _ in range(num_shards)]
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        fractions = rng.dirichlet(np.full(num_shards, alpha))
        cuts = np.round(np.cumsum(fractions)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.extend(piece.tolist())
    _fill_up(parts, min_samples, rng)
    return [np.sort(np.array(part, dtype=np.int64)) for part in parts]


def by_key(keys: Sequence[str], num_shards: int) -> list[Indices]:
    """The division that the data has by nature: all samples of a key stay together; keys are dealt in sorted order."""
    names = sorted(set(keys))
    if num_shards > len(names):
        raise ConfigError(
            f"a natural partition into {num_shards} shards needs as many keys; there are {len(names)}: "
            f"{', '.join(names)}. Use fewer shards, or another partition"
        )
    shard_of = {name: index % num_shards for index, name in enumerate(names)}
    owners = np.array([shard_of[key] for key in keys], dtype=np.int64)
    return [np.flatnonzero(owners == shard) for shard in range(num_shards)]


def _fill_up(parts: list[list[int]], min_samples: int, rng: np.random.Generator) -> None:
    """Move random samples from the largest shards to those that have too few."""
    for part in parts:
        while len(part) < min_samples:
            donor = max(parts, key=len)
            part.append(donor.pop(int(rng.integers(len(donor)))))


def _alpha(text: str, partition: str) -> float:
    try:
        alpha = float(text)
    except ValueError:
        alpha = 0.0
    if not 0 < alpha < float("inf"):
        raise ConfigError(f"partition {partition!r} needs a number above 0 after the colon, e.g. dirichlet:0.5")
    return alpha


def _check_enough(num_samples: int, num_shards: int, min_samples: int) -> None:
    if num_shards < 1 or num_samples < num_shards * min_samples:
        raise ConfigError(
            f"{num_samples} samples cannot be divided into {num_shards} shards of at least {min_samples}: "
            f"use from 1 to {num_samples // min_samples} shards"
        )
