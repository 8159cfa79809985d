"""A task of your own, in a file of its own: two spirals that a small network learns to tell apart.

Each machine has few points and learns little alone. Start a gateway, then one node per
machine (here: four terminals on one machine):

    raftgossip gateway
    raftgossip node --task examples/spirals.py:Spirals --node-id 1 --shard 0 --num-shards 4 --gateway localhost:8090
    raftgossip node --task examples/spirals.py:Spirals --node-id 2 --shard 1 --num-shards 4 --gateway localhost:8090
    …
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import nn

from raftgossip import LearningTask

BATCH = 16


class Spirals(LearningTask):
    """The points of machine number `shard`, from 0 on; `raftgossip node --shard` fills it in."""

    def __init__(self, shard: int = 0) -> None:
        self._x, self._y = _spirals(np.random.default_rng(shard), num_points=30)
        self._test_x, self._test_y = _spirals(np.random.default_rng(10_000), num_points=400)

    @property
    def num_samples(self) -> int:
        """How much this machine's model weighs in the average."""
        return len(self._y)

    def build_model(self) -> nn.Module:
        """The same network on every machine; its initial weights come from the run's seed."""
        return nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def batches(self, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """One pass over this machine's data, in an order that the seed decides."""
        order = torch.randperm(len(self._y), generator=torch.Generator().manual_seed(seed))
        for part in order.split(BATCH):
            yield self._x[part], self._y[part]

    def loss(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """What training makes small."""
        x, y = batch
        return nn.functional.cross_entropy(model(x), y)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Made anew in every epoch."""
        return torch.optim.Adam(parameters, lr=0.01)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """On points from everywhere."""
        scores = model(self._test_x)
        return {
            "accuracy": (scores.argmax(1) == self._test_y).float().mean().item(),
            "loss": nn.functional.cross_entropy(scores, self._test_y).item(),
        }


def _spirals(rng: np.random.Generator, num_points: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random points on both spirals: x (2n, 2) float32, y (2n,) int64."""
    t = rng.uniform(0, 1, num_points)
    angle, radius = 3 * np.pi * np.sqrt(t), np.sqrt(t)
    arm = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    points = np.concatenate([arm, -arm]) + rng.normal(0, 0.02, (2 * num_points, 2))
    labels = np.repeat([0, 1], num_points)
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(labels)
