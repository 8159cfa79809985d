"""`raftgossip leave`: take a node out of its cluster."""

from __future__ import annotations

from raftgossip.cli.options import JsonOption, NodeOption


def leave(node: NodeOption, as_json: JsonOption = False) -> None:
    """Make a node leave its cluster and end, so that the others stop counting on it.

    Started again, it joins again. To stop a node for a while, use Ctrl-C instead.

    \b
    Example:
      raftgossip leave --node 127.0.0.1:7001
    """
    from raftgossip.cli.operator import peer_at
    from raftgossip.cli.output import print_sentence

    with peer_at(node) as client:
        message = client.leave()
    print_sentence(message, as_json)
