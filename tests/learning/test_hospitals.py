"""The hospitals task: its data are the repository's, missing values do no harm, and hospitals gain by sharing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raftgossip.errors import ConfigError
from raftgossip.learning.task import load_task
from raftgossip.learning.tasks.hospitals import CATEGORIES, DATA_FILE, NUM_FEATURES, SCALES, Hospitals, prepare
from raftgossip.learning.trainer import Trainer

PATIENTS = {"cleveland": (303, 139), "hungarian": (294, 106), "switzerland": (123, 115), "va": (200, 149)}
"""How many patients each hospital has, and how many of them are sick, as the repository states."""


def _columns(**values: float) -> dict[str, np.ndarray]:
    """One patient of whom only these values are known."""
    return {name: np.array([values.get(name, np.nan)], dtype=np.float32) for name in (*SCALES, *CATEGORIES)}


def test_data_are_the_patients_of_the_repository() -> None:
    with np.load(DATA_FILE, allow_pickle=False) as data:
        for name, (num_patients, num_sick) in PATIENTS.items():
            own = data["hospital"] == name
            assert (own.sum(), data["sick"][own].sum()) == (num_patients, num_sick)
        cholesterol = data["features"][:, data["columns"].tolist().index("chol")]
        assert (cholesterol == 0).sum() == 123 + 49  # not measured: all of the Swiss and some of the veterans


def test_a_quarter_of_the_sick_and_of_the_healthy_of_each_hospital_is_held_out() -> None:
    with np.load(DATA_FILE, allow_pickle=False) as data:
        for name in PATIENTS:
            for sick in (0, 1):
                group = (data["hospital"] == name) & (data["sick"] == sick)
                assert data["held_out"][group].sum() == round(group.sum() / 4)


def test_each_of_four_peers_has_one_hospital_and_together_they_have_all_but_those_held_out() -> None:
    tasks = [Hospitals(shard, 4) for shard in range(4)]
    assert [task.hospitals for task in tasks] == [(name,) for name in PATIENTS]
    assert [task.num_samples for task in tasks] == [227, 221, 92, 150]
    assert Hospitals(0, 1).num_samples == 690


def test_usual_patient_has_features_zero_and_yes_is_as_far_as_no() -> None:
    usual = prepare(_columns(**{name: usual for name, (usual, _) in SCALES.items()}, cp=2, restecg=0))
    assert usual.tolist() == [[0.0] * len(SCALES) + [0, 1, 0, 0] + [1, 0, 0]]
    female, male = (prepare(_columns(sex=sex))[0, list(SCALES).index("sex")] for sex in (0, 1))
    assert (female, male) == (-1.0, 1.0)


def test_what_was_not_measured_counts_as_usual_and_so_does_a_cholesterol_or_pressure_of_zero() -> None:
    assert prepare(_columns()).tolist() == [[0.0] * NUM_FEATURES]
    assert prepare(_columns(chol=0, trestbps=0)).tolist() == [[0.0] * NUM_FEATURES]
    assert prepare(_columns(oldpeak=0))[0].any()


def test_features_of_all_patients_are_finite_and_of_order_one() -> None:
    for features, classes in Hospitals(0, 1).batches(0):
        assert torch.isfinite(features).all()
        assert features.abs().max() < 7
        assert features.shape[1] == NUM_FEATURES
        assert set(classes.tolist()) <= {0, 1}


def test_five_peers_cannot_have_a_hospital_each_but_can_divide_the_patients() -> None:
    with pytest.raises(ConfigError, match="there are 4: cleveland, hungarian, switzerland, va"):
        load_task("hospitals", 0, 5)
    assert load_task("hospitals", 0, 5, "iid").num_samples == 138


def test_shared_model_beats_the_mean_of_the_hospitals_alone() -> None:
    trainers = [Trainer(Hospitals(shard, 4)) for shard in range(4)]
    counts = np.array([trainer.num_samples for trainer in trainers])
    initial = trainers[0].initial_vector(0)
    shared, alone = initial, [initial] * 4
    for epoch in range(15):
        trained = [t.train(shared, 1, 100 * epoch + peer, lambda: False) for peer, t in enumerate(trainers)]
        shared = (counts @ np.stack(trained).astype(np.float64) / counts.sum()).astype(np.float32)
        alone = [t.train(model, 1, 100 * epoch, lambda: False) for model, t in zip(alone, trainers, strict=True)]
    accuracy = trainers[0].evaluate(shared)["accuracy"]
    assert accuracy > 0.78
    assert accuracy > np.mean([trainers[0].evaluate(model)["accuracy"] for model in alone]) + 0.03
