"""`raftgossip leave`: take a node out of its cluster."""

from __future__ import annotations

from raftgossip.cli.options import InsecureOption, JsonOption, KeysOption, NodeOption


def leave(
    node: NodeOption, keys: KeysOption = None, insecure: InsecureOption = False, as_json: JsonOption = False
) -> None:
    """Make a node leave its cluster and end, so that the others stop counting on it.

    Started again, it joins again. To stop a node for a while, use Ctrl-C instead.

    \b
    Example:
      raftgossip leave --node 127.0.0.1:7001
    """
    from raftgossip.cli.dialling import own_credentials
    from raftgossip.cli.operator import peer_at
    from raftgossip.cli.output import print_sentence

    with peer_at(node, own_credentials(keys, insecure)) as client:
        message = client.leave()
    print_sentence(message, as_json)
