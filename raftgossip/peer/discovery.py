"""Where peers may be found. Every answer is a hint that the dialled peer proves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Protocol

from raftgossip.errors import ConfigError
from raftgossip.ids import Address, NodeId, parse_node_id
from raftgossip.runtime.address_sources import (
    AddressSource,
    FixedSource,
    gateway_source,
    parse_source,
    refusal_to_dial,
)
from raftgossip.runtime.grpc_discovery import GatewayDiscovery
from raftgossip.runtime.service import Hints
from raftgossip.runtime.store import Storage
from raftgossip.trust.credentials import LiveCredentials

GATEWAY_PORT = 8090
"""A gateway's address without a port means this one."""
CACHE_KEY = "last_known_peers"
MAX_CACHED = 256
"""Peers that are remembered, those first that were confirmed last; one that is up is enough."""


class Discovery(Protocol):
    """A source of peers' addresses. All methods raise `TransportError` when the source cannot be reached."""

    @property
    def name(self) -> str:
        """For messages to people, e.g. `gateway 10.0.0.5:8090`."""

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:
        """Say where this node listens, and which cluster it belongs to (empty: none yet); returns who else is there.

        May raise `Busy`, too: later.
        """

    async def renew(self, node_id: NodeId, cluster_id: str) -> bool:
        """Say that this node lives; False: register again. May raise `Busy`, too."""

    async def report_leader(self, node_id: NodeId, term: int) -> None:
        """Leave a hint who leads since when, for newcomers."""

    async def leave(self, node_id: NodeId) -> None:
        """Take this node off the list."""

    async def remember(self, peers: Sequence[tuple[NodeId, Address]]) -> None:
        """Take note of where others are, from whatever this node knows; for a source that outlives the node."""

    async def lost(self) -> None:
        """Return when the source may have forgotten this node: it was out of reach and is back. Never raises."""

    async def close(self) -> None:
        """Let go of all connections."""


class SourcedDiscovery:
    """Addresses that the operator wrote down somewhere: in the settings, in DNS, in a file. Nobody is told anything."""

    def __init__(self, source: AddressSource) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """For messages to people."""
        return self._source.name

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:  # noqa: ARG002 - protocol
        """What the source names now."""
        # The ids behind these addresses are unknown until they answer; negative ones only tell them apart.
        found = enumerate(await self._source.addresses())
        return Hints(False, tuple((NodeId(-1 - position), each) for position, each in found))

    async def renew(self, node_id: NodeId, cluster_id: str) -> bool:  # noqa: ARG002 - protocol
        """A list forgets nobody."""
        return True

    async def report_leader(self, node_id: NodeId, term: int) -> None:
        """A list takes no hints."""

    async def leave(self, node_id: NodeId) -> None:
        """A list is not changed."""

    async def remember(self, peers: Sequence[tuple[NodeId, Address]]) -> None:
        """A list is not changed."""

    async def lost(self) -> None:
        """A list is never lost."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """There is nothing to let go of."""


class CachedDiscovery:
    """Where peers were when this node last heard of them, on its disk: it finds them again with no gateway at all.

    Lives on the event loop. A cache that is damaged counts as empty.
    """

    def __init__(self, store: Storage, disk: Executor) -> None:
        """Reads at once. `disk`: the thread that writes, the one of everything else that the store is given."""
        self._store = store
        self._disk = disk
        self._peers = _cached_from_text(store.get_meta(CACHE_KEY) or "")

    @property
    def name(self) -> str:
        """For messages to people."""
        return "the peers that were known before"

    @property
    def is_empty(self) -> bool:
        """Whether it has never heard of anybody."""
        return not self._peers

    async def register(self, node_id: NodeId, address: Address, owner: str, cluster_id: str) -> Hints:  # noqa: ARG002 - protocol
        """Who was there. They are addresses to try, and neither candidates nor news: so their ids are not told."""
        return Hints(False, tuple((NodeId(-each), where) for each, where in self._peers.items() if where != address))

    async def renew(self, node_id: NodeId, cluster_id: str) -> bool:  # noqa: ARG002 - protocol
        """Nobody there forgets this node."""
        return True

    async def report_leader(self, node_id: NodeId, term: int) -> None:
        """Leaders are not remembered."""

    async def leave(self, node_id: NodeId) -> None:
        """Nobody there knows of this node."""

    async def remember(self, peers: Sequence[tuple[NodeId, Address]]) -> None:
        """Write them down before all others; costs nothing if they are known.

        Raises:
            StorageError: the disk failed. The node must stop, as after any other write.
        """
        news = {node_id: address for node_id, address in peers if node_id > 0 and not refusal_to_dial(address)}
        if all(self._peers.get(node_id) == address for node_id, address in news.items()):
            return
        kept = [(node_id, address) for node_id, address in self._peers.items() if node_id not in news]
        self._peers = dict([*news.items(), *kept][:MAX_CACHED])
        text = json.dumps([[node_id, str(address)] for node_id, address in self._peers.items()])
        await asyncio.get_running_loop().run_in_executor(self._disk, self._store.set_meta, CACHE_KEY, text)

    async def lost(self) -> None:
        """It is never lost."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """The store is closed by whoever opened it."""


def open_discoveries(
    gateways: Sequence[str],
    peers: Sequence[str],
    sources: Sequence[str],
    cache: CachedDiscovery,
    credentials: LiveCredentials | None,
    tell: Callable[[str], None],
) -> tuple[Discovery, ...]:
    """All sources of a node, in the order in which they are asked; nothing is dialled or looked up yet.

    Args:
        gateways: host, host:port or a source of addresses, see `runtime.address_sources`; together they are one source.
        peers: host:port.
        sources: of peers' addresses, see there.
        cache: asked last.
        credentials: for gateways; None: everything is open.
        tell: what people should hear while the node runs.

    Raises:
        ConfigError: a text is wrong; says what is allowed.
    """
    found: list[Discovery] = []
    if gateways:
        found.append(GatewayDiscovery([gateway_source(text, GATEWAY_PORT, tell) for text in gateways], credentials))
    if peers:
        found.append(StaticDiscovery([Address.parse(text) for text in peers]))
    found.extend(SourcedDiscovery(parse_source(text, tell)) for text in sources)
    return (*found, cache)


def StaticDiscovery(addresses: Sequence[Address]) -> SourcedDiscovery:  # noqa: N802
    """A fixed list of addresses, for nodes that know each other without any gateway."""
    return SourcedDiscovery(FixedSource(tuple(addresses)))


def refused_and_dialable(hints: Hints) -> tuple[tuple[str, ...], Hints]:
    """Sentences about the hints that nobody may follow, and the others."""
    refused = [f"{address} is not dialled: {why}" for _, address in hints.peers if (why := refusal_to_dial(address))]
    return tuple(refused), replace(hints, peers=tuple(peer for peer in hints.peers if not refusal_to_dial(peer[1])))


def _cached_from_text(text: str) -> dict[NodeId, Address]:
    try:
        rows = json.loads(text)
        return {parse_node_id(int(node_id)): Address.parse(str(address)) for node_id, address in rows[:MAX_CACHED]}
    except (ValueError, TypeError, KeyError, RecursionError, ConfigError):
        return {}
