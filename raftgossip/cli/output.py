"""How commands write: JSON for machines, tables for people; what a peer said is shown, never interpreted."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from raftgossip.observe.escape import printable

UNBOUNDED_COLUMNS = 160
"""Width of what does not go to a terminal: wide enough that lines stay whole for grep."""


def print_json(document: object, indent: int | None = 2) -> None:
    """One JSON document on standard output; `indent` None: on one line."""
    sys.stdout.write(json.dumps(document, indent=indent, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_sentence(message: str, as_json: bool, **known: object) -> None:
    """A peer's sentence, in the way that was asked for; `known` is for machines only."""
    if as_json:
        print_json({**known, "message": message})
    else:
        make_console().print(printable(message), markup=False)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """A table of plain texts: markup and control characters in them are shown, not obeyed. Ours may be styled."""
    made = Table(box=None, show_header=any(columns), header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
    return made


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """The same, on standard output."""
    make_console().print(make_table(columns, rows))


def show_live(views: Iterable[RenderableType]) -> None:
    """Each view in the place of the one before it."""
    with Live(console=make_console(), auto_refresh=False) as live:
        for view in views:
            live.update(view, refresh=True)


def make_console() -> Console:
    """Standard output, with colours only on a terminal."""
    return Console(width=None if sys.stdout.isatty() else UNBOUNDED_COLUMNS, highlight=False)
