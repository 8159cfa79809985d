"""Plans as they were when they were frozen: peers of two versions must derive the same ones.

`plans.txt` shows each plan as a reader would write it. Look for partners, shares and digests that changed: then nodes
of the old and the new version cannot exchange with each other. If that is wanted, rewrite the file with
`python -m tests.topology.test_golden_plans` and read the difference line by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from raftgossip.topology.plan import EpochPlan
from raftgossip.topology.schedule import TOPOLOGIES
from tests.topology.matrices import plan_for

GOLDEN = Path(__file__).with_name("plans.txt")
SHOWN = [*((name, n) for name in sorted(TOPOLOGIES) for n in (2, 3, 4, 5, 6)), ("base", 7)]
HASHED = [(name, n) for name in sorted(TOPOLOGIES) for n in (12, 33, 64, 100)]


def golden_lines() -> Iterator[str]:
    """The small plans in full, of larger ones the digest. Nodes 1 … n, epoch 1, seed 7, 10 elements."""
    for topology, num_nodes in SHOWN:
        plan = plan_for(topology, num_nodes)
        yield f"{topology} {num_nodes} {describe(plan)}"
        for step in plan.steps:
            shares = ((t.src, t.dst, Fraction(t.share).limit_denominator(1000)) for t in step.transfers)
            yield "    " + ", ".join(f"{src}→{dst} {share}" for src, dst, share in shares)
    for topology, num_nodes in HASHED:
        yield f"{topology} {num_nodes} {describe(plan_for(topology, num_nodes))}"


def describe(plan: EpochPlan) -> str:
    return f"{'exact' if plan.exact else 'approximate'} {len(plan.steps)} {plan.digest.hex()}"


def test_plans_are_those_that_earlier_versions_derive() -> None:
    assert list(golden_lines()) == GOLDEN.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(golden_lines()) + "\n", encoding="utf-8")
