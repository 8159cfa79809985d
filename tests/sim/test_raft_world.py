"""The Raft core under faults: many seeds, all invariants after every step, and broken rules that must be noticed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from raftgossip.sim.checks import Violation
from raftgossip.sim.world import simulate
from tests.support.raft_mutations import MUTATIONS, Mutation, applied

ROOT = Path(__file__).resolve().parents[2]
NUM_SEEDS = 300
SEEDS_PER_TEST = 20
REPEATED_SEEDS = range(0, 40, 4)

DIGESTS_PROGRAM = """
import hashlib, sys
from raftgossip.sim.world import simulate
for seed in map(int, sys.argv[1:]):
    lines = []
    simulate(seed, 1000, lines.append)
    print(hashlib.sha256("\\n".join(lines).encode()).hexdigest())
"""


def event_log(seed: int) -> bytes:
    """Everything that happened in one run, a line each."""
    lines: list[str] = []
    simulate(seed, 1000, lines.append)
    return "\n".join(lines).encode()


def play(seeds: range) -> None:
    """One after the other."""
    for seed in seeds:
        simulate(seed)


@pytest.mark.parametrize("first_seed", range(0, NUM_SEEDS, SEEDS_PER_TEST))
def test_no_seed_breaks_an_invariant_and_each_ends_with_a_leader_and_fresh_commits(first_seed: int) -> None:
    outcomes = [simulate(seed) for seed in range(first_seed, first_seed + SEEDS_PER_TEST)]
    # A world in which nothing goes wrong would prove nothing.
    assert min(outcome.num_events for outcome in outcomes) >= 4000
    assert sum(outcome.num_elections for outcome in outcomes) >= 4 * SEEDS_PER_TEST
    assert sum(outcome.num_crashes for outcome in outcomes) >= 4 * SEEDS_PER_TEST
    assert sum(outcome.num_committed for outcome in outcomes) >= 40 * SEEDS_PER_TEST
    assert sum(outcome.num_changes for outcome in outcomes) >= SEEDS_PER_TEST
    assert sum(outcome.num_joint for outcome in outcomes) >= SEEDS_PER_TEST // 10
    assert sum(outcome.num_snapshots for outcome in outcomes) >= SEEDS_PER_TEST
    assert sum(outcome.num_installed for outcome in outcomes) >= SEEDS_PER_TEST
    assert sum(outcome.num_answered for outcome in outcomes) >= 20 * SEEDS_PER_TEST


@pytest.mark.parametrize("seed", REPEATED_SEEDS)
def test_two_runs_of_a_seed_log_the_same_bytes(seed: int) -> None:
    first = event_log(seed)
    assert first.count(b"\n") >= 1000
    assert event_log(seed) == first


def test_the_seed_changes_the_run() -> None:
    assert event_log(1) != event_log(2)


@pytest.mark.parametrize("hash_seed", ["1", "12345"])
def test_a_run_does_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    seeds = [str(seed) for seed in REPEATED_SEEDS]
    finished = subprocess.run(
        [sys.executable, "-c", DIGESTS_PROGRAM, *seeds],
        cwd=ROOT,
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert finished.stdout.split() == [hashlib.sha256(event_log(seed)).hexdigest() for seed in REPEATED_SEEDS]


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS.keys())
def test_a_broken_rule_is_noticed_within_the_stated_number_of_seeds(mutation: Mutation) -> None:
    with applied(mutation), pytest.raises(Violation, match=r"^seed \d+, step \d+, at \d+ ms: "):
        play(range(mutation.first_seed, mutation.max_seeds))


def test_the_mutations_cover_every_listed_fault() -> None:
    assert {mutation.number for mutation in MUTATIONS.values()} == set(range(16))


def test_replay_shows_the_same_lines_as_the_run_itself() -> None:
    finished = subprocess.run(
        [sys.executable, "scripts/replay.py", "--seed", "5", "--events", "1000"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    _, *lines = [line for line in finished.stdout.splitlines() if not line.startswith("0 Knobs")]
    assert "\n".join(lines) == event_log(5).decode().split("\n", 1)[1]


def test_replay_of_a_broken_run_names_seed_and_step_and_fails() -> None:
    finished = subprocess.run(
        [sys.executable, "scripts/replay.py", "--seed", "0", "--mutation", "vote-not-saved"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    assert "VIOLATION seed 0, step " in finished.stderr


def test_a_mutation_is_taken_back() -> None:
    mutation = MUTATIONS["vote-without-log-check"]
    owner, name, replacement = mutation.patches[0]
    with applied(mutation):
        assert getattr(owner, name) is replacement
    assert getattr(owner, name) is not replacement
