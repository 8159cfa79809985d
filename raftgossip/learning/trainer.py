"""Train and evaluate a task's model, given and returned as a flat vector; stops when asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from raftgossip.errors import ConfigError, TrainingFailed, TrainingStopped
from raftgossip.learning.parameters import FlatParameters
from raftgossip.learning.seeds import derive_seed
from raftgossip.learning.task import Batch, LearningTask, describe_exception
from raftgossip.update import FloatVector, ParameterSchema

T = TypeVar("T")

_GENERATOR_LOCK = threading.Lock()
"""Guards torch's global generator: two peers in one process must not draw from each other's stream."""


def use_one_thread() -> None:
    """Let torch use one thread in this process: several threads on few cores stall small operations."""
    torch.set_num_threads(1)


class Trainer:
    """A task with its model in a flat vector. Thread-safe: training and evaluation wait for each other.

    All randomness follows from the seeds given, so the same call gives the same bytes, on the same machine and
    versions.
    """

    def __init__(self, task: LearningTask) -> None:
        """Build the model and an optimiser once, to learn the schema and to see mistakes before the first epoch.

        Raises:
            ConfigError: the task's model, optimiser or sample count cannot be used; says why.
        """
        self._task = task
        self._lock = threading.Lock()
        self.num_samples = _checked_num_samples(task)
        self._module = _build(task, seed=0)
        self._parameters = FlatParameters(self._module)
        # Torch loads its compiler, a second or more of work, with the first optimiser: here it delays no epoch.
        _made_by_user("optimizer", lambda: task.optimizer(self._parameters.trainable))

    @property
    def schema(self) -> ParameterSchema:
        """What the elements of every vector here mean."""
        return self._parameters.schema

    def initial_vector(self, seed: int) -> FloatVector:
        """The model that `build_model` makes under this seed: (P,) float32, the caller's; equal bytes on all peers.

        Raises:
            ConfigError: the task's model cannot be built, or differs from the one built before.
        """
        parameters = FlatParameters(_build(self._task, seed))
        difference = parameters.schema.difference(self.schema)
        if difference is not None:
            raise ConfigError(f"the task builds another model each time: {difference}")
        return parameters.vector()

    def train(self, base: FloatVector, passes: int, seed: int, stop: Callable[[], bool]) -> FloatVector:
        """Train from `base`, (P,) float32, only read, for so many passes over the data; returns a new vector (P,).

        `stop` is asked before every batch.

        Raises:
            TrainingStopped: `stop` said so.
            TrainingFailed: the task raised, or its loss or the result is not finite; names the cause.
        """
        with self._lock:
            self._parameters.load(base)
            self._module.train()
            randomness = _Randomness(seed)
            with _blaming("optimizer"):
                optimizer = self._task.optimizer(self._parameters.trainable)
            for pass_index in range(passes):
                self._train_pass(optimizer, pass_index, seed, randomness, stop)
            vector = self._parameters.vector()
        if not np.isfinite(vector).all():
            raise TrainingFailed("training ended with parameters that are not finite; a smaller learning rate may help")
        return vector

    def evaluate(self, vector: FloatVector) -> dict[str, float]:
        """The task's metrics for this model, (P,) float32, only read. A metric that is not finite is left out.

        Raises:
            TrainingFailed: the task raised; names the cause.
        """
        with self._lock:
            self._parameters.load(vector)
            self._module.eval()
            with torch.no_grad(), _blaming("evaluate"):
                metrics = {str(name): float(value) for name, value in self._task.evaluate(self._module).items()}
        # Some metrics are undefined on some data (a ratio of nothing); as NaN they would spoil the mean over all peers.
        return {name: value for name, value in metrics.items() if np.isfinite(value)}

    def _train_pass(
        self,
        optimizer: torch.optim.Optimizer,
        pass_index: int,
        seed: int,
        randomness: _Randomness,
        stop: Callable[[], bool],
    ) -> None:
        num_batches = 0
        for batch in self._batches(derive_seed(seed, 0, pass_index, "batches")):
            if stop():
                raise TrainingStopped("the training was stopped")
            with randomness.installed():
                loss = self._step(optimizer, batch)
            if not np.isfinite(loss):
                where = f"pass {pass_index + 1}, batch {num_batches + 1}"
                raise TrainingFailed(f"the loss became {loss} in {where}; a smaller learning rate may help")
            num_batches += 1
        if num_batches == 0 and self.num_samples:
            raise TrainingFailed(f"the task's batches gave nothing, though it has {self.num_samples} samples")

    def _batches(self, seed: int) -> Iterator[Batch]:
        """The task's batches, with its exceptions turned into ours."""
        with _blaming("batches"):
            batches = iter(self._task.batches(seed))
        while True:
            with _blaming("batches"):
                try:
                    batch = next(batches)
                except StopIteration:
                    return
            yield batch

    def _step(self, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
        with _blaming("loss"):
            optimizer.zero_grad()
            loss = self._task.loss(self._module, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            value = float(loss.detach())
        with _blaming("optimizer"):
            optimizer.step()
        return value


class _Randomness:
    """A stream of torch's global generator that belongs to one training.

    Dropout draws from the global generator and cannot be given another one. So the stream's state is put into it for
    one batch at a time, and what was there before is put back: nobody else sees that it was used.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Draw from this stream inside the block; other streams of this process wait."""
        with _GENERATOR_LOCK:
            before = torch.default_generator.get_state()
            torch.default_generator.set_state(self._state)
            try:
                yield
            finally:
                self._state = torch.default_generator.get_state()
                torch.default_generator.set_state(before)


@contextmanager
def _blaming(method: str) -> Iterator[None]:
    """Turn whatever the user's method raises into `TrainingFailed` with its name."""
    try:
        yield
    except TrainingFailed:
        raise
    except Exception as error:
        raise TrainingFailed(f"the task's {method} raised {describe_exception(error)}") from error


def _made_by_user(name: str, make: Callable[[], T]) -> T:
    """What the user's method or property gives when the trainer is built.

    Raises:
        ConfigError: it raises.
    """
    try:
        return make()
    except Exception as error:
        raise ConfigError(f"the task's {name} raised {describe_exception(error)}") from error


def _build(task: LearningTask, seed: int) -> nn.Module:
    with _Randomness(seed).installed():
        module = _made_by_user("build_model", task.build_model)
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the task's build_model returned {type(module).__name__}, not a torch.nn.Module")
    return module


def _checked_num_samples(task: LearningTask) -> int:
    num_samples = _made_by_user("num_samples", lambda: task.num_samples)
    if isinstance(num_samples, bool) or not isinstance(num_samples, int | np.integer) or num_samples < 0:
        raise ConfigError(f"the task's num_samples is {num_samples!r}; it must be a whole number from 0 on")
    return int(num_samples)
