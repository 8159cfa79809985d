"""Decentralised federated learning: a Raft-ordered control plane over gossip averaging, with no server to run.

The public names are loaded when first used, so that importing the package costs next to nothing and loads neither
torch nor grpc nor numpy.
"""

from __future__ import annotations

import importlib

from raftgossip._version import __version__

_HOMES = {
    "LearningTask": "raftgossip.learning.task",
    "Peer": "raftgossip.peer.peer",
    "PeerConfig": "raftgossip.peer.config",
}

__all__ = ["LearningTask", "Peer", "PeerConfig", "__version__"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
