"""Sources of peers: what a node remembers on its own disk, and what the settings open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, StorageError
from raftgossip.ids import Address, NodeId
from raftgossip.peer.discovery import (
    CACHE_KEY,
    MAX_CACHED,
    CachedDiscovery,
    Discovery,
    SourcedDiscovery,
    StaticDiscovery,
    open_discoveries,
    refused_and_dialable,
)
from raftgossip.runtime.grpc_discovery import GatewayDiscovery
from raftgossip.runtime.service import Hints
from raftgossip.runtime.store import MemoryStore, SqliteStore

ME, HOME = NodeId(4), Address("10.0.0.4", 7004)


@pytest.fixture
def disk() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def peer(number: int, host: str = "10.0.0.1") -> tuple[NodeId, Address]:
    return NodeId(number), Address(host, 7000)


def addresses(discovery: Discovery) -> list[str]:
    """Whom it names, to a node with a cluster."""
    return [str(address) for _, address in asyncio.run(discovery.register(ME, HOME, "o", "c1")).peers]


def remember(cache: CachedDiscovery, *peers: tuple[NodeId, Address]) -> None:
    asyncio.run(cache.remember(peers))


# --- the cache


def test_peers_are_found_again_after_a_restart(tmp_path: Path, disk: Executor) -> None:
    store = SqliteStore(tmp_path / "ledger.sqlite")
    remember(CachedDiscovery(store, disk), peer(1), peer(2, "host.example"), peer(3, "::1"))
    store.close()

    store = SqliteStore(tmp_path / "ledger.sqlite")
    cache = CachedDiscovery(store, disk)
    store.close()

    assert not cache.is_empty
    assert addresses(cache) == ["10.0.0.1:7000", "host.example:7000", "[::1]:7000"]


def test_the_newest_come_first_and_the_oldest_are_dropped(disk: Executor) -> None:
    cache = CachedDiscovery(MemoryStore(), disk)
    remember(cache, *(peer(number, f"10.1.{number // 200}.{number % 200}") for number in range(1, MAX_CACHED + 1)))

    remember(cache, peer(7, "10.9.9.9"), peer(1000, "10.8.8.8"))

    found = addresses(cache)
    assert found[:2] == ["10.9.9.9:7000", "10.8.8.8:7000"]
    assert len(found) == MAX_CACHED
    assert "10.1.0.7:7000" not in found, "where it was before"


def test_what_is_known_already_costs_no_write(disk: Executor) -> None:
    class CountingStore(MemoryStore):
        num_writes = 0

        def set_meta(self, key: str, value: str) -> None:
            self.num_writes += 1
            super().set_meta(key, value)

    store = CountingStore()
    cache = CachedDiscovery(store, disk)
    remember(cache, peer(1), peer(2))
    remember(cache, peer(2))
    remember(cache, peer(2), peer(1))
    assert store.num_writes == 1

    remember(cache, peer(2, "10.0.0.2"))
    assert store.num_writes == 2


def test_the_ids_of_remembered_peers_are_not_told_and_the_node_itself_is_none(disk: Executor) -> None:
    cache = CachedDiscovery(MemoryStore(), disk)
    remember(cache, peer(1), (ME, HOME))

    hints = asyncio.run(cache.register(ME, HOME, "o", ""))

    assert [address for _, address in hints.peers] == [peer(1)[1]]
    assert all(node_id < 0 for node_id, _ in hints.peers)
    assert not hints.is_bootstrap and hints.cluster_id == ""


def test_nothing_is_remembered_that_nobody_may_dial_or_that_has_no_id(disk: Executor) -> None:
    cache = CachedDiscovery(MemoryStore(), disk)
    remember(cache, peer(1, "169.254.169.254"), (NodeId(-1), Address("10.0.0.9", 1)))

    assert cache.is_empty


@pytest.mark.parametrize(
    "text",
    ["", "{", "[[1]]", '[["x", "a:1"]]', '[[1, "a"]]', '[[0, "a:1"]]', "7", "[" * 100_000, '{"a": 1}', "[[1, null]]"],
)
def test_a_damaged_cache_is_an_empty_one(disk: Executor, text: str) -> None:
    store = MemoryStore()
    store.set_meta(CACHE_KEY, text)

    assert CachedDiscovery(store, disk).is_empty


def test_a_disk_that_fails_is_not_hidden(disk: Executor) -> None:
    class FullStore(MemoryStore):
        def set_meta(self, key: str, value: str) -> None:
            raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        remember(CachedDiscovery(FullStore(), disk), peer(1))


# --- lists


def test_listed_peers_are_addresses_of_unknown_ids() -> None:
    listed = StaticDiscovery([Address("10.0.0.1", 7001), Address("10.0.0.2", 7002)])

    hints = asyncio.run(listed.register(ME, HOME, "o", ""))

    assert [address.port for _, address in hints.peers] == [7001, 7002]
    assert len({node_id for node_id, _ in hints.peers}) == 2 and all(node_id < 0 for node_id, _ in hints.peers)
    assert asyncio.run(listed.renew(ME, "c1"))


def test_refused_hints_are_told_with_their_reason_and_the_others_stay() -> None:
    hints = Hints(True, (peer(1, "fe80::1"), peer(2)), "c1", 5)

    refused, dialable = refused_and_dialable(hints)

    assert dialable == Hints(True, (peer(2),), "c1", 5)
    assert len(refused) == 1 and refused[0].startswith("[fe80::1]:7000 is not dialled: link-local")


# --- from the settings


def test_the_settings_open_sources_in_order_and_the_cache_is_the_last(tmp_path: Path, disk: Executor) -> None:
    (tmp_path / "peers").write_text("10.0.0.3:7003\n")
    cache = CachedDiscovery(MemoryStore(), disk)

    opened = open_discoveries(
        ["gw", "srv:_gw._tcp.test"], ["10.0.0.1:7001"], [f"file:{tmp_path / 'peers'}"], cache, None, pytest.fail
    )

    assert [type(each) for each in opened] == [GatewayDiscovery, SourcedDiscovery, SourcedDiscovery, CachedDiscovery]
    assert [each.name for each in opened[:3]] == [
        "gateway gw:8090, srv:_gw._tcp.test",
        "the listed peers 10.0.0.1:7001",
        f"file:{tmp_path / 'peers'}",
    ]
    assert addresses(opened[2]) == ["10.0.0.3:7003"]
    assert open_discoveries([], [], [], cache, None, pytest.fail) == (cache,)


@pytest.mark.parametrize(("gateways", "sources"), [(["file:/no/such/file"], []), ([], ["peers.test:7001"])])
def test_a_wrong_source_is_the_operators_mistake(disk: Executor, gateways: list[str], sources: list[str]) -> None:
    with pytest.raises(ConfigError):
        open_discoveries(gateways, [], sources, CachedDiscovery(MemoryStore(), disk), None, pytest.fail)
