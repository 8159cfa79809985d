"""`raftgossip members`: who belongs to the cluster."""

from __future__ import annotations

from raftgossip.cli.options import JsonOption, NodeOption


def members(node: NodeOption, as_json: JsonOption = False) -> None:
    """Show who belongs to the cluster, who leads, and who answers (as the leader sees it).

    \b
    Example:
      raftgossip members --node 10.0.0.7:7001
      raftgossip members --node 10.0.0.7:7001 --json
    """
    from raftgossip.cli.operator import ask_roster
    from raftgossip.cli.output import make_console, print_json
    from raftgossip.cli.tables import members_table

    document = ask_roster(node)
    if as_json:
        print_json(document)
    else:
        make_console().print(members_table(document["members"]))
