"""Fixed graphs against networkx's, their shares against closed forms, and how fast they mix."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import networkx as nx
import numpy as np
import pytest

from raftgossip.topology.graph import Arcs, full, metropolis_hastings, mixing_matrix, ring, spectral_gap, star, torus

GRAPHS: list[Callable[[int], Arcs]] = [ring, torus, star, full]
TOLERANCE = 1e-12
"""Eigenvalues of symmetric matrices come out with an error of some ulps of the largest, which is 1."""


def gap(graph: Callable[[int], Arcs], num_nodes: int) -> float:
    return spectral_gap(mixing_matrix(num_nodes, graph(num_nodes)))


def edges(arcs: Arcs) -> set[frozenset[int]]:
    return {frozenset((arc.src, arc.dst)) for arc in arcs}


def test_ring_star_and_full_have_the_edges_of_their_names() -> None:
    for n in range(3, 20):
        assert edges(ring(n)) == set(map(frozenset, nx.cycle_graph(n).edges))
        assert edges(star(n)) == set(map(frozenset, nx.star_graph(n - 1).edges))
        assert edges(full(n)) == set(map(frozenset, nx.complete_graph(n).edges))


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 3), (3, 3), (3, 4), (4, 4), (4, 5), (5, 7)])
def test_torus_is_the_squarest_grid_with_joined_borders(rows: int, columns: int) -> None:
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns, periodic=True), ordering="sorted")
    assert edges(torus(rows * columns)) == set(map(frozenset, grid.edges))


def test_torus_of_a_prime_number_is_a_ring() -> None:
    assert torus(7) == ring(7)


@pytest.mark.parametrize("graph", GRAPHS)
def test_two_nodes_have_one_edge_with_shares_of_one_half(graph: Callable[[int], Arcs]) -> None:
    assert [(arc.src, arc.dst, arc.share) for arc in graph(2)] == [(0, 1, Fraction(1, 2)), (1, 0, Fraction(1, 2))]


@pytest.mark.parametrize("graph", GRAPHS)
def test_one_node_has_no_edge(graph: Callable[[int], Arcs]) -> None:
    assert graph(1) == ()


@pytest.mark.parametrize("graph", GRAPHS)
def test_shares_are_symmetric_and_doubly_stochastic(graph: Callable[[int], Arcs]) -> None:
    for n in range(1, 40):
        matrix = mixing_matrix(n, graph(n))
        assert (matrix >= 0).all()
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=TOLERANCE)


def test_an_edge_between_unequal_degrees_follows_the_greater() -> None:
    """A path 0 – 1 – 2 – 3 whose end 3 also knows 4 and 5: degrees 1, 2, 2, 3, 1, 1."""
    arcs = metropolis_hastings(6, lambda node: {0: (1,), 1: (2,), 2: (3,), 3: (4, 5)}.get(node, ()))
    shares = {(arc.src, arc.dst): arc.share for arc in arcs if arc.src < arc.dst}
    third, quarter = Fraction(1, 3), Fraction(1, 4)
    assert shares == {(0, 1): third, (1, 2): third, (2, 3): quarter, (3, 4): quarter, (3, 5): quarter}


def test_arcs_come_sorted() -> None:
    for graph in GRAPHS:
        assert graph(12) == tuple(sorted(graph(12)))


def test_a_matrix_moves_a_share_from_its_sender_to_its_receiver() -> None:
    after = mixing_matrix(3, full(3)[:1]) @ np.array([6.0, 0.0, 0.0])
    np.testing.assert_allclose(after, [4.0, 2.0, 0.0], rtol=TOLERANCE)


def test_the_gap_of_a_ring_is_two_thirds_of_one_less_the_cosine() -> None:
    for n in range(3, 60):
        assert gap(ring, n) == pytest.approx(2 / 3 * (1 - np.cos(2 * np.pi / n)), abs=TOLERANCE)


def test_the_gap_of_a_star_is_one_nth() -> None:
    for n in range(3, 40):
        assert gap(star, n) == pytest.approx(1 / n, abs=TOLERANCE)


@pytest.mark.parametrize(("num_nodes", "columns"), [(9, 3), (12, 4), (16, 4), (20, 5), (35, 7), (100, 10)])
def test_the_gap_of_a_torus_is_that_of_its_longer_side(num_nodes: int, columns: int) -> None:
    assert gap(torus, num_nodes) == pytest.approx(2 / 5 * (1 - np.cos(2 * np.pi / columns)), abs=TOLERANCE)


def test_the_gap_is_one_if_one_step_is_exact() -> None:
    assert gap(full, 1) == 1.0
    for n in range(2, 40):
        assert gap(full, n) == pytest.approx(1, abs=TOLERANCE)


def test_the_gap_is_zero_if_parts_never_meet() -> None:
    pairs = metropolis_hastings(4, lambda node: (node ^ 1,))
    assert spectral_gap(mixing_matrix(4, pairs)) == pytest.approx(0, abs=TOLERANCE)


def test_the_gap_counts_eigenvalues_near_minus_one() -> None:
    """Two nodes that swap 9/10 swing to and fro: eigenvalues 1 and −8/10."""
    assert spectral_gap(np.array([[0.1, 0.9], [0.9, 0.1]])) == pytest.approx(0.2, abs=TOLERANCE)
