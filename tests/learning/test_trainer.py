"""The trainer: closed forms, the same bytes for the same seed, stopping, and whose fault a failure is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from raftgossip.errors import ConfigError, TrainingFailed, TrainingStopped
from raftgossip.learning.task import LearningTask
from raftgossip.learning.trainer import Trainer, use_one_thread


def never() -> bool:
    """The stop flag that nobody sets."""
    return False


class Quadratic(LearningTask):
    """Minimise |x - c|² / 2 with steps of 1/4: after k steps x - c has shrunk to (3/4)^k."""

    def __init__(self, centre: float = 8.0, num_batches: int = 2) -> None:
        self.centre = centre
        self.num_batches = num_batches

    @property
    def num_samples(self) -> int:
        return 5

    def build_model(self) -> nn.Module:
        module = nn.Module()
        module.x = nn.Parameter(torch.randn(3))
        return module

    def batches(self, seed: int) -> Iterator[float]:
        return iter([self.centre] * self.num_batches)

    def loss(self, model: nn.Module, batch: float) -> torch.Tensor:
        return 0.5 * ((model.x - batch) ** 2).sum()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.25)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return {"x": model.x.mean().item(), "training": float(model.training), "undefined": float("nan")}


class Noisy(Quadratic):
    """Everything that draws: dropout, the order of batches, the initial model."""

    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(8, 32), nn.Dropout(0.5), nn.Linear(32, 1))

    def batches(self, seed: int) -> Iterator[torch.Tensor]:
        generator = torch.Generator().manual_seed(seed)
        for _ in range(20):
            yield torch.randn(4, 8, generator=generator)

    def loss(self, model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return (model(batch) ** 2).mean()

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.01, momentum=0.9)


def _start(value: float = 0.0) -> np.ndarray:
    vector = np.full(3, value, dtype=np.float32)
    vector.flags.writeable = False
    return vector


def test_training_takes_the_steps_of_the_closed_form() -> None:
    trained = Trainer(Quadratic()).train(_start(), passes=2, seed=1, stop=never)
    assert trained.tolist() == pytest.approx([8 - 8 * 0.75**4] * 3, rel=1e-6)
    assert trained.dtype == np.float32


def test_training_changes_neither_its_base_nor_an_earlier_result() -> None:
    trainer, base = Trainer(Quadratic()), _start()
    first = trainer.train(base, 1, 1, never)
    kept = first.copy()
    trainer.train(first, 1, 2, never)
    assert base.tolist() == [0.0] * 3
    assert first.tolist() == kept.tolist()


def test_no_pass_returns_the_base() -> None:
    assert Trainer(Quadratic()).train(_start(5), 0, 1, never).tolist() == [5.0] * 3


def test_evaluation_is_of_the_given_vector_in_evaluation_mode_without_undefined_metrics() -> None:
    assert Trainer(Quadratic()).evaluate(_start(4)) == {"x": 4.0, "training": 0.0}


def test_trainer_tells_samples_and_schema() -> None:
    trainer = Trainer(Quadratic())
    assert trainer.num_samples == 5
    assert [(t.name, t.shape) for t in trainer.schema.tensors] == [("x", (3,))]


def test_initial_vector_is_equal_on_two_peers_and_differs_between_seeds() -> None:
    first, second = Trainer(Noisy()), Trainer(Noisy())
    assert first.initial_vector(7).tobytes() == second.initial_vector(7).tobytes()
    assert first.initial_vector(7).tobytes() != first.initial_vector(8).tobytes()


def test_initial_vector_is_what_torch_gives_under_this_seed() -> None:
    expected = torch.randn(3, generator=torch.Generator().manual_seed(7))
    assert Trainer(Quadratic()).initial_vector(7).tolist() == expected.tolist()


def test_same_seed_same_bytes_and_another_seed_other_bytes() -> None:
    trainer = Trainer(Noisy())
    base = trainer.initial_vector(1)
    first = trainer.train(base, 2, 5, never).tobytes()
    assert Trainer(Noisy()).train(base, 2, 5, never).tobytes() == first
    assert trainer.train(base, 2, 6, never).tobytes() != first


def test_every_pass_gets_another_seed() -> None:
    seeds: list[int] = []

    class Listening(Quadratic):
        def batches(self, seed: int) -> Iterator[float]:
            seeds.append(seed)
            return super().batches(seed)

    trainer = Trainer(Listening())
    trainer.train(_start(), 3, 1, never)
    trainer.train(_start(), 3, 2, never)
    assert len(set(seeds)) == 6


def test_peers_in_one_process_that_train_at_once_do_not_disturb_each_other() -> None:
    trainers = [Trainer(Noisy()) for _ in range(4)]
    base = trainers[0].initial_vector(1)
    alone = [Trainer(Noisy()).train(base, 3, seed, never).tobytes() for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(trainer.train, base, 3, seed, never) for seed, trainer in enumerate(trainers)]
        together = [future.result().tobytes() for future in futures]
    assert together == alone


def test_global_generator_of_torch_is_left_as_it_was() -> None:
    before = torch.default_generator.get_state()
    trainer = Trainer(Noisy())
    trainer.train(trainer.initial_vector(3), 1, 3, never)
    assert torch.equal(torch.default_generator.get_state(), before)


def test_optimiser_state_does_not_outlive_an_epoch() -> None:
    trainer = Trainer(Noisy())
    base = trainer.initial_vector(1)
    first = trainer.train(base, 1, 5, never).tobytes()
    assert trainer.train(base, 1, 5, never).tobytes() == first


def test_stop_is_asked_before_every_batch_and_ends_the_training() -> None:
    asked: list[bool] = []

    def stop_at_third() -> bool:
        asked.append(True)
        return len(asked) == 3

    trained_batches: list[float] = []

    class Counting(Quadratic):
        def loss(self, model: nn.Module, batch: float) -> torch.Tensor:
            trained_batches.append(batch)
            return super().loss(model, batch)

    with pytest.raises(TrainingStopped):
        Trainer(Counting()).train(_start(), 10, 1, stop_at_third)
    assert len(trained_batches) == 2


def test_trainer_is_good_for_another_epoch_after_a_stop_and_after_a_failure() -> None:
    task = Quadratic()
    trainer = Trainer(task)
    with pytest.raises(TrainingStopped):
        trainer.train(_start(), 1, 1, lambda: True)
    task.centre = float("nan")
    with pytest.raises(TrainingFailed):
        trainer.train(_start(), 1, 1, never)
    task.centre = 8.0
    assert trainer.train(_start(), 1, 1, never).tolist() == pytest.approx([8 - 8 * 0.75**2] * 3, rel=1e-6)


def test_evaluation_waits_for_a_training_that_is_on_its_way() -> None:
    in_training, go_on = threading.Event(), threading.Event()

    class Slow(Quadratic):
        def batches(self, seed: int) -> Iterator[float]:
            in_training.set()
            go_on.wait(10)
            return super().batches(seed)

    trainer = Trainer(Slow())
    with ThreadPoolExecutor(2) as threads:
        training = threads.submit(trainer.train, _start(), 1, 1, never)
        assert in_training.wait(10)
        evaluation = threads.submit(trainer.evaluate, _start(4))
        go_on.set()
        assert evaluation.result()["x"] == 4.0
        assert training.result().tolist() == pytest.approx([3.5] * 3, rel=1e-6)


def _raises(error: Exception) -> Callable[..., object]:
    def method(*arguments: object) -> object:
        raise error

    return method


@pytest.mark.parametrize("method", ["batches", "loss", "optimizer"])
def test_exception_in_training_names_method_and_cause_in_one_line(method: str) -> None:
    task = Quadratic()
    trainer = Trainer(task)
    setattr(task, method, _raises(ValueError("no such column\nsecond line")))
    with pytest.raises(TrainingFailed, match=rf"^the task's {method} raised ValueError: no such column$"):
        trainer.train(_start(), 1, 1, never)


def test_exception_in_the_middle_of_the_batches_names_them() -> None:
    class Breaking(Quadratic):
        def batches(self, seed: int) -> Iterator[float]:
            yield 1.0
            raise OSError("disk gone")

    with pytest.raises(TrainingFailed, match="the task's batches raised OSError: disk gone"):
        Trainer(Breaking()).train(_start(), 1, 1, never)


@pytest.mark.parametrize("error", [ConfigError("a"), TrainingStopped("a"), KeyError("a")])
def test_no_exception_of_the_task_passes_for_one_of_ours(error: Exception) -> None:
    task = Quadratic()
    trainer = Trainer(task)
    task.evaluate = _raises(error)  # type: ignore[method-assign,assignment]
    with pytest.raises(TrainingFailed, match="the task's evaluate raised"):
        trainer.evaluate(_start())


def test_loss_that_is_not_finite_names_pass_and_batch() -> None:
    with pytest.raises(TrainingFailed, match="the loss became nan in pass 1, batch 1; a smaller learning rate"):
        Trainer(Quadratic(centre=float("nan"))).train(_start(), 1, 1, never)


def test_parameters_that_are_not_finite_after_the_last_step_do_not_leave() -> None:
    class Exploding(Quadratic):
        def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
            return torch.optim.SGD(parameters, lr=3e38)

    with pytest.raises(TrainingFailed, match="parameters that are not finite"):
        Trainer(Exploding(num_batches=1)).train(_start(), 1, 1, never)


def test_no_batch_despite_samples_is_a_failure() -> None:
    with pytest.raises(TrainingFailed, match="batches gave nothing, though it has 5 samples"):
        Trainer(Quadratic(num_batches=0)).train(_start(), 1, 1, never)


def test_model_that_the_task_converts_while_training_is_a_failure() -> None:
    class Converting(Quadratic):
        def loss(self, model: nn.Module, batch: float) -> torch.Tensor:
            return super().loss(model.double(), batch)

    with pytest.raises(TrainingFailed):
        Trainer(Converting()).train(_start(), 1, 1, never)


@pytest.mark.parametrize("num_samples", [-1, 2.5, None, True])
def test_sample_count_that_is_none_is_the_operators_mistake(num_samples: object) -> None:
    class Miscounting(Quadratic):
        @property
        def num_samples(self) -> int:
            return num_samples  # type: ignore[return-value]

    with pytest.raises(ConfigError, match=r"num_samples is .*; it must be a whole number from 0 on"):
        Trainer(Miscounting())


def test_build_model_that_raises_or_returns_no_module_is_the_operators_mistake() -> None:
    task = Quadratic()
    task.build_model = _raises(ImportError("no torchvision"))  # type: ignore[method-assign,assignment]
    with pytest.raises(ConfigError, match="the task's build_model raised ImportError: no torchvision"):
        Trainer(task)
    task.build_model = lambda: "resnet"  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(ConfigError, match=r"build_model returned str, not a torch\.nn\.Module"):
        Trainer(task)


def test_optimiser_that_cannot_be_made_is_seen_at_the_start() -> None:
    class Frozen(Quadratic):
        def build_model(self) -> nn.Module:
            return super().build_model().requires_grad_(False)

    with pytest.raises(ConfigError, match="optimizer raised ValueError: optimizer got an empty parameter list"):
        Trainer(Frozen())


def test_model_that_is_another_one_each_time_is_the_operators_mistake() -> None:
    class Growing(Quadratic):
        size = 2

        def build_model(self) -> nn.Module:
            self.size += 1
            return nn.Linear(self.size, 1)

    with pytest.raises(ConfigError, match=r"builds another model each time: weight \(1, 4\) float32 against"):
        Trainer(Growing()).initial_vector(1)


def test_use_one_thread_leaves_torch_one_thread() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        use_one_thread()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
