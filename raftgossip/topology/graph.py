"""Fixed graphs over the positions of sorted node ids, their Metropolis–Hastings shares, and how fast they mix.

Edges come from integer arithmetic alone, because peers must agree on them whatever library versions they run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, order=True)
class Arc:
    """Position `src` sends the fraction `share` of what it holds to position `dst`."""

    src: int
    dst: int
    share: Fraction


Arcs = tuple[Arc, ...]
"""One step over positions 0 … n−1."""


def ring(num_nodes: int) -> Arcs:
    """Everybody has two neighbours; two nodes have one edge. Spectral gap 2/3·(1 − cos(2π/n)) from three nodes on."""
    return metropolis_hastings(num_nodes, lambda node: (node + 1,))


def torus(num_nodes: int) -> Arcs:
    """A grid of rows × columns, as square as n allows, whose borders are joined; a prime n gives a ring."""
    rows = max(divisor for divisor in range(1, math.isqrt(num_nodes) + 1) if num_nodes % divisor == 0)
    columns = num_nodes // rows

    def right_and_below(node: int) -> tuple[int, int]:
        column = node % columns
        return node - column + (column + 1) % columns, node + columns

    return metropolis_hastings(num_nodes, right_and_below)


def star(num_nodes: int) -> Arcs:
    """The first node is everybody's neighbour, and the others have only that one."""
    return metropolis_hastings(num_nodes, lambda node: () if node else range(1, num_nodes))


def full(num_nodes: int) -> Arcs:
    """Everybody is everybody's neighbour: the exact mean in one step, with shares of 1/n."""
    return metropolis_hastings(num_nodes, lambda _: range(num_nodes))


def metropolis_hastings(num_nodes: int, neighbours_of: Callable[[int], Iterable[int]]) -> Arcs:
    """Shares that make the mixing matrix of an undirected graph symmetric and doubly stochastic, sorted by (src, dst).

    W_ij = 1 / (1 + max(degree_i, degree_j)) on edges (Xiao, Boyd, Lall: Distributed Average Consensus with Time-Varying
    Metropolis Weights, 2006). `neighbours_of` names each edge from one end or from both, modulo
    n; a node is never its own neighbour.
    """
    adjacent: list[set[int]] = [set() for _ in range(num_nodes)]
    for node in range(num_nodes):
        for neighbour in neighbours_of(node):
            if neighbour % num_nodes != node:
                adjacent[node].add(neighbour % num_nodes)
                adjacent[neighbour % num_nodes].add(node)
    return tuple(
        Arc(node, neighbour, Fraction(1, 1 + max(len(adjacent[node]), len(adjacent[neighbour]))))
        for node in range(num_nodes)
        for neighbour in sorted(adjacent[node])
    )


def mixing_matrix(num_nodes: int, arcs: Arcs) -> npt.NDArray[np.float64]:
    """W with x_after = W @ x_before: (n, n) float64, columns sum to 1; W[i, j] is the share that j sends to i."""
    matrix = np.zeros((num_nodes, num_nodes))
    kept = [Fraction(1)] * num_nodes
    for arc in arcs:
        matrix[arc.dst, arc.src] = float(arc.share)
        kept[arc.src] -= arc.share
    for node, share in enumerate(kept):
        matrix[node, node] = float(share)
    return matrix


def spectral_gap(matrix: npt.NDArray[np.float64]) -> float:
    """1 − the second largest modulus of the eigenvalues, in [0, 1]: how fast repeated mixing forgets differences.

    `matrix`: (n, n) float64, symmetric and doubly stochastic. 1: exact after one step. 0: parts that never meet.
    """
    if len(matrix) == 1:
        return 1.0
    moduli = np.sort(np.abs(np.linalg.eigvalsh(matrix)))
    return float(1.0 - moduli[-2])
