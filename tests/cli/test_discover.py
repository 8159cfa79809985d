"""`raftgossip discover` and `gateway-set`, over real loopback gRPC from a gateway with canned answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

import raftgossip.cli.discovering
from raftgossip.errors import PermissionDenied
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.cli.conftest import Outcome
from tests.support.canned_gateway import REGISTRY, CannedGateway, node_info, serving_gateway
from tests.support.canned_peer import CannedPeer, serving

Command = Callable[..., Outcome]


@pytest.fixture
def gateway() -> CannedGateway:
    return CannedGateway()


@pytest.fixture
def address(gateway: CannedGateway) -> Iterator[str]:
    with serving_gateway(gateway) as served_at:
        yield served_at


def event(kind: str, version: int, node_id: int = 0, **known: object) -> pb.NodeEvent:
    return pb.NodeEvent(kind=kind, registry_version=version, registry_id=REGISTRY, node_id=node_id, **known)  # type: ignore[arg-type]


def test_it_shows_cluster_leader_and_nodes(command: Command, address: str) -> None:
    outcome = command("discover", "--gateway", address)
    assert (outcome.code, outcome.err) == (0, "")
    for words in (
        "rg-7",
        "3 registered, 2 active, 1 silent",
        "node 2 at 10.0.0.7:7002, term 5, reported 3.2 s ago",
        "version 12 of r1",
        "node_timeout=300",
        "0:01:01",
        "spiffe://hearts.example/clinic/1",
    ):
        assert words in outcome.out


def test_as_json_it_has_all_nodes_over_all_pages(command: Command, address: str) -> None:
    document = json.loads(command("discover", "--gateway", address, "--json").out)
    assert [node["node_id"] for node in document["nodes"]] == [1, 2, 3]
    assert [node["identity"] for node in document["nodes"]] == ["spiffe://hearts.example/clinic/1", None, None]
    assert document["leader"] == {"node_id": 2, "address": "10.0.0.7:7002", "term": 5, "age_ms": 3200}
    assert (document["cluster_id"], document["is_founding"]) == ("rg-7", True)


def test_people_are_shown_only_so_many_nodes(command: Command, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raftgossip.cli.discovering, "NUM_SHOWN", 1)
    shown = command("discover", "--gateway", address).out
    assert "10.0.0.7:7001" in shown and "10.0.0.7:7003" not in shown
    assert "3 nodes are registered; --json shows all" in shown


def test_a_gateway_of_the_original_eight_calls_is_shown_too(
    command: Command, gateway: CannedGateway, address: str
) -> None:
    gateway.stats = pb.GetStatsResponse(total_nodes=1, active_nodes=1, registry_version=1)
    gateway.leader = pb.GetLeaderResponse(leader=pb.NodeInfo(node_id=0), message="no leader")
    shown = command("discover", "--gateway", address).out
    assert "none is known: the first node that registers may found one" in shown
    assert "none was reported" in shown
    document = json.loads(command("discover", "--gateway", address, "--json").out)
    assert (document["cluster_id"], document["registry_id"], document["leader"]) == (None, None, None)


def test_what_a_gateway_says_is_shown_and_not_obeyed(command: Command, gateway: CannedGateway, address: str) -> None:
    gateway.nodes = [node_info(1, metadata={"site": "[bold]\x1b[2J"})]
    gateway.nodes[0].last_seen = float("nan")
    assert r"site=[bold]\x1b[2J" in command("discover", "--gateway", address).out
    json.loads(
        command("discover", "--gateway", address, "--json").out,
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )


def test_of_several_gateways_the_first_that_answers_is_asked(command: Command, address: str, dead_address: str) -> None:
    document = json.loads(command("discover", "--gateway", f"{dead_address},{address}", "--json").out)
    assert document["gateway"] == address


def test_a_silent_gateway_is_named_and_code_3(command: Command, dead_address: str) -> None:
    outcome = command("discover", "--gateway", dead_address)
    assert outcome.code == 3
    assert f"no gateway answers at {dead_address}" in outcome.complaint
    assert "raftgossip gateway" in outcome.complaint


@pytest.mark.parametrize("arguments", [(), ("--watch",)])
def test_a_peer_is_no_gateway(command: Command, arguments: tuple[str, ...]) -> None:
    with serving(CannedPeer(1)) as peer:
        outcome = command("discover", "--gateway", peer, *arguments)
    assert outcome.code == 2
    assert f"{peer} is no gateway" in outcome.complaint


def test_watching_goes_on_where_a_stream_ended(
    command: Command, gateway: CannedGateway, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.discovering, "REDIAL_S", 0.0)
    gateway.streams = [
        [
            event("reset", 0),
            event("reset", 0),
            event("joined", 3, 1, node=node_info(1)),
            event("leader", 4, 1, node=node_info(1), term=2),
        ],
        [event("left", 5, 1), event("leader", 6)],
    ]
    outcome = command("discover", "--gateway", address, "--watch")
    assert gateway.watched_from == [(0, ""), (4, REGISTRY), (6, REGISTRY)]
    assert outcome.out.splitlines() == [
        "                everybody who is there:",
        "version 3       node 1 joined at 10.0.0.7:7001, active",
        "version 4       node 1 leads at 10.0.0.7:7001, active in term 2",
        "version 5       node 1 left",
        "version 6       no leader is known",
    ]
    assert (outcome.code, outcome.complaint) == (1, "raftgossip: the certificate has been revoked")


def test_watching_as_json_has_one_change_a_line(
    command: Command, gateway: CannedGateway, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.discovering, "REDIAL_S", 0.0)
    gateway.streams = [[event("joined", 3, 1, node=node_info(1)), event("left", 4, 1)]]
    found = [
        json.loads(line) for line in command("discover", "--gateway", address, "--watch", "--json").out.splitlines()
    ]
    assert [(each["kind"], each["node_id"], each["registry_version"]) for each in found] == [
        ("joined", 1, 3),
        ("left", 1, 4),
    ]
    assert found[0]["node"]["address"] == "10.0.0.7:7001" and found[1]["node"] is None


def test_settings_are_shown_and_changed(command: Command, gateway: CannedGateway, address: str) -> None:
    assert "node_timeout  300" in command("gateway-set", "--gateway", address).out
    shown = command("gateway-set", "node-timeout=60", "--gateway", address)
    assert (shown.code, shown.err) == (0, "")
    assert gateway.settings == {"node_timeout": "60", "rate": "50"}
    document = json.loads(command("gateway-set", "rate=7", "--gateway", address, "--json").out)
    assert document == {"settings": {"node_timeout": "60", "rate": "7"}, "changed": ["rate"]}


def test_a_refused_setting_is_told_in_the_gateways_words(
    command: Command, gateway: CannedGateway, address: str
) -> None:
    gateway.error = PermissionDenied("rule method-by-role: Configure is open to operator")
    outcome = command("gateway-set", "rate=7", "--gateway", address)
    assert (outcome.code, outcome.complaint) == (1, f"raftgossip: {gateway.error}")


@pytest.mark.parametrize("text", ["rate", "=7"])
def test_a_setting_without_name_or_value_is_wrong_use(command: Command, text: str) -> None:
    outcome = command("gateway-set", text, "--gateway", "h:1")
    assert outcome.code == 2
    assert "NAME=VALUE" in outcome.complaint
