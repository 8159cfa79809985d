"""Pictures of a run. matplotlib comes with the extra [observe], and is imported only when something is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raftgossip.errors import ConfigError

INK, GREY, FAINT, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
SHARED, POOLED, ALONE, LOSS = "#0b6e99", "#2f9e44", "#e8820c", "#6741d9"
MARK_COLOURS = {"kill": "#d6336c", "restart": "#2f9e44", "back": "#0b6e99"}
SIZE_INCHES = (11.0, 8.2)
DOTS_PER_INCH = 150
MARK_LEVELS = 4
"""So many texts fit above one another over the picture."""
CHARACTER_WIDTH, LEVEL_HEIGHT = 0.0087, 0.05
"""Of the texts there, as parts of the upper picture."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment."""

    position: float
    """Counted in epochs."""
    text: str
    kind: str
    """`kill`, `restart` or `back`: the colour."""


@dataclass(frozen=True, slots=True)
class RunPicture:
    """What is drawn: all sequences have an entry per epoch, from epoch 1 on; None where there is no value."""

    title: str
    subtitle: str
    accuracy: Sequence[float | None]
    loss: Sequence[float | None]
    alone: Sequence[float]
    """Mean accuracy of the peers that train alone."""
    alone_range: tuple[Sequence[float], Sequence[float]]
    """The worst and the best of them."""
    pooled: Sequence[float]
    target: float
    participants: Sequence[Sequence[int]]
    leaders: Sequence[int]
    nodes: Sequence[int]
    marks: Sequence[Mark]


