"""Plans as matrices, and push-sum on plain arrays: what the tests of this folder compare plans with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from raftgossip.ids import NodeId
from raftgossip.topology.plan import EpochPlan, Step
from raftgossip.topology.schedule import make_plan

Matrix = npt.NDArray[np.float64]


def nodes(*ids: int) -> tuple[NodeId, ...]:
    """Numbers as node ids."""
    return tuple(NodeId(node) for node in ids)


def plan_for(topology: str, num_nodes: int, epoch: int = 1, seed: int = 7, require_exact: bool = False) -> EpochPlan:
    """A plan for nodes 1 … n and vectors of 10 elements."""
    return make_plan(topology, nodes(*range(1, num_nodes + 1)), epoch, seed, 10, require_exact=require_exact)


def step_matrix(step: Step, participants: tuple[NodeId, ...]) -> Matrix:
    """W with x_after = W @ x_before."""
    index = {node: position for position, node in enumerate(participants)}
    matrix = np.diag([step.self_share(node) for node in participants])
    for transfer in step.transfers:
        matrix[index[transfer.dst], index[transfer.src]] = transfer.share
    return matrix


def plan_matrix(plan: EpochPlan) -> Matrix:
    """What all steps together do."""
    product = np.eye(len(plan.participants))
    for step in plan.steps:
        product = step_matrix(step, plan.participants) @ product
    return product


def push_sum(
    plan: EpochPlan, vectors: Matrix, masses: npt.NDArray[np.float64]
) -> tuple[Matrix, npt.NDArray[np.float64]]:
    """What each participant holds at the end, by what it keeps and receives: (n, P) vectors and (n,) masses."""
    index = {node: position for position, node in enumerate(plan.participants)}
    weighted = vectors * masses[:, np.newaxis]
    for step in plan.steps:
        kept = np.array([step.self_share(node) for node in plan.participants])
        new_weighted, new_masses = weighted * kept[:, np.newaxis], masses * kept
        for node in plan.participants:
            for transfer in step.incoming(node):
                new_weighted[index[node]] += transfer.share * weighted[index[transfer.src]]
                new_masses[index[node]] += transfer.share * masses[index[transfer.src]]
        weighted, masses = new_weighted, new_masses
    return weighted / masses[:, np.newaxis], masses
