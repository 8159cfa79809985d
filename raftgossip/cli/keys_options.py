"""Options and arguments that the commands below `raftgossip keys` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raftgossip.errors import ConfigError
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.identity import Role

FolderOption = Annotated[str, typer.Option("--keys", metavar="DIR", envvar="RAFTGOSSIP_KEYS", help="The key folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of sentences.")]
RoleOption = Annotated[Role, typer.Option("--role", help="What its holder is.")]
OrganisationOption = Annotated[
    str | None,
    typer.Option("--organisation", metavar="ORG", help="Whose certificate; default: the only one whose key is here."),
]
DaysOption = Annotated[
    float | None, typer.Option("--days", metavar="DAYS", help="How long it is valid, at most 90; default: 1.")
]
NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A peer's node id, or another holder's name.", show_default=False)
]
NamesArgument = Annotated[
    list[str], typer.Argument(metavar="NAME...", help="Peers' node ids, or other holders' names.", show_default=False)
]


def organisation_of(path: Path, organisation: str | None) -> str:
    """The organisation that is meant: the given one, or the only one whose key is in the folder.

    Raises:
        ConfigError: there is none, or there are several.
    """
    if organisation is not None:
        return organisation
    found = organisations_with_key(path)
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"the keys of several organisations are in {path}: say --organisation {' or '.join(found)}")
    raise ConfigError(
        f"no organisation's key is in {path}: make one with `raftgossip keys init`, give another --keys, or ask who "
        "keeps it (`raftgossip keys request`)"
    )


def organisations_with_key(path: Path) -> list[str]:
    """The organisations that this folder can certify for."""
    return sorted(each.stem for each in (path / "organisations").glob("*.key"))


def then_run(words: str, keys: str) -> str:
    """A command to copy, which finds the same folder again."""
    return f"raftgossip {words}" if keys == DEFAULT_KEYS else f"raftgossip {words} --keys {keys}"
