"""Modules as flat vectors: aliasing, order, buffers, ties, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from raftgossip.errors import ConfigError, TrainingFailed
from raftgossip.learning.parameters import FlatParameters


def _names(parameters: FlatParameters) -> list[str]:
    return [tensor.name for tensor in parameters.schema.tensors]


def test_vector_holds_the_parameters_in_order_with_their_values() -> None:
    module = nn.Linear(3, 2)
    weight, bias = module.weight.detach().numpy().copy(), module.bias.detach().numpy().copy()
    parameters = FlatParameters(module)
    assert [(t.name, t.shape, t.dtype) for t in parameters.schema.tensors] == [
        ("weight", (2, 3), "float32"),
        ("bias", (2,), "float32"),
    ]
    assert parameters.vector().tolist() == [*weight.ravel().tolist(), *bias.tolist()]


def test_loaded_values_are_at_once_those_of_the_module_and_of_its_outputs() -> None:
    module = nn.Linear(2, 1)
    parameters = FlatParameters(module)
    parameters.load(np.array([2.0, 3.0, 10.0], dtype=np.float32))
    assert module.weight.tolist() == [[2.0, 3.0]]
    assert module(torch.tensor([1.0, 1.0])).item() == 15.0


def test_training_step_changes_the_vector_without_any_call_in_between() -> None:
    module = nn.Linear(2, 1, bias=False)
    parameters = FlatParameters(module)
    parameters.load(np.array([1.0, 1.0], dtype=np.float32))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    module(torch.tensor([[2.0, 4.0]])).sum().backward()
    optimizer.step()
    assert parameters.vector().tolist() == [0.0, -1.0]


def test_all_tensors_lie_in_one_piece_of_memory_without_gaps() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    FlatParameters(module)
    tensors = [*module.parameters(), module[1].running_mean, module[1].running_var]
    address = tensors[0].data_ptr()
    for tensor in tensors:
        assert tensor.data_ptr() == address
        address += 4 * tensor.numel()


def test_vector_is_a_copy_and_the_loaded_array_may_be_read_only() -> None:
    parameters = FlatParameters(nn.Linear(2, 1, bias=False))
    given = np.array([1.0, 2.0], dtype=np.float32)
    given.flags.writeable = False
    parameters.load(given)
    taken = parameters.vector()
    taken[0] = 100
    assert parameters.vector().tolist() == [1.0, 2.0]


def test_float_buffers_of_the_state_are_averaged_and_others_stay_local() -> None:
    module = nn.BatchNorm1d(2)
    module.register_buffer("mask", torch.ones(2), persistent=False)
    parameters = FlatParameters(module)
    assert _names(parameters) == ["weight", "bias", "running_mean", "running_var"]
    module.num_batches_tracked.fill_(5)
    parameters.load(np.arange(8, dtype=np.float32))
    assert module.running_var.tolist() == [6.0, 7.0]
    assert module.num_batches_tracked.item() == 5
    assert module.mask.tolist() == [1.0, 1.0]


def test_statistics_of_batch_normalisation_flow_into_the_vector() -> None:
    module = nn.BatchNorm1d(1, momentum=1.0)
    parameters = FlatParameters(module)
    module(torch.tensor([[1.0], [3.0]]))
    assert parameters.vector().tolist() == [1.0, 0.0, 2.0, 2.0]


def test_parameter_under_two_names_appears_once_and_stays_tied() -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[1].weight = module[0].weight
    parameters = FlatParameters(module)
    assert _names(parameters) == ["0.weight"]
    parameters.load(np.arange(4, dtype=np.float32))
    assert module[1].weight.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def test_frozen_parameter_is_in_the_vector_but_not_trained() -> None:
    module = nn.Linear(2, 1)
    module.weight.requires_grad_(False)
    parameters = FlatParameters(module)
    assert _names(parameters) == ["weight", "bias"]
    assert [parameter is module.bias for parameter in parameters.trainable] == [True]


def test_zero_dimensional_and_transposed_parameters_round_trip() -> None:
    module = nn.Module()
    module.scale = nn.Parameter(torch.tensor(3.0))
    module.turned = nn.Parameter(torch.arange(6.0).view(2, 3).t())
    parameters = FlatParameters(module)
    assert parameters.vector().tolist() == [3.0, 0.0, 3.0, 1.0, 4.0, 2.0, 5.0]
    assert module.turned.tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_types_are_refused_by_name(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match=rf"'weight' is {dtype}; models are averaged in torch.float32"):
        FlatParameters(nn.Linear(2, 1).to(dtype))


def test_tensor_on_another_device_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'weight' is on meta; build the model on the CPU"):
        FlatParameters(nn.Linear(2, 1, device="meta"))


def test_parameter_without_a_shape_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'weight' has no shape yet"):
        FlatParameters(nn.LazyLinear(2))


def test_model_without_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="no parameters"):
        FlatParameters(nn.ReLU())


def test_tensors_tied_behind_the_back_of_torch_are_refused() -> None:
    module = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    module[1].weight.data = module[0].weight.data
    with pytest.raises(ConfigError, match=r"'0\.weight' and '1\.weight' share memory"):
        FlatParameters(module)


def test_replaced_tensor_is_noticed_before_a_wrong_vector_leaves() -> None:
    module = nn.Linear(2, 1)
    parameters = FlatParameters(module)
    module.bias.data = torch.zeros(1)
    with pytest.raises(TrainingFailed, match="replaced the tensor 'bias'"):
        parameters.vector()
    with pytest.raises(TrainingFailed, match="replaced the tensor 'bias'"):
        parameters.load(np.zeros(3, dtype=np.float32))


def test_vector_of_another_length_is_our_bug() -> None:
    with pytest.raises(ValueError, match="the model has"):
        FlatParameters(nn.Linear(2, 1)).load(np.zeros(4, dtype=np.float32))
