"""Heart disease in four hospitals: 920 real patients, one hospital per peer, inside the package.

Data: UCI Machine Learning Repository, "Heart Disease" (1988), CC BY 4.0. The authors ask that the investigators who
collected it be named:

- Hungarian Institute of Cardiology, Budapest: Andras Janosi, M.D.
- University Hospital, Zurich, Switzerland: William Steinbrunn, M.D.
- University Hospital, Basel, Switzerland: Matthias Pfisterer, M.D.
- V.A. Medical Center, Long Beach, and Cleveland Clinic Foundation: Robert Detrano, M.D., Ph.D.

`hospitals.npz` holds the ten columns that all four hospitals measured (`slope`, `ca` and `thal` are missing in most
rows of three of them), whether the patient was sick (`num` > 0), the hospital, and which quarter of each hospital's
patients is held out, for good, so that all peers measure on the same ones. A missing value is NaN there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from raftgossip.learning.models import multilayer_perceptron
from raftgossip.learning.partition import make_shards
from raftgossip.learning.task import LearningTask

DATA_FILE = Path(__file__).with_name("hospitals.npz")
BATCH_SIZE = 16
LEARNING_RATE = 0.02
MOMENTUM = 0.9

SCALES = {
    "age": (54.0, 9.5),
    "trestbps": (132.0, 18.0),
    "chol": (246.0, 58.0),
    "thalach": (138.0, 26.0),
    "oldpeak": (0.9, 1.1),
    "sex": (0.5, 0.5),
    "fbs": (0.5, 0.5),
    "exang": (0.5, 0.5),
}
"""What is a usual value, and how far values usually lie from it: years, mm Hg, mg/dl, beats a minute, mm; then yes/no.

Fixed here, so that the peers scale alike without telling each other anything about their patients."""

CATEGORIES = {"cp": (1, 2, 3, 4), "restecg": (0, 1, 2)}
"""Kinds of chest pain, and results of the resting electrocardiogram: one feature for each."""

NUM_FEATURES = len(SCALES) + sum(len(values) for values in CATEGORIES.values())

Labelled: TypeAlias = tuple[torch.Tensor, torch.Tensor]
"""Features (n, 15) float32 about 0, and classes (n,) int64: 1 is sick."""


class Hospitals(LearningTask):
    """Tell sick patients from healthy ones by logistic regression; this peer has one hospital's patients."""

    def __init__(self, shard: int = 0, num_shards: int = 4, partition: str = "natural", data_seed: int = 0) -> None:
        """`partition`: `natural` (hospitals in alphabetical order), `iid` or `dirichlet:ALPHA`, drawn from `data_seed`.

        Raises:
            ConfigError: the partition is unknown, or there are more shards than hospitals or patients.
        """
        features, classes, hospitals, held_out = _load()
        train = np.flatnonzero(~held_out)
        rng = np.random.default_rng(data_seed)
        shards = make_shards(partition, classes[train], hospitals[train].tolist(), num_shards, rng)
        own = train[shards[shard]]
        self.hospitals = tuple(sorted(set(hospitals[own].tolist())))
        self._train = _labelled(features[own], classes[own])
        self._test = _labelled(features[held_out], classes[held_out])

    @property
    def num_samples(self) -> int:
        """This peer's patients, without those held out."""
        return len(self._train[1])

    def build_model(self) -> nn.Module:
        """Logistic regression: with so few patients a larger model gains nothing."""
        return multilayer_perceptron((NUM_FEATURES, 2))

    def batches(self, seed: int) -> Iterator[Labelled]:
        """All own patients once, shuffled."""
        features, classes = self._train
        order = torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(seed))
        for start in range(0, self.num_samples, BATCH_SIZE):
            part = order[start : start + BATCH_SIZE]
            yield features[part], classes[part]

    def loss(self, model: nn.Module, batch: Labelled) -> torch.Tensor:
        """Cross entropy, in nats."""
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(parameters, lr=LEARNING_RATE, momentum=MOMENTUM)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """On the held-out patients of all four hospitals: `accuracy` (0 to 1) and `loss` (nats)."""
        features, classes = self._test
        scores = model(features)
        return {
            "accuracy": (scores.argmax(dim=1) == classes).float().mean().item(),
            "loss": nn.functional.cross_entropy(scores, classes).item(),
        }


def prepare(columns: Mapping[str, npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """The features (n, 15) float32 of patients whose raw columns are (n,) with NaN where nothing was measured.

    A cholesterol or blood pressure of 0 was not measured either. What was not measured becomes 0, the usual value.
    """
    features = []
    for name, (usual, spread) in SCALES.items():
        values = columns[name]
        if name in ("chol", "trestbps"):
            values = np.where(values == 0, np.nan, values)
        features.append(np.nan_to_num((values - usual) / spread, nan=0.0))
    for name, known in CATEGORIES.items():
        features += [(columns[name] == value).astype(np.float32) for value in known]
    return np.stack(features, axis=1).astype(np.float32)


def _load() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.str_], npt.NDArray[np.bool_]]:
    """Features, classes, hospitals and the held-out mark of every patient."""
    with np.load(DATA_FILE, allow_pickle=False) as data:
        columns = dict(zip(data["columns"].tolist(), data["features"].T, strict=True))
        return prepare(columns), data["sick"].astype(np.int64), data["hospital"], data["held_out"]


def _labelled(features: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> Labelled:
    return torch.from_numpy(features), torch.from_numpy(classes)
