"""`raftgossip status`: what one peer knows now."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from raftgossip.cli.options import JsonOption, NodeOption


def status(
    node: NodeOption,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
) -> None:
    """Show what one peer knows now: leader, epoch, metrics, peers.

    \b
    Example:
      raftgossip status --node 10.0.0.7:7001
      raftgossip status --node 10.0.0.7:7001 --watch
      raftgossip status --node 10.0.0.7:7001 --json
    """
    from raftgossip.cli.operator import ask_status, peer_at, watch_status
    from raftgossip.cli.output import make_console, print_json, show_live
    from raftgossip.cli.tables import status_view

    with peer_at(node) as client, suppress(KeyboardInterrupt):
        if watch and as_json:
            for document in watch_status(client):
                print_json(document, indent=None)
        elif watch:
            show_live(status_view(document) for document in watch_status(client))
        elif as_json:
            print_json(ask_status(client))
        else:
            make_console().print(status_view(ask_status(client)))
