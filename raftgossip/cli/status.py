"""`raftgossip status`: what one peer knows now."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from raftgossip.cli.options import InsecureOption, JsonOption, KeysOption, LinearizableOption, NodeOption


def status(
    node: NodeOption,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every second until Ctrl-C.")] = False,
    linearizable: LinearizableOption = False,
) -> None:
    """Show what one peer knows now: leader, log, epoch, metrics, peers, and how far each is behind the leader.

    \b
    Example:
      raftgossip status --node 10.0.0.7:7001
      raftgossip status --node 10.0.0.7:7001 --watch
      raftgossip status --node 10.0.0.7:7001 --json --linearizable
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.operator import ask_status, ask_status_and_leader, ask_status_of_now, peer_at, watch_status
    from raftgossip.cli.output import make_console, print_json, show_live
    from raftgossip.cli.tables import status_view

    ask = ask_status_of_now if linearizable else ask_status
    with peer_at(node, own_credentials(keys, insecure)) as client, suppress(KeyboardInterrupt):
        if watch and as_json:
            for document in watch_status(client, ask):
                print_json(document, indent=None)
        elif watch:
            show_live(status_view(document) for document in watch_status(client, ask))
        elif as_json:
            print_json(ask_status_and_leader(client, ask))
        else:
            make_console().print(status_view(ask_status_and_leader(client, ask)))
