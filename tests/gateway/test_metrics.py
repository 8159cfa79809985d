"""The metrics: a strict parser reads them, they count what happened, and with certificates only members read them."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import BUCKETS_S, CallCounts, Gauge, MetricsPage
from raftgossip import __version__
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.keys import now_s
from tests.support.trusted_gateway import dial, make_federation, outcome, register, running, send

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """Every number of the page by its name and labels; fails if one stands there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def read(port: int | None, credentials: LiveCredentials | None = None, path: str = "/metrics") -> str:
    """The page, as Prometheus gets it."""
    if credentials is None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            return str(answer.read().decode())
    now = credentials.current()
    context = ssl.create_default_context(cafile=str(now.root_path))
    context.check_hostname = False
    context.load_cert_chain(now.chain_path, now.key_path)
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", timeout=5, context=context) as answer:
        return str(answer.read().decode())


def test_calls_are_counted_by_method_and_code_and_timed() -> None:
    counts = CallCounts()
    counts.note("/S/A", "OK", 0.0001)
    counts.note("/S/A", "OK", 100.0)
    counts.note("/S/A", "NOT_FOUND", BUCKETS_S[1])
    assert counts.ends() == {("/S/A", "OK"): 2, ("/S/A", "NOT_FOUND"): 1}
    buckets, seconds = counts.durations()["/S/A"]
    assert (buckets[0], buckets[1], buckets[-1], sum(buckets)) == (1, 1, 1, 3)
    assert seconds == pytest.approx(100.0011)


def test_the_page_can_be_read_by_a_strict_parser() -> None:
    counts = CallCounts()
    counts.note('/S/"quoted"\\\n', "OK", 0.0001)

    def gauges() -> Iterator[Gauge]:
        yield Gauge("nodes", 'Nodes, with a "quote"\nand a line.', 3)

    found = samples(MetricsPage(counts, gauges, "1.2").text().decode())
    assert found["raftgossip_gateway_calls_total", (("code", "OK"), ("method", '/S/"quoted"\\\n'))] == 1
    assert found["raftgossip_gateway_nodes", ()] == 3
    assert found["raftgossip_gateway_build", (("version", "1.2"),)] == 1
    assert (
        found["raftgossip_gateway_call_seconds_bucket", (("le", "+Inf"), ("method", '/S/"quoted"\\\n'))]
        == found["raftgossip_gateway_call_seconds_count", (("method", '/S/"quoted"\\\n'),)]
        == 1
    )


def test_a_gateways_page_tells_its_nodes_watchers_and_calls() -> None:
    with running(metrics_port=0) as server, dial(server.port, None) as channel:
        register(channel, 1)
        register(channel, 2)
        outcome(channel, "Heartbeat", pb.HeartbeatRequest(node_id=-1))
        outcome(channel, "/made/up")
        send(channel, "UpdateLeader", pb.UpdateLeaderRequest(leader_id=1))
        found = samples(read(server.metrics_port))
    gateway = "raftgossip_gateway_"
    expected = {"nodes": 2, "active_nodes": 2, "suspected_nodes": 0, "watchers": 0, "knows_leader": 1}
    assert {name: found[gateway + name, ()] for name in expected} == expected
    assert found[gateway + "registry_version", ()] == 3
    assert found[gateway + "build", (("version", __version__),)] == 1
    calls = {labels: value for (name, labels), value in found.items() if name == gateway + "calls_total"}
    assert calls == {
        (("code", "OK"), ("method", "/GatewayService/RegisterNode")): 2,
        (("code", "INVALID_ARGUMENT"), ("method", "/GatewayService/Heartbeat")): 1,
        (("code", "OK"), ("method", "/GatewayService/UpdateLeader")): 1,
        (("code", "UNIMPLEMENTED"), ("method", "unknown")): 1,
    }
    assert (gateway + "certificate_expiry_seconds", ()) not in found


def test_only_the_one_page_is_there_and_the_port_is_free_afterwards() -> None:
    with running(metrics_port=0) as server:
        port = server.metrics_port
        with pytest.raises(urllib.error.HTTPError) as caught:
            read(port, path="/other")
        caught.value.close()
        assert caught.value.code == 404
    assert server.metrics_port is None
    with socket.create_server(("127.0.0.1", port or 0)):
        pass


def test_connections_that_say_nothing_keep_nobody_from_reading() -> None:
    with running(metrics_port=0) as server:
        silent = [socket.create_connection(("127.0.0.1", server.metrics_port or 0)) for _ in range(4)]
        assert "raftgossip_gateway_nodes" in read(server.metrics_port)
        for each in silent:
            each.close()


def test_with_certificates_only_those_who_may_see_statistics_read_them(tmp_path: Path) -> None:
    keys = make_federation(tmp_path)
    with running(metrics_port=0, keys=keys) as server:
        port = server.metrics_port
        silent = socket.create_connection(("127.0.0.1", port or 0))  # a handshake that never ends holds up nobody
        found = samples(read(port, keys.credentials(Role.OBSERVER, "olga")))
        assert 86_000 < found["raftgossip_gateway_certificate_expiry_seconds", ()] < 86_500
        with pytest.raises(urllib.error.HTTPError) as caught:
            read(port, keys.credentials(Role.GATEWAY, "gateway-1"))
        with caught.value:
            assert caught.value.code == 403
            assert caught.value.read().startswith(b"rule method-by-role: ")
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            read(port)
        keys.revoke(Role.OBSERVER, "olga", now_s())
        server.reload()
        with pytest.raises(urllib.error.HTTPError) as caught:
            read(port, keys.credentials(Role.OBSERVER, "olga"))
        with caught.value:
            assert b"revoked" in caught.value.read()
        silent.close()


def test_a_renewed_certificate_is_shown_at_the_metrics_too(tmp_path: Path) -> None:
    keys = make_federation(tmp_path)
    with running(metrics_port=0, keys=keys) as server:

        def shown() -> int:
            now = keys.credentials(Role.PEER, "1").current()
            context = ssl.create_default_context(cafile=str(now.root_path))
            context.check_hostname = False
            context.load_cert_chain(now.chain_path, now.key_path)
            with (
                socket.create_connection(("127.0.0.1", server.metrics_port or 0)) as raw,
                context.wrap_socket(raw) as connected,
            ):
                return int(str((connected.getpeercert() or {})["serialNumber"]), 16)

        before = shown()
        renewed = keys.renew(Role.GATEWAY, "gateway-1", now_s(), new_key=True)
        server.reload()
        assert shown() == renewed.serial != before
