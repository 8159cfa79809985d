"""The digits task: its data is the real thing, and four peers learn together what none of them can alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raftgossip.errors import ConfigError
from raftgossip.learning.task import LearningTask, load_task
from raftgossip.learning.tasks.digits import BATCH_SIZE, DATA_FILE, Digits
from raftgossip.learning.trainer import Trainer

CLASS_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
"""How many images of each digit the 1,797 of the UCI repository's test part are."""


def _own_images(task: Digits) -> set[bytes]:
    return {
        pixels.numpy().tobytes() for pixels, _ in ((p, c) for p, c in zip(task._pixels, task._classes, strict=True))
    }


def test_data_are_the_1797_images_of_16_grey_levels_and_no_image_is_in_both_parts() -> None:
    with np.load(DATA_FILE, allow_pickle=False) as data:
        assert data["x_train"].shape == (1437, 64)
        assert data["x_test"].shape == (360, 64)
        pixels = np.concatenate([data["x_train"], data["x_test"]])
        assert pixels.dtype == np.uint8
        assert (pixels.min(), pixels.max(), int(pixels.sum())) == (0, 16, 561718)
        assert np.bincount(np.concatenate([data["y_train"], data["y_test"]])).tolist() == CLASS_COUNTS
        trained = {image.tobytes() for image in data["x_train"]}
        assert not trained & {image.tobytes() for image in data["x_test"]}


def test_shards_of_all_peers_are_the_training_images_each_once() -> None:
    tasks = [Digits(shard, 4, "dirichlet:0.5", 3) for shard in range(4)]
    assert sum(task.num_samples for task in tasks) == 1437
    assert len(set.union(*map(_own_images, tasks))) == 1437


def test_one_pass_gives_every_image_once_in_an_order_that_the_seed_decides() -> None:
    task = Digits(0, 4)
    first, again, other = (torch.cat([pixels for pixels, _ in task.batches(seed)]) for seed in (1, 1, 2))
    assert {pixels.numpy().tobytes() for pixels in first} == _own_images(task)
    assert len(first) == task.num_samples
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_batches_are_of_the_stated_size_and_pixels_from_zero_to_one() -> None:
    sizes = []
    for pixels, classes in Digits().batches(0):
        assert pixels.dtype == torch.float32
        assert pixels.min() >= 0
        assert pixels.max() == 1
        sizes.append(len(classes))
    assert sizes == [BATCH_SIZE] * (1437 // BATCH_SIZE) + [1437 % BATCH_SIZE]


def test_data_have_no_natural_partition() -> None:
    with pytest.raises(ConfigError, match=r"known are iid, dirichlet:0\.5$"):
        load_task("digits", 0, 4, "natural")


def _accuracy_after(tasks: list[LearningTask], num_epochs: int, passes: int) -> float:
    """FedAvg over these peers, in this process."""
    trainers = [Trainer(task) for task in tasks]
    counts = np.array([trainer.num_samples for trainer in trainers])
    model = trainers[0].initial_vector(0)
    for epoch in range(num_epochs):
        trained = [t.train(model, passes, 100 * epoch + peer, lambda: False) for peer, t in enumerate(trainers)]
        model = (counts @ np.stack(trained).astype(np.float64) / counts.sum()).astype(np.float32)
    return trainers[0].evaluate(model)["accuracy"]


def test_model_that_four_peers_share_is_good_and_clearly_better_than_those_that_they_train_alone() -> None:
    tasks = [load_task("digits", shard, 4, "dirichlet:0.5", 0) for shard in range(4)]
    shared = _accuracy_after(tasks, num_epochs=6, passes=3)
    alone = [_accuracy_after([task], num_epochs=6, passes=3) for task in tasks]
    assert shared > 0.93  # 0.97 and more after 30 epochs
    assert shared > float(np.mean(alone)) + 0.05
