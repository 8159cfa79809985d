"""The files of a run that is watched from outside: what its processes printed, and the result as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

MAX_READ_BYTES = 1 << 20
"""Of a log, at once: a process that prints without end must not fill the reader's memory."""


def open_log(path: Path) -> BinaryIO:
    """For a process's output, behind what is there already; the caller closes it."""
    return path.open("ab")


def read_lines(path: Path, start: int) -> list[str]:
    """The whole lines of a log from byte `start` on; none if there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read(MAX_READ_BYTES).decode(errors="backslashreplace")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()


def save_json(path: Path, document: object) -> None:
    """Write one JSON document; numbers that are not finite are refused.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
