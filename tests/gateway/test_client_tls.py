"""A client with keys: as whom it speaks, whom it believes, and that renewed keys count at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import gateway.client_keys
from gateway.client_arguments import parse
from gateway.grpc_gateway_client import GRPCGatewayClient, GRPCGatewayDiscoveryMixin, main
from gateway.grpc_gateway_server import GRPCGatewayServer
from raftgossip.errors import ConfigError, TransportError
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.fake_gateway import ScriptedGateway
from tests.support.happened import Happened
from tests.support.keys import ORGANISATION, make_keys, now_s

ALICE = f"spiffe://hearts.example/{ORGANISATION}/alice"
FIRST, SECOND = (f"spiffe://hearts.example/{ORGANISATION}/{node_id}" for node_id in (1, 2))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyFolder:
    """A federation with a gateway, the peers 1 and 2, and alice who operates it."""
    return make_keys(tmp_path_factory.mktemp("federation"))


def answer(method: str, _position: int) -> bytes:
    """Whatever is asked."""
    if method == "RegisterNode":
        return pb.RegisterNodeResponse(status="registered", node_id=1).SerializeToString()
    return pb.HealthCheckResponse(status="healthy").SerializeToString()


@contextmanager
def served(keys: KeyFolder, role: Role = Role.GATEWAY, name: str | None = None) -> Iterator[ScriptedGateway]:
    """A gateway with the keys of somebody."""
    with ScriptedGateway(answer, keys=keys.credentials(role, name)) as server:
        yield server


def test_a_reader_speaks_as_whoever_may_look_and_a_node_as_itself_once_it_registers(keys: KeyFolder) -> None:
    with served(keys) as server:
        client = GRPCGatewayClient(server.address, keys=keys.path)
        assert client.is_gateway_available()
        assert client.register_node(2, "127.0.0.1", 5002) is not None
        assert client.heartbeat() is not None and client.get_stats() is not None
        client.shutdown()
        shown = [(call.method, call.identity) for call in server.calls]
    assert shown == [
        ("HealthCheck", ALICE),
        ("RegisterNode", SECOND),
        ("Heartbeat", SECOND),
        ("GetStats", SECOND),
    ]


def test_credentials_that_were_read_already_are_taken_as_they_are(keys: KeyFolder) -> None:
    with served(keys) as server:
        client = GRPCGatewayClient(server.address, keys=keys.credentials(Role.PEER, "1"))
        assert client.register_node(1, "127.0.0.1", 5001) is not None
        client.shutdown()
        assert server.calls[0].identity == FIRST


def test_the_mixin_takes_keys_too(keys: KeyFolder) -> None:
    class Node(GRPCGatewayDiscoveryMixin):
        """A user's class."""

    with served(keys) as server:
        node = Node()
        assert node.initialize_gateway_discovery([server.address], 0, 1, "127.0.0.1", 5001, [], keys=str(keys.path))
        node.shutdown_gateway_discovery()
        assert [call.identity for call in server.calls] == [FIRST, FIRST]


def test_only_a_gateway_of_the_own_federation_is_believed(keys: KeyFolder, tmp_path: Path) -> None:
    foreign = make_keys(tmp_path)
    with served(keys, Role.PEER, "2") as peer, served(foreign) as other, ScriptedGateway(answer) as bare:
        for impostor in (peer, other, bare):
            client = GRPCGatewayClient(impostor.address, max_retry_attempts=1, keys=keys.path)
            with pytest.raises(TransportError):
                client.discover_cluster(1, "127.0.0.1", 5001)
            client.shutdown()
            assert impostor.calls == []


def test_a_client_without_keys_gets_no_answer_from_a_gateway_that_has_some(keys: KeyFolder) -> None:
    with served(keys) as server:
        client = GRPCGatewayClient(server.address, max_retry_attempts=1)
        assert not client.is_gateway_available()
        client.shutdown()
        assert server.calls == []


def test_gateways_whose_keys_are_wrong_are_passed_over_for_one_that_proves_itself(keys: KeyFolder) -> None:
    with served(keys, Role.PEER, "2") as impostor, served(keys) as server:
        client = GRPCGatewayClient([impostor.address, server.address], keys=keys.path)
        assert client.discover_cluster(1, "127.0.0.1", 5001)[1]["nodes"] == []
        assert client.current_gateway == server.address
        client.shutdown()


