"""Break the rules of Raft one at a time, and show which test notices, and after how many simulated clusters.

Each mutation replaces a function in memory, never a file: see tests/support/raft_mutations.py. The golden scripts and
the simulator are asked in turn. Exits 1 if a mutation goes unnoticed by the simulator, or if the unbroken protocol
does not pass either of them.

Example: python scripts/mutate_raft.py
         python scripts/mutate_raft.py --only read-without-majority --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from raftgossip.sim.checks import Violation
from raftgossip.sim.world import simulate
from tests.core.raft.script_runner import run_script
from tests.support.raft_mutations import MUTATIONS, Mutation, applied

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "tests" / "core" / "raft" / "scripts").glob("*.txt"))


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one mutation."""

    number: int
    name: str
    rule: str
    seeds: int
    """Simulated clusters until it was noticed, or all that were allowed."""
    violation: str
    """What the simulator said; empty: it did not notice."""
    scripts: tuple[str, ...]
    """Golden scripts whose output changed."""
    seconds: float


def play(max_seeds: int) -> tuple[int, str]:
    """Simulate the seeds from 0 on until one shows a violation; how many it took, and the violation."""
    for seed in range(max_seeds):
        try:
            simulate(seed)
        except Violation as violation:
            return seed + 1, str(violation)
    return max_seeds, ""


def changed_scripts() -> tuple[str, ...]:
    """Names of the golden scripts that come out differently, or not at all."""
    return tuple(path.stem for path in SCRIPTS if not _comes_out(path.read_text()))


def _comes_out(text: str) -> bool:
    try:
        return run_script(text) == text
    except (AssertionError, RuntimeError, LookupError, ValueError):
        return False


def examine(name: str, mutation: Mutation | None, max_seeds: int) -> Finding:
    """Break one rule (None: none) and see who notices."""
    started = time.perf_counter()
    with applied(mutation) if mutation is not None else nullcontext():
        scripts = changed_scripts()
        seeds, violation = play(max_seeds)
    number, rule = (mutation.number, mutation.rule) if mutation is not None else (0, "nothing is broken")
    return Finding(number, name, rule, seeds, violation, scripts, round(time.perf_counter() - started, 1))


def show(finding: Finding) -> None:
    """One mutation in three lines."""
    place = str(finding.number) if finding.number else "-"
    state = f"caught by seed {finding.seeds - 1}, after {finding.seeds}" if finding.violation else "NOT NOTICED"
    print(f"{place:>2}  {finding.name}: {finding.rule}")
    print(f"    simulation: {state} ({finding.seconds} s)  {' '.join(finding.violation.split())[:160]}")
    shown = ", ".join(finding.scripts[:3]) + (" ..." if len(finding.scripts) > 3 else "")
    print(f"    golden scripts that fail: {len(finding.scripts)}  {shown}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments, examine, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(MUTATIONS), action="append", help="examine this one; may be repeated")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args(arguments)
    names = options.only or list(MUTATIONS)
    sound = examine("unbroken", None, max_seeds=10)
    findings = [sound]
    for name in names:
        findings.append(examine(name, MUTATIONS[name], MUTATIONS[name].max_seeds))
        if options.json:
            print(json.dumps(asdict(findings[-1])), flush=True)
        else:
            show(findings[-1])
    if sound.violation or sound.scripts:
        print(f"the unbroken protocol fails: {sound.violation or sound.scripts}", file=sys.stderr)
        return 1
    missed = [finding.name for finding in findings[1:] if not finding.violation]
    listed = {finding.number for finding in findings[1:] if finding.number and finding.violation}
    print(
        f"{len(findings) - 1 - len(missed)} of {len(findings) - 1} mutations caught, "
        f"{len(listed)} of the 15 listed faults",
        file=sys.stderr,
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
