"""The gate: format, lint, types, fresh stubs and the tests; with --fast, all but the tests.

Example: .venv/bin/python scripts/check.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

CHECKS = {
    "lint": ("-m", "ruff", "check", "."),
    "format": ("-m", "ruff", "format", "--check", "."),
    "types": ("-m", "mypy"),
    "stubs": ("scripts/genproto.py", "--check"),
}
TESTS = ("-m", "pytest", "-q", "-m", "not long")


def run(name: str, arguments: tuple[str, ...]) -> bool:
    """Run one check with this interpreter, its output passed on; true if it passed."""
    print(f"== {name}: python {' '.join(arguments)}", flush=True)
    started_s = time.perf_counter()
    code = subprocess.run((sys.executable, *arguments), cwd=ROOT, check=False).returncode
    took_s = time.perf_counter() - started_s
    print(f"== {name}: {'passed' if code == 0 else f'FAILED with {code}'} in {took_s:.1f} s", flush=True)
    return code == 0


def main() -> int:
    """Run all checks, also after one failed, and name those that did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fast", action="store_true", help="skip the tests")
    checks = CHECKS if parser.parse_args().fast else {**CHECKS, "tests": TESTS}
    failed = [name for name, arguments in checks.items() if not run(name, arguments)]
    if failed:
        print(f"failed: {', '.join(failed)}")
        return 1
    print(f"passed: {', '.join(checks)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
