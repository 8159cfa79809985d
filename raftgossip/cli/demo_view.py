"""How the demo looks: a table that grows on a terminal, plain lines elsewhere, and the results at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raftgossip.cli.demo_plan import Plan
from raftgossip.cli.demo_story import Story
from raftgossip.cli.demo_summary import CLOSED, Event, Outcome, SeenEpoch, Witnessed
from raftgossip.cli.output import make_console

EPOCH_COLUMNS = ("epoch", "leader", "accuracy", "loss", "participants", "MB", "closed after")
MAX_ROWS = 14
"""Epochs on the screen at once; a terminal has 24 lines."""


class View:
    """Shows a story as it goes on; on standard output, or nowhere if `console` is quiet."""

    def __init__(self, plan: Plan, console: Console, live: Live | None) -> None:
        self._plan = plan
        self._console = console
        self._live = live
        self._num_told = (0, 0)
        self._has_told_names = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(Text(text, style="dim"))

    def show(self, story: Story) -> None:
        """What has happened so far."""
        if story.witnessed is not None and not self._has_told_names:
            self._has_told_names = True
            for line in witness_lines(story.witnessed):
                self.say(line)
        if self._live is not None:
            self._live.update(_screen(self._plan, story), refresh=True)
            return
        num_epochs, num_events = self._num_told
        lines = [(seen.closed_at_s, "  ".join(_aligned(seen))) for seen in story.epochs[num_epochs:]]
        lines += [(event.at_s, f"    {event_text(event)}") for event in story.events[num_events:]]
        for _, line in sorted(lines):
            self._console.print(line)
        self._num_told = len(story.epochs), len(story.events)


@contextmanager
def view_of(plan: Plan, quiet: bool) -> Iterator[View]:
    """The view for wherever standard output goes. `quiet`: say nothing, for `--json`."""
    console = Console(file=sys.stderr, quiet=True) if quiet else make_console()
    if quiet or not sys.stdout.isatty():
        yield View(plan, console, None)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield View(plan, console, live)


def event_text(event: Event) -> str:
    """What was done, for people."""
    who = f"the {event.what}" if event.node is None else f"{event.what} {event.node}"
    if event.what == "leader":
        who = f"the leader, node {event.node}"
    done = {"kill": f"kill -9 {who}", "restart": f"restarted node {event.node}", "back": f"node {event.node} caught up"}
    return f"{event.at_s:5.1f} s  {done[event.kind]}"


def witness_lines(seen: Witnessed) -> list[str]:
    """Who was authenticated, for people."""
    names = [
        f"node {node} is {identity or 'NOBODY: it showed no certificate'}" for node, identity in seen.identities.items()
    ]
    return [
        f"authenticated by certificates of the federation {seen.federation}: {', '.join(names)}",
        f"a caller without a certificate was refused by {', '.join(seen.refusing) or 'NOBODY'}",
    ]


def result_tables(outcome: Outcome, stall_s: float, difference: float | None) -> Group:
    """The comparison, and what was checked."""
    accuracies = Table(title="accuracy on the held-out test set", title_justify="left", title_style="bold", box=None)
    accuracies.add_column("who trained")
    accuracies.add_column("accuracy", justify="right")
    accuracies.add_row(f"{outcome.num_peers} peers together (the shared model)", f"{outcome.accuracy_shared:.1%}")
    for node, accuracy in sorted(outcome.accuracy_alone.items()):
        accuracies.add_row(f"peer {node} alone, on its own data", f"{accuracy:.1%}")
    accuracies.add_row("  mean of the peers alone", f"{outcome.accuracy_alone_mean:.1%}")
    accuracies.add_row("one machine with all data", f"{outcome.accuracy_pooled:.1%}")
    checks = Table(title="what was promised", title_justify="left", title_style="bold", box=None)
    checks.add_column("what")
    checks.add_column("measured", justify="right")
    num_closed = sum(each.outcome == CLOSED for each in outcome.epochs)
    checks.add_row("closed epochs, none missing or repeated", f"{num_closed} of {outcome.num_epochs}")
    checks.add_row("longest time between two closed epochs since the leader's death", f"{stall_s:.2f} s")
    shown = "not all hold it" if difference is None else f"{difference:.1e}"
    checks.add_row("largest difference between two peers' final models", shown)
    if outcome.witnessed is not None:
        num_named = sum(bool(identity) for identity in outcome.witnessed.identities.values())
        checks.add_row(
            "peers authenticated by a certificate, all connections encrypted", f"{num_named} of {outcome.num_peers}"
        )
        num_refusing = f"{len(outcome.witnessed.refusing)} of {outcome.num_peers + 1}"
        checks.add_row("gateway and peers that refused a caller without a certificate", num_refusing)
    for event in outcome.events:
        checks.add_row(event_text(event).partition("  ")[2], f"{event.at_s:.1f} s")
    return Group(accuracies, Text(), checks)


def _screen(plan: Plan, story: Story) -> Group:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in EPOCH_COLUMNS:
        table.add_column(column, justify="right")
    for seen in story.epochs[-MAX_ROWS:]:
        table.add_row(*_cells(seen))
    title = f"{plan.num_peers} peers, {plan.task.story}: {story.num_closed} of {plan.num_epochs} epochs closed"
    phases = ", ".join(f"node {node} {status['phase']}" for node, status in sorted(story.statuses.items()))
    events = [Text(event_text(event), style="bold red" if event.kind == "kill" else "green") for event in story.events]
    return Group(Text(title, style="bold"), table, Text(), *events, Text(phases, style="dim"))


def _cells(seen: SeenEpoch) -> tuple[str, ...]:
    return (
        str(seen.epoch) if seen.attempt == 1 else f"{seen.epoch} (attempt {seen.attempt})",
        str(seen.leader),
        f"{seen.accuracy:.3f}" if seen.accuracy is not None else seen.outcome,
        f"{seen.loss:.3f}" if seen.loss is not None else "-",
        " ".join(map(str, seen.participants)) or "-",
        f"{seen.bytes_sent / 1e6:.2f}",
        f"{seen.closed_at_s:.1f} s",
    )


def _aligned(seen: SeenEpoch) -> Sequence[str]:
    labelled = zip(EPOCH_COLUMNS, _cells(seen), (3, 2, 5, 5, 8, 5, 7), strict=True)
    return [f"{column} {cell:>{width}}" for column, cell, width in labelled]
