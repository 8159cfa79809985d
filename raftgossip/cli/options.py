"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

NodeOption = Annotated[
    str,
    typer.Option(
        "--node", metavar="HOST:PORT", envvar="RAFTGOSSIP_NODE", help="The peer to ask; any peer of the cluster."
    ),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")]
