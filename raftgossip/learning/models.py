"""The built-in models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def multilayer_perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU between them; `sizes` from input to output. Two sizes make a logistic regression."""
    if len(sizes) < 2:
        raise ValueError(f"a network needs at least an input and an output size, not {list(sizes)}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