def test_a_renewed_certificate_is_shown_from_the_next_call_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.client_keys, "REFRESH_S", 0.0)
    keys = make_keys(tmp_path, peers=(1,))
    with served(keys) as server:
        client = GRPCGatewayClient(server.address, keys=keys.path)
        client.register_node(1, "127.0.0.1", 5001)
        assert client.heartbeat() is not None
        keys.renew(Role.PEER, "1", now_s(), new_key=True)
        assert client.heartbeat() is not None and client.heartbeat() is not None
        assert len(client._connection._open_links) == 1
        client.shutdown()
        connections = [call.peer for call in server.calls]
    assert connections[0] == connections[1] != connections[2] == connections[3]


def test_keys_that_became_unreadable_leave_those_from_before_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gateway.client_keys, "REFRESH_S", 0.0)
    keys = make_keys(tmp_path, peers=(1,))
    with served(keys) as server:
        client = GRPCGatewayClient(server.address, keys=keys.path)
        client.register_node(1, "127.0.0.1", 5001)
        (keys.path / "nodes" / "peer-1.pem").write_text("half a certificate")
        assert all(client.heartbeat() is not None for _ in range(3))
        client.shutdown()
    assert len([record for record in caplog.records if "cannot be used" in record.getMessage()]) == 1


def test_missing_keys_are_named_and_never_replaced_by_the_open(keys: KeyFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no key folder.*raftgossip keys init"):
        GRPCGatewayClient("127.0.0.1", keys=tmp_path)
    with served(keys) as server:
        client = GRPCGatewayClient(server.address, keys=keys.path)
        failed: list[str] = []
        client.on_registration_failure = failed.append
        with pytest.raises(ConfigError, match="7"):
            client.discover_cluster(7, "127.0.0.1", 5007)
        assert client.register_node(7, "127.0.0.1", 5007) is None
        assert len(failed) == 2 and client.last_error == failed[1] != ""
        client.shutdown()
        assert server.calls == []


def test_nodes_move_to_another_gateway_and_speak_only_for_themselves(keys: KeyFolder) -> None:
    servers = [GRPCGatewayServer("127.0.0.1", 0, keys=keys) for _ in range(2)]
    for server in servers:
        server.start()
    gateways = [f"127.0.0.1:{server.port}" for server in servers]
    nodes = [GRPCGatewayClient(gateways, keys=keys.path) for _ in range(2)]
    alice = GRPCGatewayClient(gateways[1], keys=keys.path)
    moved = Happened()
    for node_id, node in enumerate(nodes, start=1):
        assert node.register_node(node_id, "127.0.0.1", 5000 + node_id) is not None
        node.on_registration_success = moved
    assert nodes[1].get_nodes()[0]["identity"] == FIRST
    servers[0].stop()
    for node in nodes:
        node.get_leader()
    moved.wait(2)
    assert [node["node_id"] for node in alice.get_nodes()] == [1, 2]
    assert not nodes[0].remove_node(2) and not nodes[0].update_leader(2)
    assert nodes[0].update_leader(1, 3) and alice.remove_node(2)
    for client in (*nodes, alice):
        client.shutdown()
    servers[1].stop()


# --- the program


def test_the_program_takes_keys_and_several_gateways(
    keys: KeyFolder, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with served(keys) as server:
        hosts = ["--gateway-host", "127.0.0.1:1", "--gateway-host", server.address]
        assert main([*hosts, "--node-id", "1", "--keys", str(keys.path)]) == 0
        assert capsys.readouterr().out.startswith("bootstrap: False\nother nodes: 0\n")
        assert main(["--gateway-host", server.address, "--node-id", "1", "--keys", str(tmp_path)]) == 2
        assert "no key folder" in capsys.readouterr().err
        assert [call.identity for call in server.calls] == [FIRST, FIRST]


def test_the_program_uses_the_keys_of_the_working_directory_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse(["--node-id", "1"]).keys is None
    make_keys(tmp_path).path.rename(tmp_path / "raftgossip-keys")
    assert parse(["--node-id", "1"]).keys == "raftgossip-keys"
    assert parse(["--node-id", "1", "--insecure"]).keys is None
    with pytest.raises(SystemExit):
        parse(["--node-id", "1", "--insecure", "--keys", "elsewhere"])
