"""Text that came from elsewhere, made safe to show."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text in one line: control characters, which could move a terminal's cursor or forge a line, are escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
