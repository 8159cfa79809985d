"""What a user writes: one class with a model, its data, a loss and an evaluation; and how such a class is found."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import torch
from torch import nn

from raftgossip.errors import ConfigError

Batch: TypeAlias = Any
"""Whatever a task's `batches` yields and its `loss` takes; nobody else looks inside."""

BUILT_IN = {
    "digits": ("raftgossip.learning.tasks.digits", "Digits"),
    "hospitals": ("raftgossip.learning.tasks.hospitals", "Hospitals"),
}
"""The built-in tasks: module and class by name; imported when used."""

DEFAULT_LEARNING_RATE = 0.05
DEFAULT_MOMENTUM = 0.9


class LearningTask(ABC):
    """One peer's part of a learning task: subclass it, and give every peer its own data.

        class MyTask(LearningTask):
            def __init__(self, shard: int = 0, num_shards: int = 1) -> None: ...

    A constructor that has parameters called `shard` (from 0) and `num_shards` is told which part of the data is this
    peer's. All methods are called from worker threads, never two at once, except `num_samples`. An exception in one of
    them costs this peer the epoch, with the exception's text as the reason.
    """

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """How many samples this peer trains on, from 0 on: its weight in `fedavg`. It must not change."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """A new model on the CPU, in float32. All peers must build the same architecture.

        Torch's global generator is seeded when this is called, so that the usual initialisation is equal on all peers.
        """

    @abstractmethod
    def batches(self, seed: int) -> Iterator[Batch]:
        """One pass over the local data. Shuffle with a generator made from `seed`, never with a global one."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """The loss of one batch, a scalar tensor to be minimised. Dropout and the like follow the epoch's seed."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Metrics by name, e.g. `{"accuracy": 0.97}`. The model is in evaluation mode and no gradients are kept."""

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of one epoch's local training, made anew in every epoch (and once at the start, as a check)."""
        return torch.optim.SGD(parameters, lr=DEFAULT_LEARNING_RATE, momentum=DEFAULT_MOMENTUM)


def load_task(
    reference: str,
    shard: int = 0,
    num_shards: int = 1,
    partition: str | None = None,
    data_seed: int | None = None,
) -> LearningTask:
    """The task that a command line names: `digits`, `hospitals`, or `path/to/file.py:ClassName`.

    `shard` (from 0) of `num_shards` is this peer's part. `partition` (`iid`, `dirichlet:0.5`, `natural`) and
    `data_seed` say how the data is divided; None leaves that to the task. A user's class is given those of the four
    that its constructor has a parameter for.

    Raises:
        ConfigError: the reference or an option is wrong, or the user's file or constructor raises; says what to do.
    """
    if num_shards < 1:
        raise ConfigError(f"the data cannot be divided into {num_shards} shards; give 1 or more")
    if not 0 <= shard < num_shards:
        raise ConfigError(f"shard {shard} of {num_shards}: shards count from 0, so give one from 0 to {num_shards - 1}")
    task_class = _find_class(reference)
    options: dict[str, int | str] = {"shard": shard, "num_shards": num_shards}
    if partition is not None:
        options["partition"] = partition
    if data_seed is not None:
        options["data_seed"] = data_seed
    accepted = _accepted(task_class, options)
    for name in ("partition", "data_seed"):
        if name in options and name not in accepted:
            raise ConfigError(f"the task {reference} has no option {name!r}: its constructor has no such parameter")
    try:
        return task_class(**accepted)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"the task {reference} could not be made: {describe_exception(error)}") from error


def describe_exception(error: Exception) -> str:
    """One line: the exception's type and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _find_class(reference: str) -> type[LearningTask]:
    if reference in BUILT_IN:
        module_name, class_name = BUILT_IN[reference]
        return _class_in(importlib.import_module(module_name), class_name, module_name)
    path, separator, class_name = reference.rpartition(":")
    if separator and path.endswith(".py"):
        return _class_in(_import_file(Path(path)), class_name, path)
    if reference.endswith(".py"):
        raise ConfigError(f"the task {reference!r} does not say which class: give {reference}:ClassName")
    nearest = difflib.get_close_matches(reference.lower(), BUILT_IN, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    known = ", ".join(sorted(BUILT_IN))
    raise ConfigError(f"the task {reference!r} is unknown; {hint}known are {known}, or path/to/file.py:ClassName")


def _import_file(path: Path) -> ModuleType:
    """Run a user's file as a module of its own, with its folder importable, as `python file.py` would."""
    if not path.is_file():
        raise ConfigError(f"the task file {path} does not exist; give path/to/file.py:ClassName")
    name = f"raftgossip_task_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    sys.modules[name] = module  # dataclasses and the like look their module up by name
    try:
        specification.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ConfigError(f"the task file {path} could not be imported: {describe_exception(error)}") from error
    return module


def _class_in(module: ModuleType, class_name: str, where: str) -> type[LearningTask]:
    found = getattr(module, class_name, None)
    if found is None:
        tasks = [name for name, value in vars(module).items() if _is_task(value) and value is not LearningTask]
        hint = f"its tasks are {', '.join(sorted(tasks))}" if tasks else "it has no subclass of LearningTask"
        raise ConfigError(f"{where} has no class {class_name!r}; {hint}")
    if not _is_task(found):
        raise ConfigError(f"{class_name} in {where} is not a task: make it a subclass of raftgossip.LearningTask")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise ConfigError(f"the task {class_name} in {where} lacks {', '.join(missing)}: define what is missing")
    assert isinstance(found, type)
    return found


def _is_task(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, LearningTask)


def _accepted(task_class: type[LearningTask], options: Mapping[str, int | str]) -> dict[str, Any]:
    """Those options for which the constructor has a parameter."""
    parameters = inspect.signature(task_class).parameters
    takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: value for name, value in options.items() if takes_all or name in parameters}
