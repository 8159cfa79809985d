"""Hand-written digits: 1,797 real images of 8 x 8 pixels, ten classes, inside the package.

Data: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository (1998),
CC BY 4.0: the test part, as scikit-learn carries it. `digits.npz` has it shuffled once and cut for good into 1,437
images for training and 360 that nobody trains on, so that all peers measure on the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import nn

from raftgossip.learning.models import multilayer_perceptron
from raftgossip.learning.partition import make_shards
from raftgossip.learning.task import LearningTask

DATA_FILE = Path(__file__).with_name("digits.npz")
MAX_PIXEL = 16
SIZES = (64, 64, 10)
BATCH_SIZE = 16
LEARNING_RATE = 0.1
MOMENTUM = 0.9

Labelled: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Pixels (n, 64) float32 from 0 to 1, and classes (n,) int64 from 0 to 9."""


class Digits(LearningTask):
    """Tell ten digits apart with a small network; this peer has one shard of the training images."""

    def __init__(self, shard: int = 0, num_shards: int = 1, partition: str = "iid", data_seed: int = 0) -> None:
        """`partition`: `iid` or `dirichlet:ALPHA`, drawn from `data_seed`, which must be equal on all peers.

        Raises:
            ConfigError: the partition is unknown, or there are too many shards.
        """
        train, self._test = _load()
        rng = np.random.default_rng(data_seed)
        own = torch.from_numpy(make_shards(partition, train[1].numpy(), None, num_shards, rng)[shard])
        self._pixels, self._classes = train[0][own], train[1][own]

    @property
    def num_samples(self) -> int:
        """This peer's training images."""
        return len(self._classes)

    def build_model(self) -> nn.Module:
        """A perceptron with one hidden layer."""
        return multilayer_perceptron(SIZES)

    def batches(self, seed: int) -> Iterator[Labelled]:
        """All own images once, shuffled."""
        order = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(seed))
        for start in range(0, self.num_samples, BATCH_SIZE):
            part = order[start : start + BATCH_SIZE]
            yield self._pixels[part], self._classes[part]

    def loss(self, model: nn.Module, batch: Labelled) -> torch.Tensor:
        """Cross entropy, in nats."""
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """On the held-out images: `accuracy` (0 to 1) and `loss` (nats)."""
        pixels, classes = self._test
        scores = model(pixels)
        return {
            "accuracy": (scores.argmax(dim=1) == classes).float().mean().item(),
            "loss": nn.functional.cross_entropy(scores, classes).item(),
        }


def _load() -> tuple[Labelled, Labelled]:
    """The images to train on, and those held out."""
    with np.load(DATA_FILE, allow_pickle=False) as data:
        return (
            _labelled(data["x_train"], data["y_train"]),
            _labelled(data["x_test"], data["y_test"]),
        )


def _labelled(pixels: np.ndarray, classes: np.ndarray) -> Labelled:
    return torch.from_numpy(pixels.astype(np.float32) / MAX_PIXEL), torch.from_numpy(classes.astype(np.int64))
