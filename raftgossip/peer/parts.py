"""What a node is built from; made and closed by `peer.peer`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from raftgossip.facts import Fact
from raftgossip.learning.trainer import Trainer
from raftgossip.peer.config import PeerConfig
from raftgossip.peer.discovery import Discovery
from raftgossip.peer.identity import Identity
from raftgossip.peer.models import Models
from raftgossip.peer.names import Names
from raftgossip.runtime.clock import Clock
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_client import PeerLinks
from raftgossip.runtime.service import JoinAsk
from raftgossip.runtime.store import Storage
from raftgossip.trust.credentials import LiveCredentials


@dataclass(frozen=True, slots=True)
class Parts:
    """Settings, connections to the world, and threads. All of it outlives the node."""

    config: PeerConfig
    identity: Identity
    ask: JoinAsk
    store: Storage
    disk: Executor
    """One thread, so that transactions keep their order."""
    work: Executor
    trainer: Trainer
    models: Models
    links: PeerLinks
    hub: ExchangeHub
    names: Names
    discoveries: tuple[Discovery, ...]
    credentials: LiveCredentials | None
    """As whom this node speaks, and whom it trusts; None: in the open."""
    clock: Clock
    emit: Callable[[Fact], None]
