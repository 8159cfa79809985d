"""`raftgossip epochs`: what the epochs brought."""

from __future__ import annotations

from contextlib import suppress

from raftgossip.cli.options import (
    FirstOption,
    FollowOption,
    InsecureOption,
    JsonOption,
    KeysOption,
    LastOption,
    LinearizableOption,
    NodeOption,
    how_many,
)


def epochs(
    node: NodeOption,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
    last: LastOption = None,
    first: FirstOption = None,
    follow: FollowOption = False,
    linearizable: LinearizableOption = False,
) -> None:
    """Show ended epochs: outcome, who contributed, metrics, bytes. With --follow, JSON has one epoch a line.

    \b
    Example:
      raftgossip epochs --node 10.0.0.7:7001 --last 5
      raftgossip epochs --node 10.0.0.7:7001 --first 1 --json
      raftgossip epochs --node 10.0.0.7:7001 --follow
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.operator import ask_epochs, follow_epochs, last_epoch, peer_at
    from raftgossip.cli.output import make_console, print_json
    from raftgossip.cli.tables import epoch_heading, epoch_line, epochs_table

    limit = how_many(first, last, follow)
    with peer_at(node, own_credentials(keys, insecure)) as client, suppress(KeyboardInterrupt):
        if linearizable:
            client.epochs_of_now(1, 1)  # from now on this peer knows of every epoch that had ended by now
        newest = last_epoch(client)
        start = first or max(1, newest - (limit or 0) + 1)
        if not follow:
            found = ask_epochs(client, start, limit)
            if as_json:
                print_json({"epochs": found})
            elif first is not None and not found:
                make_console().print(f"The newest closed epoch is {newest}.")
            else:
                make_console().print(epochs_table(found))
            return
        console = make_console()
        if not as_json:
            console.print(epoch_heading(), style="bold")
        for document in follow_epochs(client, start):
            if as_json:
                print_json(document, indent=None)
            else:
                console.print(epoch_line(document), markup=False)
