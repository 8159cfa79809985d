"""What the Raft benchmarks share: their options, and how a figure is shown."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # the processes that are measured are those of the tests

COMMAND_BYTES = 256


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a result; a ratio is ours / baseline, and None where there is no baseline."""

    figure: str
    value: float
    unit: str
    baseline: str = ""
    baseline_value: float | None = None
    ratio: float | None = None

    @classmethod
    def of_pairs(cls, name: str, unit: str, baseline: str, pairs: Sequence[tuple[float, float | None]]) -> Figure:
        """Medians of values that were measured in turn; the ratio is the median of the pairs' ratios, since a busy
        machine slows neighbours in time alike."""
        value = statistics.median(ours for ours, _ in pairs)
        both = [(ours, theirs) for ours, theirs in pairs if theirs is not None]
        if not both:
            return cls(name, value, unit)
        ratio = statistics.median(ours / max(theirs, 1e-9) for ours, theirs in both)
        return cls(name, value, unit, baseline, statistics.median(theirs for _, theirs in both), ratio)


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all of them have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="short and few runs: too little for a figure to quote")
    made.add_argument("--json", action="store_true", help="one JSON object per figure and line, as soon as it is known")
    return made


def show(figures: Iterable[Figure], title: str, *, as_json: bool) -> None:
    """Print them: for machines each at once, for people a table at the end."""
    if as_json:
        for figure in figures:
            print(json.dumps(asdict(figure)), flush=True)
        return
    table = Table(Column("figure", no_wrap=True), "ours", "unit", "baseline", "its value", "ratio", title=title)
    for figure in figures:
        print(f"{figure.figure}: {_text(figure.value)} {figure.unit}", file=sys.stderr, flush=True)
        cells = (figure.figure, _text(figure.value), figure.unit, figure.baseline)
        table.add_row(*cells, _text(figure.baseline_value), _text(figure.ratio))
    Console().print(table)


def note(text: str) -> None:
    """Tell a person what is going on, beside the result."""
    print(text, file=sys.stderr, flush=True)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
