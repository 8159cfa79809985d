"""`raftgossip discover`: what a gateway knows."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import typer

from raftgossip.cli.options import GatewayOption, InsecureOption, JsonOption, KeysOption


def discover(
    gateway: GatewayOption,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with what changes, until Ctrl-C.")] = False,
) -> None:
    """Show what a gateway knows: the cluster, who is registered, who was reported to lead. It registers nothing.

    All of it is hearsay: what is so, a peer tells (`raftgossip status`). With --watch, JSON has one change a line.

    \b
    Example:
      raftgossip discover --gateway gw:8090
      raftgossip discover --gateway gw1:8090,gw2:8090 --json
      raftgossip discover --gateway gw:8090 --watch
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.discovering import NUM_SHOWN, ask_gateway, event_line, gateway_view, watch_gateway
    from raftgossip.cli.output import make_console, print_json

    credentials = own_credentials(keys, insecure)
    if watch:
        console = make_console()
        with suppress(KeyboardInterrupt):
            for event in watch_gateway(gateway, credentials):
                if as_json:
                    print_json(event, indent=None)
                else:
                    console.print(event_line(event), markup=False)
    elif as_json:
        print_json(ask_gateway(gateway, credentials, lambda client: client.look(max_nodes=0)))
    else:
        document = ask_gateway(gateway, credentials, lambda client: client.look(NUM_SHOWN))
        make_console().print(gateway_view(document))
