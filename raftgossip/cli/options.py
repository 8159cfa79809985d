"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from raftgossip.errors import ConfigError
from raftgossip.trust import DEFAULT_KEYS

_NODE = typer.Option(
    "--node", metavar="HOST:PORT", envvar="RAFTGOSSIP_NODE", help="The peer to ask; any peer of the cluster."
)
NodeOption = Annotated[str, _NODE]
OptionalNodeOption = Annotated[str | None, _NODE]
"""For commands that have others below them: the option may stand before or behind the lower one's name."""

GatewayOption = Annotated[
    str,
    typer.Option(
        "--gateway",
        metavar="HOST:PORT",
        envvar="RAFTGOSSIP_GATEWAY",
        help="The gateway to ask; several: with commas, the first that answers.",
    ),
]
KeysOption = Annotated[
    str | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        envvar="RAFTGOSSIP_KEYS",
        help=f"Folder with your certificate; default: ./{DEFAULT_KEYS}, if there is one.",
    ),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--insecure", envvar="RAFTGOSSIP_INSECURE", help="Speak in the open, without TLS, even where there are keys."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
LinearizableOption = Annotated[
    bool,
    typer.Option(
        "--linearizable", help="Let a majority confirm that the answer misses nothing; fails if there is none."
    ),
]
FirstOption = Annotated[int | None, typer.Option("--first", min=1, help="Show from this one on, not the newest.")]
LastOption = Annotated[
    int | None,
    typer.Option("--last", min=1, help="Show so many of the newest (20), or so many from --first on (all)."),
]
FollowOption = Annotated[bool, typer.Option("--follow", help="Go on with new ones as they come, until Ctrl-C.")]
NUM_NEWEST = 20
"""Shown unless something else is asked for."""


def how_many(first: int | None, last: int | None, follow: bool) -> int | None:
    """How many rows of a list are wanted; None: all from `first` on.

    Raises:
        ConfigError: the options contradict each other.
    """
    if first is not None and last is not None and follow:
        raise ConfigError("--follow goes on without end: give --first or --last beside it, not both")
    return last if last is not None or first is not None else NUM_NEWEST


@dataclass(frozen=True, slots=True)
class Question:
    """Who is asked, as whom, and how the answer is written."""

    node: str | None
    keys: str | None
    insecure: bool
    as_json: bool


def remember(context: typer.Context, question: Question) -> None:
    """Keep what stood before the name of a lower command."""
    context.obj = question


def recall(context: typer.Context, question: Question) -> tuple[str, Question]:
    """The peer to ask, and all that was given to a lower command or before its name.

    Raises:
        ConfigError: no peer was named anywhere.
    """
    before: Question = context.obj or Question(None, None, False, False)
    whole = Question(
        node=question.node or before.node,
        keys=question.keys if question.keys is not None else before.keys,
        insecure=question.insecure or before.insecure,
        as_json=question.as_json or before.as_json,
    )
    return required(whole.node), whole


def required(node: str | None) -> str:
    """The peer to ask.

    Raises:
        ConfigError: none was named.
    """
    if node is None:
        raise ConfigError("no peer to ask: give --node HOST:PORT of any peer, or set RAFTGOSSIP_NODE")
    return node
