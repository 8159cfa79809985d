"""The tables in docs/ say what the code does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import grpc

from raftgossip.trust.identity import Role
from raftgossip.trust.policy import RIGHTS
from raftgossip.wire import status

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "trust.md").read_text(encoding="utf-8")


def rows(heading: str) -> Iterator[list[str]]:
    """The cells of the table in a section, without its head."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def test_the_rights_in_the_docs_are_those_of_the_policy() -> None:
    columns = ("gateway", "peer", "operator", "observer")
    told = {
        "/" + row[0].strip("`"): frozenset(Role(role) for role, cell in zip(columns, row[1:], strict=True) if cell)
        for row in rows("Rights")
    }

    assert told == dict(RIGHTS)


def test_every_status_that_an_error_is_answered_with_is_in_the_docs() -> None:
    told = {row[0] for row in rows("Refusals")}
    answered = {code.name for _, code in status._TABLE}

    assert told == answered
    assert grpc.StatusCode.UNKNOWN.name not in told
    assert re.search(r"UNKNOWN is never answered", PAGE)
