"""Take part from a plain script or a notebook: two peers in one process, without any gateway.

    python examples/plain_script.py

On real machines there is one peer each, and all but the first are given `peers=[...]` or `gateway=...`.
"""

from __future__ import annotations

import queue
import sys
import threading
from pathlib import Path

from raftgossip import Peer
from raftgossip.facts import Fact, Listening

sys.path.insert(0, str(Path(__file__).parent))
from spirals import Spirals

NUM_EPOCHS = 12
SHARED = {"num_epochs": NUM_EPOCHS, "min_participants": 2, "local_passes": 20, "exit_when_finished": True}


def main() -> None:
    """Train together and print every epoch as it closes."""
    addresses: queue.Queue[str] = queue.Queue()

    def on_fact(fact: Fact) -> None:
        if isinstance(fact, Listening):
            addresses.put(fact.address)

    first = Peer(Spirals(shard=0), node_id=1, found=True, **SHARED)
    first.subscribe(on_fact)
    background = threading.Thread(target=first.run)
    background.start()

    second = Peer(Spirals(shard=1), node_id=2, peers=[addresses.get()], **SHARED)
    for record in second.epochs():
        metrics = dict(record.metrics)
        print(f"epoch {record.epoch}: accuracy {metrics['accuracy']:.3f}, loss {metrics['loss']:.3f}")
    background.join()


if __name__ == "__main__":
    main()
