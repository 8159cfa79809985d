"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from raftgossip.errors import ConfigError

_NODE = typer.Option(
    "--node", metavar="HOST:PORT", envvar="RAFTGOSSIP_NODE", help="The peer to ask; any peer of the cluster."
)
NodeOption = Annotated[str, _NODE]
OptionalNodeOption = Annotated[str | None, _NODE]
"""For commands that have others below them: the option may stand before or behind the lower one's name."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
LinearizableOption = Annotated[
    bool,
    typer.Option(
        "--linearizable", help="Let a majority confirm that the answer misses nothing; fails if there is none."
    ),
]


def remember(context: typer.Context, node: str | None, as_json: bool) -> None:
    """Keep what stood before the name of a lower command."""
    context.obj = (node, as_json)


def recall(context: typer.Context, node: str | None, as_json: bool) -> tuple[str, bool]:
    """What was given to a lower command, or before its name.

    Raises:
        ConfigError: no peer was named anywhere.
    """
    node_before, json_before = context.obj or (None, False)
    return required(node or node_before), as_json or json_before


def required(node: str | None) -> str:
    """The peer to ask.

    Raises:
        ConfigError: none was named.
    """
    if node is None:
        raise ConfigError("no peer to ask: give --node HOST:PORT of any peer, or set RAFTGOSSIP_NODE")
    return node