def draw_run(path: Path, picture: RunPicture) -> None:
    """Write a PNG: accuracy and loss over the epochs, who took part and who led, and when what was killed.

    Raises:
        ConfigError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError("no picture, for that needs matplotlib: pip install 'raftgossip[observe]'") from None
    figure = Figure(figsize=SIZE_INCHES, facecolor=PAPER)
    heights = {"height_ratios": [3.4, 1.2, 0.28 * len(picture.nodes) + 0.15], "hspace": 0.16}
    top, middle, bottom = figure.subplots(3, 1, sharex=True, gridspec_kw=heights)
    figure.subplots_adjust(left=0.085, right=0.83, top=0.80, bottom=0.075)
    _draw_accuracy(top, picture)
    _draw_loss(middle, picture)
    _draw_participation(bottom, picture)
    for axes in (top, middle, bottom):
        for mark in picture.marks:
            axes.axvline(mark.position, color=MARK_COLOURS[mark.kind], linewidth=1.2, linestyle=(0, (4, 2)), zorder=1.5)
    _write_marks(top, picture.marks)
    figure.text(0.085, 0.965, picture.title, fontsize=15, fontweight="bold", color=INK, va="top")
    figure.text(0.085, 0.928, picture.subtitle, fontsize=10, color=GREY, va="top")
    figure.savefig(path, dpi=DOTS_PER_INCH, facecolor=PAPER)


def _draw_accuracy(axes: Any, picture: RunPicture) -> None:
    epochs = range(1, len(picture.accuracy) + 1)
    baseline = range(1, len(picture.pooled) + 1)
    axes.fill_between(baseline, *picture.alone_range, color=ALONE, alpha=0.13, linewidth=0)
    axes.plot(baseline, picture.alone, color=ALONE, linewidth=1.6)
    axes.plot(baseline, picture.pooled, color=POOLED, linewidth=1.6)
    axes.axhline(picture.target, color=GREY, linewidth=1, linestyle=":")
    axes.plot(epochs, _gaps(picture.accuracy), color=SHARED, linewidth=2.4, marker="o", markersize=3.8, zorder=3)
    shown = [value for value in (*picture.accuracy, *picture.alone_range[0], *picture.pooled) if value is not None]
    lowest = min(shown, default=0.0)
    axes.set_ylim(max(0.0, lowest - 0.03), 1.015)
    _dress(axes, "accuracy on held-out data")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    last = next((value for value in reversed(picture.accuracy) if value is not None), None)
    labels = [
        (picture.pooled[-1], f"{picture.pooled[-1]:.1%}  one machine,\nall data", POOLED, "normal"),
        (picture.alone[-1], f"{picture.alone[-1]:.1%}  peers alone,\nmean and range", ALONE, "normal"),
        (picture.target, f"{picture.target:.0%}  target", GREY, "normal"),
    ]
    if last is not None:
        labels.append((last, f"{last:.1%}  shared model", SHARED, "bold"))
    _label_right(axes, labels)


def _draw_loss(axes: Any, picture: RunPicture) -> None:
    epochs = range(1, len(picture.loss) + 1)
    axes.plot(epochs, _gaps(picture.loss), color=LOSS, linewidth=1.8, zorder=3)
    axes.set_ylim(bottom=0)
    _dress(axes, "loss (nats)")


def _draw_participation(axes: Any, picture: RunPicture) -> None:
    """A row for each peer: a bar where its model is in the average, a star where it led."""
    rows = {node: row for row, node in enumerate(picture.nodes)}
    for index, present in enumerate(picture.participants):
        for node, row in rows.items():
            colour = SHARED if node in present else FAINT
            axes.barh(row, 0.86, left=index + 0.57, height=0.66, color=colour, alpha=0.75, linewidth=0, zorder=2)
    for index, leader in enumerate(picture.leaders):
        if leader in rows:
            colour = PAPER if leader in picture.participants[index] else SHARED
            axes.plot(index + 1, rows[leader], marker="*", markersize=8, color=colour, markeredgewidth=0, zorder=4)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [f"peer {node}" for node in picture.nodes])
    _dress(axes, "")
    axes.grid(visible=False)
    axes.set_xlim(0.4, max(len(picture.participants), len(picture.pooled)) + 0.6)
    axes.set_xlabel("epoch", color=INK, fontsize=10)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.text(1.012, 0.5, "took part;\n★ led", transform=axes.transAxes, color=SHARED, fontsize=9.5, va="center")


def _write_marks(axes: Any, marks: Sequence[Mark]) -> None:
    """The texts above the picture; each stands above those that begin before it ends: no line crosses a text."""
    low, high = axes.get_xlim()
    character = CHARACTER_WIDTH * (high - low)
    levels: list[tuple[float, int]] = []
    for mark in sorted(marks, key=lambda mark: -mark.position):
        end = mark.position + character * (len(mark.text) + 2)
        level = min(max((1 + level for start, level in levels if start < end), default=0), MARK_LEVELS - 1)
        levels.append((mark.position, level))
        top = 1.02 + LEVEL_HEIGHT * level
        colour, where = MARK_COLOURS[mark.kind], axes.get_xaxis_transform()
        axes.plot([mark.position] * 2, [1.0, top + 0.035], color=colour, linewidth=1.2, transform=where, clip_on=False)
        axes.text(mark.position + character, top, mark.text, color=colour, transform=where, fontsize=9, va="bottom")


def _label_right(axes: Any, labels: Sequence[tuple[float, str, str, str]]) -> None:
    """Name the lines at their right ends, pushed apart where they would overlap: value, text, colour, weight."""
    low, high = axes.get_ylim()
    free = high + 0.01
    for value, text, colour, weight in sorted(labels, reverse=True):
        height = (high - low) * (0.05 + 0.045 * text.count("\n"))
        middle = min(value, free - height / 2)
        free = middle - height / 2
        where = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 9.5}
        axes.text(1.012, middle, text, color=colour, fontweight=weight, **where)


def _dress(axes: Any, label: str) -> None:
    axes.set_ylabel(label, color=INK, fontsize=10)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=GREY, length=0, labelsize=9)
    for side, spine in dict[str, Any](axes.spines).items():
        spine.set_visible(side == "bottom")
        spine.set_color(FAINT)


def _gaps(values: Sequence[float | None]) -> list[float]:
    """None becomes NaN, where a line has a gap."""
    return [float("nan") if value is None else value for value in values]


def extremes(curves: Mapping[int, Sequence[float]]) -> tuple[list[float], list[float]]:
    """The lowest and the highest of several equally long curves, point by point."""
    columns = list(zip(*curves.values(), strict=True))
    return [min(column) for column in columns], [max(column) for column in columns]
