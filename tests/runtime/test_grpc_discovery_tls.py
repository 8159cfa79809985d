"""A peer and its gateways with certificates: only gateways of the federation hear who is where."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from raftgossip.errors import TransportError
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.grpc_discovery import GatewayDiscovery
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role
from tests.support.keys import copied_keys, make_keys, now_s
from tests.support.secured import peer_of
from tests.support.small_gateway import SmallGateway

ME, HOME = NodeId(1), Address("10.0.0.1", 7001)


async def register(gateway: SmallGateway, credentials: LiveCredentials | None) -> bool:
    discovery = GatewayDiscovery([gateway.address], credentials)
    try:
        return (await discovery.register(ME, HOME, "o", "")).is_bootstrap
    finally:
        await discovery.close()


def test_a_gateway_of_the_federation_is_spoken_to(tmp_path: Path) -> None:
    keys = copied_keys(tmp_path)
    with SmallGateway(credentials=keys.credentials(Role.GATEWAY, None)) as gateway:
        assert asyncio.run(register(gateway, peer_of(keys, 1)))


def test_neither_a_peer_nor_a_foreign_gateway_nor_an_open_one_is_taken_for_the_gateway(tmp_path: Path) -> None:
    keys, foreign = copied_keys(tmp_path), make_keys(tmp_path / "foreign")
    for shown in (keys.credentials(Role.PEER, "2"), foreign.credentials(Role.GATEWAY, None), None):
        with SmallGateway(credentials=shown) as gateway:
            with pytest.raises(TransportError):
                asyncio.run(register(gateway, peer_of(keys, 1)))
            assert gateway.requests == []


def test_a_renewed_certificate_is_shown_on_a_new_connection(tmp_path: Path) -> None:
    keys = copied_keys(tmp_path)
    shown: list[object] = []
    peers = set[str]()

    class Noting(SmallGateway):
        def _come(self, call: str, request: object, context: object) -> None:
            shown.append(context.auth_context()["x509_pem_cert"][0])  # type: ignore[attr-defined]
            peers.add(context.peer())  # type: ignore[attr-defined]

    async def main(gateway: SmallGateway) -> None:
        credentials = peer_of(keys, 1)
        discovery = GatewayDiscovery([gateway.address], credentials)
        await discovery.register(ME, HOME, "o", "c1")
        assert await discovery.renew(ME, "c1")
        keys.renew(Role.PEER, "1", now_s())
        assert credentials.refresh()
        assert await discovery.renew(ME, "c1")
        await discovery.close()

    with Noting(credentials=keys.credentials(Role.GATEWAY, None)) as gateway:
        asyncio.run(main(gateway))
    assert len(peers) == 2
    assert shown[0] == shown[1] != shown[2]
