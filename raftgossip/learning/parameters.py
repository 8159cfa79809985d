"""A torch module as one flat vector whose views are its parameters, so that loading and flattening is one copy.

What is in the vector: every parameter, in the order of `named_parameters`, also frozen ones (they start equal on all
peers and averaging leaves them so), and then every float buffer that belongs to the module's state, such as the
running statistics of batch normalisation. A parameter that is used under several names appears once. Other buffers
(counters, masks, caches that are not saved) stay local.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from raftgossip.errors import ConfigError, TrainingFailed
from raftgossip.update import FloatVector, ParameterSchema, TensorSpec


class FlatParameters:
    """One contiguous float32 vector (P,) that backs a module's averaged tensors.

    Invariant: every averaged tensor of the module is a view into the vector, in the order of `schema`. What a task does
    to the module may break it (`module.double()`, `layer.weight.data = …`); then `vector` raises.
    """

    def __init__(self, module: nn.Module) -> None:
        """Move the module's averaged tensors into one vector; their values stay.

        Raises:
            ConfigError: a tensor is not float32, not on the CPU, without a shape yet, or shares memory with another;
                or there is none at all.
        """
        named = _averaged_tensors(module)
        if not named:
            raise ConfigError("the task's model has no parameters: build_model() must return a module that has some")
        for name, tensor in named:
            _check_tensor(name, tensor)
        _check_apart(named)
        self._module = module
        self.schema = ParameterSchema(tuple(TensorSpec(name, tuple(t.shape), "float32") for name, t in named))
        flat = torch.empty(self.schema.num_elements, dtype=torch.float32)
        self._array: FloatVector = flat.numpy()  # shares memory with `flat`
        self._addresses: dict[str, int] = {}
        start = 0
        for name, tensor in named:
            view = flat[start : start + tensor.numel()].view(tensor.shape)
            view.copy_(tensor.detach())
            tensor.data = view
            self._addresses[name] = view.data_ptr()
            start += tensor.numel()

    @property
    def trainable(self) -> list[nn.Parameter]:
        """The parameters that training may change."""
        return [parameter for parameter in self._module.parameters() if parameter.requires_grad]

    def load(self, vector: FloatVector) -> None:
        """Make the module hold `vector`: (P,) float32, only read, copied once.

        Raises:
            TrainingFailed: the task moved a tensor out of the vector.
        """
        if vector.shape != self._array.shape:
            raise ValueError(f"the vector is {vector.shape}, the model has {self._array.shape}")
        self._check_views()
        np.copyto(self._array, vector)

    def vector(self) -> FloatVector:
        """What the module holds now: a copy (P,) float32 that the caller owns.

        Raises:
            TrainingFailed: the task moved a tensor out of the vector.
        """
        self._check_views()
        return self._array.copy()

    def _check_views(self) -> None:
        now = dict(_averaged_tensors(self._module))
        for name, address in self._addresses.items():
            tensor = now.get(name)
            if tensor is None or tensor.data_ptr() != address or tensor.dtype != torch.float32:
                raise TrainingFailed(
                    f"the task replaced the tensor {name!r} of its model; change it in place "
                    "(with torch.no_grad(): tensor.copy_(…)) and leave its dtype and device alone"
                )


def _averaged_tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """What the vector holds, in order: parameters once each, then the float buffers that are part of the state."""
    local = {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in module.named_modules()
        for name in part._non_persistent_buffers_set  # noqa: SLF001 - torch has no public way to ask
    }
    named: list[tuple[str, torch.Tensor]] = list(module.named_parameters())
    named += [(name, b) for name, b in module.named_buffers() if b.is_floating_point() and name not in local]
    return named


def _check_tensor(name: str, tensor: torch.Tensor) -> None:
    if is_lazy(tensor):
        raise ConfigError(f"the tensor {name!r} has no shape yet: run the model once in build_model(), or give sizes")
    if tensor.dtype != torch.float32:
        raise ConfigError(f"the tensor {name!r} is {tensor.dtype}; models are averaged in torch.float32: convert it")
    if tensor.device.type != "cpu":
        raise ConfigError(f"the tensor {name!r} is on {tensor.device}; build the model on the CPU")


def _check_apart(named: list[tuple[str, torch.Tensor]]) -> None:
    """Two tensors at one address are tied behind torch's back: as views of one vector they would come apart."""
    owners: dict[int, str] = {}
    for name, tensor in named:
        if tensor.numel() == 0:
            continue
        owner = owners.setdefault(tensor.data_ptr(), name)
        if owner != name:
            raise ConfigError(
                f"the tensors {owner!r} and {name!r} share memory; to tie them, use one nn.Parameter under both names"
            )
