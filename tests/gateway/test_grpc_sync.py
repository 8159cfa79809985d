"""Gateways read each other over loopback: openly, with certificates, in parts; and go on when one does not answer."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.clock import now
from gateway.grpc_gateway_server import GRPCGatewayServer
from gateway.grpc_sync import RegistrySync, _Link
from gateway.registry import Registry, RegistrySettings
from gateway.shared_registry import SharedRegistry
from gateway.syncing import MAX_CHANGES
from raftgossip.errors import RaftGossipError, TransportError
from raftgossip.ids import Address, NodeId
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role
from tests.support.keys import copied_keys
from tests.support.registry_builders import ids, node


@contextmanager
def served(keys: LiveCredentials | None = None) -> Iterator[tuple[GRPCGatewayServer, SharedRegistry]]:
    """A gateway and its registry."""
    server = GRPCGatewayServer("127.0.0.1", 0, keys=keys)
    server.start()
    try:
        assert server._running is not None
        yield server, server._running._shared
    finally:
        server.stop()


def register(shared: SharedRegistry, *node_ids: int) -> None:
    """Let nodes register."""
    with shared.operation() as (registry, moment):
        for node_id in node_ids:
            registry.register(node(node_id, owner="o"), moment)


def make_reader(server: GRPCGatewayServer) -> SharedRegistry:
    """The registry of a gateway that is told of the server."""
    settings = RegistrySettings(other_gateways=(f"127.0.0.1:{server.port}",))
    return SharedRegistry(Registry(settings, random.Random(1), now()), now, None)


@contextmanager
def linked(server: GRPCGatewayServer, shared: SharedRegistry, keys: LiveCredentials | None = None) -> Iterator[_Link]:
    """What reads the server."""
    link = _Link(shared, Address("127.0.0.1", server.port), keys)
    try:
        yield link
    finally:
        link.close()


def known(shared: SharedRegistry) -> list[int]:
    """The nodes that a gateway lists."""
    with shared.operation() as (registry, moment):
        return ids(registry.page(moment, 0, 0, 100_000).records)


@pytest.mark.parametrize("is_secure", [False, True])
def test_a_gateway_reads_another_ones_nodes_and_what_changes_later(tmp_path: Path, is_secure: bool) -> None:
    keys = copied_keys(tmp_path).credentials(Role.GATEWAY, None) if is_secure else None
    with served(keys) as (server, told):
        shared = make_reader(server)
        with linked(server, shared, keys) as link:
            register(told, 1)
            link.exchange()
            assert known(shared) == [1]
            register(told, 2)
            with told.operation() as (registry, moment):
                registry.remove(NodeId(1), moment)
            link.exchange()
            assert known(shared) == [2]


def test_a_long_list_is_read_whole(tmp_path: Path) -> None:
    with served() as (server, told):
        shared = make_reader(server)
        num_nodes = 2 * MAX_CHANGES + 7
        register(told, *range(1, num_nodes + 1))
        with linked(server, shared) as link:
            link.exchange()
        assert len(known(shared)) == num_nodes


@pytest.mark.parametrize(("reader", "answerer"), [(Role.PEER, Role.GATEWAY), (Role.GATEWAY, Role.PEER)])
def test_only_gateways_read_each_other(tmp_path: Path, reader: Role, answerer: Role) -> None:
    folder = copied_keys(tmp_path)
    names = {Role.PEER: "1", Role.GATEWAY: None}
    with served(folder.credentials(answerer, names[answerer])) as (server, told):
        shared = make_reader(server)
        register(told, 1)
        own = folder.credentials(reader, names[reader])
        with linked(server, shared, own) as link, pytest.raises(RaftGossipError):
            link.exchange()
        assert known(shared) == []


def test_the_threads_read_on_and_on_and_say_since_when() -> None:
    with served() as (server, told):
        shared = make_reader(server)
        sync = RegistrySync(shared, [Address("127.0.0.1", server.port)], None, interval_s=0.02)
        assert sync.states() == [f"127.0.0.1:{server.port}, never"]
        sync.start()
        try:
            for node_id in (1, 2):
                with shared.operation() as (reading, _):
                    version = reading.version
                register(told, node_id)
                shared.wait_for_change(version, 10, lambda: True)
                assert known(shared) == list(range(1, node_id + 1))
            assert "s ago" in sync.states()[0]
        finally:
            sync.stop()
        sync.stop()


def test_a_gateway_that_does_not_answer_is_told_once_and_so_is_its_return(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.grpc_sync")
    with served() as (server, _):
        shared, address = make_reader(server), Address("127.0.0.1", server.port)
    link = _Link(shared, address, None)
    try:
        for _ in range(3):
            with pytest.raises(TransportError) as failure:
                link.exchange()
            link.note(failure.value)
        link.note(None)
        link.note(None)
    finally:
        link.close()
    told = [record.getMessage().partition(" gateway=")[0] for record in caplog.records]
    assert told == ["another gateway cannot be read", "another gateway answers again"]


def test_a_closed_link_refuses_at_once() -> None:
    with served() as (server, _):
        with linked(server, make_reader(server)) as link:
            link.exchange()
        with pytest.raises(TransportError, match="closed"):
            link.exchange()


@pytest.mark.parametrize(
    ("is_secure", "others", "counts"), [(False, (), False), (False, ("127.0.0.1:1",), True), (True, (), True)]
)
def test_a_stranger_who_asks_is_no_gateway_for_which_the_naming_of_a_bootstrap_waits(
    tmp_path: Path, is_secure: bool, others: tuple[str, ...], counts: bool
) -> None:
    keys = copied_keys(tmp_path) if is_secure else None
    own = None if keys is None else keys.credentials(Role.GATEWAY, None)
    server = GRPCGatewayServer("127.0.0.1", 0, keys=keys, gateways=others, rebuild_grace=0)
    server.start()
    try:
        assert server._running is not None
        told, asker = server._running._shared, make_reader(server)
        with linked(server, asker, own) as link:
            link.exchange()
        with told.operation() as (registry, moment), asker.operation() as (asking, _):
            assert (asking.gateway_id in registry.gateway_ids) == counts
            named = registry.register(node(1, can_wait=True), moment).is_bootstrap
            assert named or counts
    finally:
        server.stop()
