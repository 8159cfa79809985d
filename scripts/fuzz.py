"""Feed junk to every request of gateway and peer, and to the parsers of tokens and certificates.

Two engines: hypothesis changes valid inputs here and there; atheris (libFuzzer) looks for inputs that reach new code.
Ends with 1 and the input if anything but a documented refusal came out.

Example: .venv/bin/python scripts/fuzz.py --executions 200000
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

MAX_BYTES = 4096
BATCH = 5_000
"""Hypothesis grows slower the more it remembers of one run."""


def mutated(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Any bytes, and valid inputs with a few places overwritten, cut out or doubled."""

    def change(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for start, length, new in edits:
            at = start % (len(data) + 1)
            data = data[:at] + new + data[at + length :]
        return data[: 16 * MAX_BYTES]

    edit = st.tuples(st.integers(0, MAX_BYTES), st.integers(0, 16), st.binary(max_size=16))
    return st.binary(max_size=MAX_BYTES) | st.builds(change, st.sampled_from(seeds), st.lists(edit, max_size=4))


def by_hypothesis(target: Callable[[bytes], None], seeds: tuple[bytes, ...], executions: int, seed: int) -> int:
    """So many executions; returns how many ran. What the target raises goes through."""
    count = 0

    def run(examples: int, number: int) -> None:
        @seeded(seed + number)
        @settings(
            max_examples=examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(mutated(seeds))
        def fuzz(data: bytes) -> None:
            nonlocal count
            count += 1
            target(data)

        fuzz()

    number = 0
    while count < executions:
        before = count
        run(min(BATCH, executions - count), number)
        number += 1
        if count == before:  # everything there is has been tried
            break
    return count


def by_atheris(name: str, executions: int, seed: int) -> int:
    """The same in a process of its own, which libFuzzer ends itself; returns the executions that it reports."""
    with tempfile.TemporaryDirectory() as folder:
        ended = subprocess.run(
            [sys.executable, __file__, "--atheris-child", name, folder, str(executions), str(seed)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    if ended.returncode != 0:
        raise AssertionError(f"atheris found a fault in {name}:\n{ended.stderr[-4000:]}")
    done = [line for line in ended.stderr.splitlines() if line.startswith("Done ")]
    return int(done[-1].split()[1]) if done else 0


def atheris_child(name: str, folder: str, executions: str, seed: str) -> None:
    """Runs in the child: never returns."""
    import atheris

    with atheris.instrument_imports(include=["raftgossip", "gateway"]):
        from tests.support import fuzz_targets
    target = fuzz_targets.TARGETS[name]
    corpus = Path(folder) / "corpus"
    corpus.mkdir()
    for number, data in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(data)
    atheris.Setup(
        [sys.argv[0], str(corpus), f"-atheris_runs={executions}", f"-seed={seed}", f"-max_len={MAX_BYTES}"],
        target.run,
    )
    atheris.Fuzz()


def main() -> int:
    """Fuzz all targets, or one; prints a line for each."""
    if sys.argv[1:2] == ["--atheris-child"]:
        atheris_child(*sys.argv[2:])
        return os.EX_SOFTWARE
    from tests.support.fuzz_targets import TARGETS, close_servers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=20_000, help="in all, shared out; default: %(default)s")
    parser.add_argument("--engine", choices=("hypothesis", "atheris", "both"), default="both")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    names = options.target or sorted(TARGETS)
    engines = ("hypothesis", "atheris") if options.engine == "both" else (options.engine,)
    share = max(1, -(-options.executions // len(names)))
    total, started_s = 0, time.perf_counter()
    for name in names:
        counts, target = {}, TARGETS[name]
        usable = [engine for engine in engines if engine in target.engines]
        each = -(-share // max(1, len(usable)))
        if "hypothesis" in usable:
            counts["hypothesis"] = by_hypothesis(target.run, target.seeds, each, options.seed)
        if "atheris" in usable:
            counts["atheris"] = by_atheris(name, each, options.seed)
        total += sum(counts.values())
        print(f"{name}: " + ", ".join(f"{count:,} by {engine}" for engine, count in counts.items()), flush=True)
    close_servers()
    print(f"{total:,} executions of {len(names)} targets in {time.perf_counter() - started_s:.0f} s, no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
