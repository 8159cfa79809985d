"""Plans from ledger entries: exact where they say so, the same on every peer, other partners in every epoch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from raftgossip.errors import ConfigError
from raftgossip.topology.plan import EpochPlan
from raftgossip.topology.schedule import TOPOLOGIES, check_topology, make_plan
from tests.topology.matrices import nodes, plan_for, plan_matrix, push_sum, step_matrix

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-12
"""Doubles round at 1.1e-16; some hundred roundings of sums of 130 terms stay well below."""

EXACT = ["base", "exponential", "full"]
APPROXIMATE = ["ring", "star", "torus"]


def is_mean(plan: EpochPlan) -> bool:
    return bool(np.abs(plan_matrix(plan) - 1 / len(plan.participants)).max() <= TOLERANCE)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_plan_is_exact_iff_its_matrices_multiply_to_the_mean(topology: str) -> None:
    wrong = [n for n in range(1, 40) if plan_for(topology, n).exact != is_mean(plan_for(topology, n))]
    assert wrong == []


@pytest.mark.parametrize("topology", EXACT)
def test_an_exact_plan_for_any_number_of_survivors(topology: str) -> None:
    plans = [plan_for(topology, n, require_exact=True) for n in (*range(1, 40), 64, 65, 127, 128, 130)]
    assert all(plan.exact and is_mean(plan) for plan in plans)


@pytest.mark.parametrize("topology", EXACT)
@pytest.mark.parametrize("num_nodes", [1, 2, 3, 4, 5, 7, 8, 13, 32, 57, 130])
def test_push_sum_reaches_the_mean_weighted_by_any_masses(topology: str, num_nodes: int) -> None:
    rng = np.random.default_rng(num_nodes)
    vectors = rng.normal(size=(num_nodes, 10))
    masses = 10.0 ** rng.uniform(-2, 4, size=num_nodes)
    models, final_masses = push_sum(plan_for(topology, num_nodes, require_exact=True), vectors, masses)
    expected = np.average(vectors, axis=0, weights=masses)
    np.testing.assert_allclose(models, np.tile(expected, (num_nodes, 1)), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(final_masses, masses.mean(), rtol=TOLERANCE)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_every_step_is_doubly_stochastic(topology: str) -> None:
    for n in range(1, 40):
        plan = plan_for(topology, n)
        for step in plan.steps:
            matrix = step_matrix(step, plan.participants)
            assert (matrix >= 0).all()
            np.testing.assert_allclose(matrix.sum(axis=0), 1, rtol=TOLERANCE)
            np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=TOLERANCE)


@pytest.mark.parametrize("topology", APPROXIMATE)
def test_repeating_an_approximate_plan_still_approaches_the_mean(topology: str) -> None:
    for n in range(2, 20):
        often = np.linalg.matrix_power(plan_matrix(plan_for(topology, n)), 2000)
        assert np.abs(often - 1 / n).max() <= TOLERANCE


def test_exponential_takes_as_many_steps_as_doublings_reach_everybody() -> None:
    lengths = {n: len(plan_for("exponential", n).steps) for n in (1, 2, 3, 4, 5, 8, 9, 64)}
    assert lengths == {1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 8: 3, 9: 4, 64: 6}


@pytest.mark.parametrize(("topology", "num_steps"), [("ring", 1), ("full", 1), ("star", 1), ("torus", 1)])
def test_fixed_graphs_take_one_step(topology: str, num_steps: int) -> None:
    assert len(plan_for(topology, 9).steps) == num_steps


@pytest.mark.parametrize(("topology", "degree"), [("base", 1), ("exponential", 2), ("ring", 2), ("full", 8)])
def test_nobody_has_more_neighbours_than_the_topology_promises(topology: str, degree: int) -> None:
    plan = plan_for(topology, 9)
    assert max(len(step.neighbours(node)) for step in plan.steps for node in plan.participants) == degree


def test_exponential_gives_way_to_base_only_where_it_must_be_exact_and_is_not() -> None:
    for n in range(1, 34):
        is_power = n & (n - 1) == 0
        required = plan_for("exponential", n, require_exact=True)
        assert required.digest == plan_for("exponential" if is_power else "base", n).digest
        assert plan_for("exponential", n).exact == is_power


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_a_single_participant_exchanges_nothing_and_is_exact(topology: str) -> None:
    plan = plan_for(topology, 1)
    assert plan.steps == () and plan.exact


def test_every_transfer_covers_the_whole_vector() -> None:
    plan = make_plan("base", nodes(3, 8, 9), 1, 7, 12_345, require_exact=True)
    assert plan.num_elements == 12_345
    assert {(t.start, t.stop) for step in plan.steps for t in step.transfers} == {(0, 12_345)}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_other_ids_in_the_same_order_give_the_same_plan_with_other_names(topology: str) -> None:
    names = dict(
        zip(nodes(*range(1, 12)), nodes(2, 3, 5, 70, 110, 111, 400, 5000, 6000, 2**30, 2**31 - 1), strict=True)
    )
    plan = plan_for(topology, 11, epoch=3)
    renamed = make_plan(topology, tuple(names.values()), 3, 7, 10, require_exact=False)
    expected = [[(names[t.src], names[t.dst], t.share) for t in step.transfers] for step in plan.steps]
    assert [[(t.src, t.dst, t.share) for t in step.transfers] for step in renamed.steps] == expected


@pytest.mark.parametrize("topology", ["base", "exponential"])
def test_partners_change_with_epoch_and_seed(topology: str) -> None:
    plans = [plan_for(topology, 9, epoch=epoch, seed=seed) for epoch in range(1, 11) for seed in (0, 1)]
    assert len({plan.digest for plan in plans}) == len(plans)


@pytest.mark.parametrize("topology", ["ring", "star", "torus", "full"])
def test_fixed_graphs_keep_their_neighbours(topology: str) -> None:
    assert plan_for(topology, 9, epoch=1, seed=0) == plan_for(topology, 9, epoch=2, seed=5)


def test_over_the_epochs_everybody_meets_everybody_about_equally_often() -> None:
    """7 = 4 + 2 + 1; over 600 epochs each of the 21 pairs meets about 400 times, give or take a fifth (3 sigma)."""
    meetings = np.zeros((7, 7))
    for epoch in range(600):
        for step in plan_for("base", 7, epoch=epoch).steps:
            for transfer in step.transfers:
                meetings[transfer.src - 1, transfer.dst - 1] += 1
    pairs = meetings[~np.eye(7, dtype=bool)]
    assert np.abs(pairs / pairs.mean() - 1).max() < 0.2


def test_an_unknown_topology_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="'exponentail' is unknown; did you mean exponential"):
        make_plan("exponentail", nodes(1, 2), 1, 7, 10, require_exact=False)
    with pytest.raises(ConfigError, match="'zzz' is unknown; known are base, exponential, full, ring, star, torus"):
        check_topology("zzz", require_exact=False)


@pytest.mark.parametrize("topology", APPROXIMATE)
@pytest.mark.parametrize("num_nodes", [1, 2, 3, 4])
def test_a_topology_that_is_never_exact_in_general_is_refused_where_exactness_is_needed(
    topology: str, num_nodes: int
) -> None:
    """Also for the few numbers for which it would be exact: what starts must not fail when a peer joins."""
    with pytest.raises(ConfigError, match="exact are base, exponential, full"):
        plan_for(topology, num_nodes, require_exact=True)
    check_topology(topology, require_exact=False)


@pytest.mark.parametrize("participants", [(), (2, 1), (1, 1, 2), (1, 3, 2)])
def test_participants_that_are_not_sorted_and_unique_are_refused(participants: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="participant"):
        make_plan("base", nodes(*participants), 1, 7, 10, require_exact=True)


def test_a_vector_without_elements_is_refused() -> None:
    for participants in (nodes(1), nodes(1, 2)):
        with pytest.raises(ValueError, match="element"):
            make_plan("base", participants, 1, 7, 0, require_exact=True)


def test_another_process_with_another_hash_seed_derives_the_same_plans() -> None:
    script = (
        "from raftgossip.topology.schedule import TOPOLOGIES, make_plan\n"
        "for name in sorted(TOPOLOGIES):\n"
        "    print(make_plan(name, tuple(range(1, 8)), 3, 7, 10, require_exact=False).digest.hex())\n"
    )
    expected = [plan_for(name, 7, epoch=3).digest.hex() for name in sorted(TOPOLOGIES)]
    for hash_seed in ("1", "4711"):
        run = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert run.stdout.split() == expected
