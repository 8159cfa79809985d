"""`raftgossip logs`: what stands in a peer's log."""

from __future__ import annotations

from contextlib import suppress

from raftgossip.cli.options import (
    FirstOption,
    FollowOption,
    InsecureOption,
    JsonOption,
    KeysOption,
    LastOption,
    NodeOption,
    how_many,
)


def logs(
    node: NodeOption,
    keys: KeysOption = None,
    insecure: InsecureOption = False,
    as_json: JsonOption = False,
    last: LastOption = None,
    first: FirstOption = None,
    follow: FollowOption = False,
) -> None:
    """Show the entries of a peer's log: index, term, kind, size, when that peer applied it, and what it does.

    Entries that a snapshot covers may be gone. With --follow, JSON has one entry a line.

    \b
    Example:
      raftgossip logs --node 10.0.0.7:7001 --last 5
      raftgossip logs --node 10.0.0.7:7001 --first 100 --last 10 --json
      raftgossip logs --node 10.0.0.7:7001 --follow
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.operator import ask_log, follow_log, peer_at
    from raftgossip.cli.output import make_console, print_json
    from raftgossip.cli.tables import log_heading, log_line, log_view

    limit = how_many(first, last, follow)
    with peer_at(node, own_credentials(keys, insecure)) as client, suppress(KeyboardInterrupt):
        console = make_console()
        if not follow:
            document = ask_log(client, first, limit)
            if as_json:
                print_json(document)
            else:
                console.print(log_view(document, first))
            return
        start = first or max(1, client.log(0, 1).applied_index - (limit or 0) + 1)
        if not as_json:
            console.print(log_heading(), style="bold")
        for entry in follow_log(client, start):
            if as_json:
                print_json(entry, indent=None)
            else:
                console.print(log_line(entry), markup=False)
