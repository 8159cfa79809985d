"""A real peer process that trains `TargetTask`: `python -m tests.support.target_node '{"shard": 0, …}'`.

Prints the address that it listens on, and nothing else; SIGTERM stops it cleanly.
"""

from __future__ import annotations

import json
import signal
import sys

from raftgossip import Peer
from raftgossip.facts import Fact, Listening
from tests.support.target_task import TargetTask


def main() -> None:
    """Run until stopped."""
    arguments = json.loads(sys.argv[1])
    peer = Peer(TargetTask(**arguments["task"]), **arguments["peer"])

    def on_fact(fact: Fact) -> None:
        if isinstance(fact, Listening):
            print(fact.address, flush=True)

    peer.subscribe(on_fact)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: peer.request_stop())
    peer.run()


if __name__ == "__main__":
    main()
