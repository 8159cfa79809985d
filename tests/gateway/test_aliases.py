"""The names of the HTTP era: they work, and whoever uses them hears what replaced them."""

from __future__ import annotations

import warnings

import pytest

import gateway
from gateway.gateway_client import GatewayClient, GatewayDiscoveryMixin
from gateway.gateway_server import GatewayServer
from gateway.grpc_gateway_client import GRPCGatewayClient, GRPCGatewayDiscoveryMixin
from gateway.grpc_gateway_server import GRPCGatewayServer
from tests.support.gateway_program import ROOT, run


class OldNode(GatewayDiscoveryMixin):
    """A user's class of that time."""


def test_a_former_name_works_and_says_the_new_one_where_it_is_used() -> None:
    with pytest.warns(DeprecationWarning, match=r"gateway\.GRPCGatewayServer") as noted:
        server = GatewayServer("127.0.0.1", 0)
    assert [warning.filename for warning in noted] == [__file__]
    server.start()
    with pytest.warns(DeprecationWarning, match=r"gateway\.GRPCGatewayClient") as noted:
        client = GatewayClient("127.0.0.1", server.port, 5.0)
    assert [warning.filename for warning in noted] == [__file__]
    node = OldNode()
    with pytest.warns(DeprecationWarning, match=r"gateway\.GRPCGatewayDiscoveryMixin") as noted:
        assert node.initialize_gateway_discovery("127.0.0.1", server.port, 1, "127.0.0.1", 5001, ["raft"])
    assert [warning.filename for warning in noted] == [__file__]
    assert [known["node_id"] for known in client.get_nodes()] == [1]
    assert isinstance(server, GRPCGatewayServer) and isinstance(client, GRPCGatewayClient)
    assert isinstance(node, GRPCGatewayDiscoveryMixin)
    node.shutdown_gateway_discovery()
    client.shutdown()
    server.stop()


def test_only_the_port_of_the_http_gateway_brings_a_hint() -> None:
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        GatewayClient("127.0.0.1", 8080).shutdown()
        GatewayServer("127.0.0.1", 8080)
        GatewayClient("127.0.0.1", 8090).shutdown()
        GatewayServer("127.0.0.1")
    assert ["8090 unless told otherwise" in str(warning.message) for warning in noted] == [True, True, False, False]


def test_the_package_offers_the_former_names_but_does_not_list_them() -> None:
    assert gateway.GatewayClient is GatewayClient
    assert gateway.GatewayDiscoveryMixin is GatewayDiscoveryMixin
    assert gateway.GatewayServer is GatewayServer
    assert not {"GatewayClient", "GatewayDiscoveryMixin", "GatewayServer"} & {*gateway.__all__, *dir(gateway)}


@pytest.mark.slow
def test_the_former_modules_can_be_imported_inside_the_folder() -> None:
    program = (
        "from gateway_server import GatewayServer; from gateway_client import GatewayClient, GatewayDiscoveryMixin; "
        "s = GatewayServer(port=0); s.start(); c = GatewayClient('localhost', s.port); "
        "print(c.is_gateway_available()); c.shutdown(); s.stop()"
    )
    ended = run("-c", program, folder=ROOT / "gateway")
    assert ended.stdout == "True\n" and ended.stderr.count("DeprecationWarning") == 2, ended.stderr
