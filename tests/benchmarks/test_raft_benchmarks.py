"""The Raft benchmarks run, judge what they saw, and print what `raftgossip bench` reads; not how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["figure", "value", "unit", "baseline", "baseline_value", "ratio"]


def run(name: str, *arguments: str) -> tuple[list[dict[str, object]], str]:
    """Run a benchmark; its lines, and what it told a person."""
    ended = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / f"{name}.py"), "--quick", "--json", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    for line in lines:
        assert list(line) == KEYS
        assert isinstance(line["value"], float) and line["value"] > 0
    return lines, ended.stderr


def names(lines: list[dict[str, object]]) -> list[object]:
    return [line["figure"] for line in lines]


@pytest.mark.slow
def test_commits_and_reads_of_a_real_cluster() -> None:
    lines, _ = run("raft_commit", "--no-baseline", "--voters", "3")
    assert names(lines) == [
        "raft.commits.p1",
        "raft.commits.p16",
        "raft.p99_ms.p64",
        "raft.commits.p128",
        "raft.reads.p16",
    ]


@pytest.mark.slow
def test_a_killed_leader_is_replaced_and_nothing_is_lost_or_done_twice() -> None:
    lines, said = run("raft_failover", "--no-baseline")
    assert names(lines) == ["raft.failover.median_s", "raft.failover.p99_s"]
    assert "none lost, none executed twice" in said


@pytest.mark.slow
def test_a_follower_catches_up_by_log_and_by_snapshot() -> None:
    lines, said = run("raft_catch_up")
    figures = ("seconds", "entries_per_s", "commits_per_s")
    assert names(lines) == [f"raft.catch_up.{way}.{figure}" for way in ("log", "snapshot") for figure in figures]
    assert "snapshot: " in said


@pytest.mark.slow
def test_an_idle_cluster_costs_something() -> None:
    lines, _ = run("raft_idle")
    assert names(lines) == ["raft.idle.cpu_percent"]


@pytest.mark.slow
def test_the_simulator_plays_seeds() -> None:
    lines, _ = run("raft_simulation", "--seeds", "2")
    assert names(lines) == ["raft.simulation.events_per_s", "raft.simulation.seeds_per_s"]
