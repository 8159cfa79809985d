"""The plan of an epoch as a pure function of what stands in the ledger: (topology, participants, epoch, seed).

Only integer arithmetic, fractions and SHA-256 decide who sends what to whom, so all peers derive the same plan from
the same entry. A topology says which positions 0 … n−1 exchange in which step; `make_plan` puts participants onto
positions. For fixed graphs these are the sorted ids; for the others seed and epoch shuffle them, so that partners
change from epoch to epoch.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, combinations, zip_longest

from raftgossip.errors import ConfigError
from raftgossip.ids import NodeId
from raftgossip.topology import graph
from raftgossip.topology.graph import Arc, Arcs
from raftgossip.topology.plan import EpochPlan, Step, Transfer, check_participants

Steps = tuple[Arcs, ...]
"""The steps of an epoch, over positions 0 … n−1."""


@dataclass(frozen=True, slots=True)
class Topology:
    """How a number of participants becomes steps."""

    steps: Callable[[int], Steps]
    """The steps for n ≥ 2 positions."""
    is_exact: Callable[[int], bool]
    """Whether the steps for n ≥ 2 positions end in the exact mean."""
    shuffles: bool
    """Whether seed and epoch decide who takes which position."""
    can_be_exact: bool
    """Whether a run that needs exact means may name it; where it is not exact itself, `base` stands in for it."""


def make_plan(
    topology: str, participants: tuple[NodeId, ...], epoch: int, seed: int, num_elements: int, *, require_exact: bool
) -> EpochPlan:
    """Derive the exchange of one epoch. `participants`: sorted, each once. `num_elements`: P, from 1 on.

    With `require_exact`, a topology that is not exact for this number of participants (`exponential`, unless the number
    is a power of two) gives the plan of `base`: any number of survivors must get an exact plan in mid-epoch.

    Raises:
        ConfigError: the topology is unknown, or must be exact and cannot be.
        ValueError: the participants are empty, not sorted or not unique, or there are no elements.
    """
    check_topology(topology, require_exact=require_exact)
    check_participants(participants)
    num_nodes = len(participants)
    if num_nodes == 1:
        return EpochPlan(participants, num_elements, (), exact=True)
    chosen = TOPOLOGIES[topology]
    if require_exact and not chosen.is_exact(num_nodes):
        chosen = TOPOLOGIES["base"]
    placed = _shuffled(participants, epoch, seed) if chosen.shuffles else participants
    steps = tuple(_to_step(arcs, placed, num_elements) for arcs in chosen.steps(num_nodes))
    return EpochPlan(participants, num_elements, steps, chosen.is_exact(num_nodes))


def check_topology(topology: str, *, require_exact: bool) -> None:
    """Refuse a topology that no plan can be made from, when a run starts rather than in its first epoch.

    Raises:
        ConfigError: it is unknown (names the nearest), or must be exact and cannot be (names those that can).
    """
    if topology not in TOPOLOGIES:
        nearest = difflib.get_close_matches(topology, TOPOLOGIES, n=2)
        hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
        raise ConfigError(f"topology {topology!r} is unknown; {hint}known are {', '.join(sorted(TOPOLOGIES))}")
    if require_exact and not TOPOLOGIES[topology].can_be_exact:
        exact = ", ".join(sorted(name for name, known in TOPOLOGIES.items() if known.can_be_exact))
        raise ConfigError(f"topology {topology!r} gives no exact mean, which the algorithm needs; exact are {exact}")


def exponential_steps(num_nodes: int) -> Steps:
    """One-peer exponential graph: in step t everybody sends one half to the position 2^t further on.

    Ying, Yuan, Chen, Hu, Pan, Yin: Exponential Graph is Provably Efficient for Decentralized Deep Training, 2021.
    ⌈log2 n⌉ steps, each doubly stochastic; together they are the exact mean iff n is a power of two.
    """
    half = Fraction(1, 2)
    return tuple(
        tuple(Arc(node, (node + 2**step) % num_nodes, half) for node in range(num_nodes))
        for step in range((num_nodes - 1).bit_length())
    )


def base_steps(num_nodes: int, max_degree: int = 1) -> Steps:
    """Base-(k+1) graph with k = `max_degree`: the exact mean for every n, with at most k neighbours in a step.

    Takezawa, Sato, Bao, Niwa, Yamada: Beyond Exponential Graph: Communication-Efficient Topologies for Decentralized
    Learning via Finite-time Convergence, 2023. n = p·q, where q has no prime factor up to k + 1: p groups of q average
    inside themselves (its simple base-(k+1) graph), then the nodes of equal rank, one of each group, average over the
    groups (its k-peer hyper-hypercube). The simple graph on all nodes is taken if it is shorter, so there are at most
    2·log_{k+1} n + 2 steps. For k = 1 and odd q > 1 there are log2 p + 2·⌊log2 q⌋ + 1.

    We differ in leaving out exchanges by which a group repeats an average that it has. The paper needs them, because it
    runs one step per gradient; we run all steps between two trainings, and the product of the matrices is the same.
    """
    nodes = range(num_nodes)
    factors, rest = _split_factors(num_nodes, max_degree + 1)
    groups = [nodes[start : start + rest] for start in range(0, num_nodes, rest)]
    inside = _in_parallel([_simple_base(group, max_degree + 1) for group in groups])
    across = _in_parallel([_hyper_hypercube(nodes[rank::rest], factors) for rank in range(rest)])
    return min(inside + across, _simple_base(nodes, max_degree + 1), key=len)


def _simple_base(nodes: Sequence[int], base: int) -> Steps:
    """The paper's simple base-(k+1) graph, with `base` = k + 1.

    The digits of n in that base cut the nodes into blocks of a·base^p, the largest first. Every block averages inside
    itself. Then one step per block: each node of the smaller blocks exchanges with one node in each of the block's a
    cells of base^p nodes, with shares |block| / (a·|block and smaller ones|), after which every cell and the smaller
    blocks together have the right mean. So cells average inside themselves, while the smaller blocks go on.
    """
    blocks = _blocks(len(nodes), base)
    first = _in_parallel([_hyper_hypercube(nodes[b.start : b.stop], b.factors(base)) for b in blocks])
    tails = []
    for index, block in enumerate(blocks[:-1]):
        rest = nodes[block.stop :]
        share = Fraction(block.size, block.digit * (block.size + len(rest)))
        cells = [nodes[start : start + block.cell] for start in range(block.start, block.stop, block.cell)]
        bridge = _both_ways((node, cell[rank], share) for cell in cells for rank, node in enumerate(rest))
        inside = _in_parallel([_hyper_hypercube(cell, (base,) * block.power) for cell in cells])
        tails.append(((),) * (len(first) + index) + (bridge,) + inside)
    return _in_parallel([first, *tails])


@dataclass(frozen=True, slots=True)
class _Block:
    """`digit` cells of base^power positions each, from `start` on."""

    start: int
    digit: int
    power: int
    cell: int

    @property
    def size(self) -> int:
        return self.digit * self.cell

    @property
    def stop(self) -> int:
        return self.start + self.size

    def factors(self, base: int) -> tuple[int, ...]:
        return (base,) * self.power + ((self.digit,) if self.digit > 1 else ())


def _blocks(num_nodes: int, base: int) -> list[_Block]:
    """One block for each digit of n that is not 0, the most significant first."""
    powers = [0]
    while base ** (powers[0] + 1) <= num_nodes:
        powers.insert(0, powers[0] + 1)
    blocks = []
    start = 0
    for power in powers:
        cell = base**power
        digit = (num_nodes - start) // cell
        if digit:
            blocks.append(_Block(start, digit, power, cell))
            start = blocks[-1].stop
    return blocks


def _hyper_hypercube(nodes: Sequence[int], factors: tuple[int, ...]) -> Steps:
    """The paper's hyper-hypercube: n = f_1·f_2·…; step t averages the f_t nodes whose ranks differ in digit t alone."""
    steps = []
    stride = 1
    for factor in factors:
        starts = [rank for rank in range(len(nodes)) if rank // stride % factor == 0]
        groups = [nodes[start : start + factor * stride : stride] for start in starts]
        share = Fraction(1, factor)
        steps.append(_both_ways((a, b, share) for group in groups for a, b in combinations(group, 2)))
        stride *= factor
    return tuple(steps)


def _split_factors(number: int, largest: int) -> tuple[tuple[int, ...], int]:
    """Divide out factors up to `largest`, the greatest first; the remainder has no prime factor up to `largest`."""
    factors = []
    for factor in range(largest, 1, -1):
        while number % factor == 0:
            factors.append(factor)
            number //= factor
    return tuple(factors), number


def _both_ways(edges: Iterable[tuple[int, int, Fraction]]) -> Arcs:
    return tuple(chain.from_iterable((Arc(a, b, share), Arc(b, a, share)) for a, b, share in edges))


def _in_parallel(schedules: Sequence[Steps]) -> Steps:
    """Run schedules that share no position in a step side by side; the shorter ones end earlier."""
    return tuple(tuple(sorted(chain.from_iterable(arcs))) for arcs in zip_longest(*schedules, fillvalue=()))


def _to_step(arcs: Arcs, placed: Sequence[NodeId], num_elements: int) -> Step:
    transfers = (Transfer(placed[arc.src], placed[arc.dst], 0, num_elements, float(arc.share)) for arc in arcs)
    return Step(tuple(sorted(transfers, key=lambda transfer: (transfer.src, transfer.dst))))


def _shuffled(participants: tuple[NodeId, ...], epoch: int, seed: int) -> tuple[NodeId, ...]:
    """Participants by the SHA-256 of (seed, epoch, rank): no library's generator, so every version agrees.

    The rank and not the id is hashed, so who the participants are changes names in a plan and not its shape.
    """

    def key(rank: int) -> bytes:
        return hashlib.sha256(f"raftgossip order 1\n{seed}\n{epoch}\n{rank}".encode("ascii")).digest()

    return tuple(participants[rank] for rank in sorted(range(len(participants)), key=key))


def _is_power_of_two(num_nodes: int) -> bool:
    return num_nodes & (num_nodes - 1) == 0


TOPOLOGIES: Mapping[str, Topology] = {
    "base": Topology(base_steps, lambda _: True, shuffles=True, can_be_exact=True),
    "exponential": Topology(exponential_steps, _is_power_of_two, shuffles=True, can_be_exact=True),
    "full": Topology(lambda n: (graph.full(n),), lambda _: True, shuffles=False, can_be_exact=True),
    "ring": Topology(lambda n: (graph.ring(n),), lambda n: n <= 3, shuffles=False, can_be_exact=False),
    "star": Topology(lambda n: (graph.star(n),), lambda n: n <= 2, shuffles=False, can_be_exact=False),
    "torus": Topology(lambda n: (graph.torus(n),), lambda n: n <= 3, shuffles=False, can_be_exact=False),
}
"""Every topology that a run may name."""
