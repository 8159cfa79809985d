"""A task whose training has a known answer: whatever it starts from, node `shard` ends at its own target vector.

So the model of every closed epoch can be computed by numpy from the list of contributors alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import nn

from raftgossip.learning.task import LearningTask


def target_of(shard: int, size: int) -> np.ndarray:
    """The vector (size,) float32 that the peer with this shard trains to."""
    return np.random.default_rng(1000 + shard).standard_normal(size).astype(np.float32)


def samples_of(shard: int) -> int:
    """Its sample count: all different, so that an unweighted mean would be found out."""
    return 10 + 7 * shard


def expected_mean(shards: Iterable[int], size: int) -> np.ndarray:
    """The sample-weighted mean of the targets, in float64."""
    shards = list(shards)
    total = sum(samples_of(shard) for shard in shards)
    mean = np.zeros(size)
    for shard in shards:
        mean += samples_of(shard) / total * target_of(shard, size).astype(np.float64)
    return mean


class TargetTask(LearningTask):
    """`size` parameters; `poison` makes the trained vector of this peer not finite from that epoch on."""

    def __init__(self, shard: int = 0, size: int = 100_000, train_ms: int = 0) -> None:
        self.shard = shard
        self.size = size
        self.train_ms = train_ms

    @property
    def num_samples(self) -> int:
        return samples_of(self.shard)

    def build_model(self) -> nn.Module:
        model = nn.Module()
        model.x = nn.Parameter(torch.zeros(self.size))
        return model

    def batches(self, seed: int) -> Iterator[torch.Tensor]:
        time.sleep(self.train_ms / 1000)  # stands for the work of training
        yield torch.from_numpy(target_of(self.shard, self.size))

    def loss(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((model.x - batch) ** 2).sum()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1.0)  # one step of a unit quadratic ends at the target

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return {"mean": float(model.x.mean())}
