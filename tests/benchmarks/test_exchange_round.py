"""The exchange benchmark runs, checks its own results and prints what `raftgossip bench` reads; not how fast it is."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "exchange_round.py"
NUM_ELEMENTS = 70_000  # more than one table, less than one chunk


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.fixture
def benchmark_module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark as a module, although benchmarks are no package."""
    spec = importlib.util.spec_from_file_location("exchange_round", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "exchange_round", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_figure_is_one_json_object_with_the_fixed_keys() -> None:
    ended = run("--quick", "--json", "--elements", str(NUM_ELEMENTS))

    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    names = ["exchange.exact4.70000e", "exchange.step.grpc.70000e"]
    if sys.platform == "linux":
        names.insert(1, "exchange.rss.70000e")
    assert [line["figure"] for line in lines] == names
    for line in lines:
        assert list(line) == ["figure", "value", "unit", "baseline", "baseline_value", "ratio"]
        assert line["unit"] in ("s", "models", "GB/s") and line["baseline"]
        assert line["value"] > 0 and line["ratio"] >= 0
    assert "quick: 2 pairs" in ended.stderr


@pytest.mark.slow
def test_an_empty_vector_is_refused_before_anything_starts() -> None:
    ended = run("--elements", "0")
    assert ended.returncode == 2 and "--elements must be 1 or more" in ended.stderr


def test_the_check_takes_the_mean_and_nothing_else(benchmark_module: ModuleType) -> None:
    vectors = [benchmark_module.vector_of(rank, NUM_ELEMENTS) for rank in range(4)]
    mean = np.asarray(np.mean(vectors, axis=0, dtype=np.float64), dtype=np.float32)

    benchmark_module.check_mean(mean, 4)
    benchmark_module.check_mean(4 * mean, 4, scale=4)
    with pytest.raises(ValueError, match="element 0 is not the mean"):
        benchmark_module.check_mean(vectors[0], 4)
    mean[NUM_ELEMENTS - 1] += 1e-3
    with pytest.raises(ValueError, match=f"element {NUM_ELEMENTS - 1} is not the mean"):
        benchmark_module.check_mean(mean, 4)
