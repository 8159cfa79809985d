"""What importing the packages costs: the median over fresh interpreters, and which heavy libraries came along.

Example: .venv/bin/python scripts/import_cost.py
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUM_RUNS = 11

# The clock runs only around the import, so a bare interpreter's own start is not counted.
PROBE = """
import json, sys, time
started_s = time.perf_counter()
import {package}
took_ms = 1000 * (time.perf_counter() - started_s)
print(json.dumps([took_ms, [name for name in {heavy!r} if name in sys.modules]]))
"""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one package may cost: its median in milliseconds, and the libraries that it must not load."""

    package: str
    max_ms: float
    forbidden: tuple[str, ...]


BUDGETS = (
    Budget("raftgossip", max_ms=50, forbidden=("torch", "grpc", "numpy")),
    Budget("gateway", max_ms=400, forbidden=("torch",)),
)
HEAVY = ("torch", "grpc", "numpy")


def measure(package: str) -> tuple[float, list[str]]:
    """Import `package` in a fresh interpreter: the milliseconds beyond a bare one, and what of HEAVY was loaded."""
    code = PROBE.format(package=package, heavy=HEAVY)
    output = subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=True, capture_output=True, text=True).stdout
    took_ms, loaded = json.loads(output)
    return took_ms, loaded


def within(budget: Budget) -> bool:
    """Measure one package, print its line, and say whether it keeps to its budget."""
    measure(budget.package)  # the first import writes the bytecode files, which is not what users wait for
    runs = [measure(budget.package) for _ in range(NUM_RUNS)]
    median_ms = statistics.median(took_ms for took_ms, _ in runs)
    loaded = runs[0][1]
    broken = [name for name in budget.forbidden if name in loaded]
    is_good = median_ms <= budget.max_ms and not broken
    print(
        f"import {budget.package}: median {median_ms:.1f} ms of {NUM_RUNS} runs (at most {budget.max_ms:.0f} ms),"
        f" loaded {', '.join(loaded) or 'none'} of {', '.join(HEAVY)}"
        f" (must not: {', '.join(budget.forbidden)}): {'good' if is_good else 'TOO MUCH'}"
    )
    return is_good


def main() -> int:
    """Measure every package; exit code 1 if one costs more than its budget."""
    results = [within(budget) for budget in BUDGETS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
