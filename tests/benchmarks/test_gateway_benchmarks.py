"""The gateway benchmarks run, judge what they saw, and print what `raftgossip bench` reads; not how fast it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEYS = ["figure", "value", "unit", "baseline", "baseline_value", "ratio"]


def run(name: str, *arguments: str) -> dict[str, float]:
    """Run a benchmark; its figures by name."""
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
    assert all(list(line) == KEYS for line in lines)
    return {line["figure"]: line["value"] for line in lines}


@pytest.mark.long
def test_heartbeats_over_tls_and_held_nodes() -> None:
    figures = run("gateway_load", "--only", "heartbeats", "--only", "hold")

    assert list(figures) == [
        "gateway.heartbeats.mtls",
        "gateway.heartbeats.mtls.p50_ms",
        "gateway.heartbeats.mtls.p99_ms",
        "gateway.heartbeats.mtls.c1",
        "gateway.rss_mb.10k",
        "gateway.false_expiries",
    ]
    assert figures["gateway.heartbeats.mtls"] > 0
    assert figures["gateway.false_expiries"] == 0


@pytest.mark.long
def test_a_gateway_that_restarts_is_whole_again() -> None:
    figures = run("gateway_restart")

    assert figures["gateway.restart.disk.known"] == 1.0
    assert figures["gateway.restart.empty.known"] < 1.0
