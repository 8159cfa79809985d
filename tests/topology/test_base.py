"""The base-(k+1) graph: the exact mean for every number of participants, in few steps and with few neighbours."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from raftgossip.topology.graph import mixing_matrix
from raftgossip.topology.schedule import base_steps

NUMBERS = range(1, 131)
TOLERANCE = 1e-15
"""Doubles round at 1.1e-16 of numbers up to 1, and no more than 19 steps add up."""


@cache
def matrices(num_nodes: int, max_degree: int) -> list[np.ndarray]:
    return [mixing_matrix(num_nodes, arcs) for arcs in base_steps(num_nodes, max_degree)]


def product(num_nodes: int, max_degree: int) -> np.ndarray:
    matrix = np.eye(num_nodes)
    for step in matrices(num_nodes, max_degree):
        matrix = step @ matrix
    return matrix


def largest_degree(matrix: np.ndarray) -> int:
    return int((matrix - np.diag(np.diag(matrix)) > 0).sum(axis=0).max())


@pytest.mark.parametrize("max_degree", [1, 2, 3, 4])
def test_all_steps_together_are_the_exact_mean_for_every_number(max_degree: int) -> None:
    errors = {n: np.abs(product(n, max_degree) - 1 / n).max() for n in NUMBERS}
    assert max(errors.values()) <= TOLERANCE, errors


@pytest.mark.parametrize("max_degree", [1, 2, 3, 4])
def test_no_node_has_more_neighbours_in_a_step_than_allowed(max_degree: int) -> None:
    assert all(largest_degree(step) <= max_degree for n in NUMBERS for step in matrices(n, max_degree))


@pytest.mark.parametrize("max_degree", [1, 2, 3, 4])
def test_every_step_exchanges_something_with_symmetric_shares(max_degree: int) -> None:
    for n in NUMBERS:
        for step in matrices(n, max_degree):
            assert largest_degree(step) >= 1 and (step >= 0).all()
            assert (step == step.T).all()
            assert np.abs(step.sum(axis=0) - 1).max() <= TOLERANCE


@pytest.mark.parametrize("max_degree", [1, 2, 3, 4])
def test_the_length_stays_within_the_bound_of_the_paper(max_degree: int) -> None:
    """The paper's bound on the length: 2·log_{k+1} n + 2; the 1e-9 is for the rounding of the logarithm."""
    assert all(len(matrices(n, max_degree)) <= 2 * math.log(n, max_degree + 1) + 2 + 1e-9 for n in NUMBERS)


def test_with_one_neighbour_the_length_follows_from_the_odd_part() -> None:
    for n in NUMBERS:
        twos = (n & -n).bit_length() - 1
        odd = n >> twos
        expected = twos + (0 if odd == 1 else 2 * int(math.log2(odd)) + 1)
        assert len(matrices(n, 1)) == expected, n


@pytest.mark.parametrize(("num_nodes", "max_degree", "length"), [(9, 2, 2), (6, 2, 2), (16, 3, 2), (12, 3, 2)])
def test_with_more_neighbours_smooth_numbers_need_one_step_per_factor(
    num_nodes: int, max_degree: int, length: int
) -> None:
    assert len(base_steps(num_nodes, max_degree)) == length


def test_groups_are_averaged_over_by_their_greatest_factors() -> None:
    """20 = 4·5: four groups of 5 = 4 + 1 take 1 + 1 + 1 steps, and over the groups one step of 4, not two of 2."""
    assert len(base_steps(20, max_degree=3)) == 4


def test_the_simple_graph_is_taken_where_groups_would_take_longer() -> None:
    """22 = 4·5 + 2: the simple graph takes 2 + 1 + 1 steps; two groups of 11 = 2·5 + 1 take 2 + 1 + 1, and one more."""
    assert len(base_steps(22, max_degree=4)) == 4


def test_three_nodes_go_through_the_steps_that_the_paper_draws() -> None:
    """Two average; the third swaps shares of 2/3 with the first of them; the two average again."""
    steps = [[(arc.src, arc.dst, str(arc.share)) for arc in arcs if arc.src < arc.dst] for arcs in base_steps(3)]
    assert steps == [[(0, 1, "1/2")], [(0, 2, "2/3")], [(0, 1, "1/2")]]


def test_five_nodes_go_through_the_steps_that_the_digits_of_five_give() -> None:
    """5 = 4 + 1: the four average, one of them swaps shares of 4/5 with the fifth, the four average again."""
    steps = [[(arc.src, arc.dst, str(arc.share)) for arc in arcs if arc.src < arc.dst] for arcs in base_steps(5)]
    across, along = [(0, 1, "1/2"), (2, 3, "1/2")], [(0, 2, "1/2"), (1, 3, "1/2")]
    assert steps == [across, along, [(0, 4, "4/5")], across, along]
