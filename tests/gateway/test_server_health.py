"""The standard health service of gRPC, and the gateway's log lines."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]  # there are no stubs for it

from gateway.grpc_health_service import MAX_HEALTH_WATCHERS, MAX_OF_IDENTITY
from gateway.log_lines import Event, JsonLines
from raftgossip.trust.identity import Role
from tests.support.trusted_gateway import HOLDERS, dial, make_federation, running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", "GatewayService"])
def test_a_gateway_that_runs_serves(service: str) -> None:
    with running() as server, dial(server.port, None) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == SERVING


def test_an_unknown_service_is_not_found_and_in_a_stream_unknown() -> None:
    with running() as server, dial(server.port, None) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=5)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        stream = stub.Watch(health_pb2.HealthCheckRequest(service="other"), timeout=5)
        assert next(stream).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        stream.cancel()


def test_who_watches_hears_that_the_gateway_stops() -> None:
    with running() as server, dial(server.port, None) as channel:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(stream).status == SERVING
        server.stop()
        assert [answer.status for answer in stream] == [NOT_SERVING]


def test_too_many_watchers_of_the_health_are_told_to_ask_instead() -> None:
    with running(max_watchers=1) as server, dial(server.port, None) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        streams = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(MAX_HEALTH_WATCHERS)]
        for stream in streams:
            next(stream)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=20))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for stream in streams:
            stream.cancel()


def test_nobody_takes_all_places_of_those_who_watch_the_health(tmp_path: Path) -> None:
    keys = make_federation(tmp_path)
    olga, alice = (keys.credentials(role, HOLDERS[role]) for role in (Role.OBSERVER, Role.OPERATOR))
    with running(keys=keys) as server, dial(server.port, olga) as greedy, dial(server.port, alice) as other:
        watch = health_pb2_grpc.HealthStub(greedy).Watch
        streams = [watch(health_pb2.HealthCheckRequest(), timeout=20) for _ in range(MAX_OF_IDENTITY)]
        for stream in streams:
            next(stream)
        with pytest.raises(grpc.RpcError, match="2 times already") as caught:
            next(watch(health_pb2.HealthCheckRequest(), timeout=20))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        streams += [health_pb2_grpc.HealthStub(other).Watch(health_pb2.HealthCheckRequest(), timeout=20)]
        assert next(streams[-1]).status == SERVING
        for stream in streams:
            stream.cancel()


def record(event: object) -> logging.LogRecord:
    """As `logger.warning(event)` makes it."""
    return logging.LogRecord("gateway.x", logging.WARNING, "f.py", 1, event, None, None)


def test_a_line_of_text_has_the_sentence_and_its_pairs_and_quotes_what_is_not_plain() -> None:
    line = str(Event("node removed", node_id=7, address="[::1]:80", reason='it said "no"\n', empty=""))
    assert line == r'node removed node_id=7 address=[::1]:80 reason="it said \"no\"\n" empty=""'


def test_a_line_of_json_has_the_sentence_and_its_values_by_name() -> None:
    line = json.loads(JsonLines().format(record(Event("node removed", node_id=7, reason="x y"))))
    assert line.pop("time")
    assert line == {
        "level": "WARNING",
        "logger": "gateway.x",
        "event": "node removed",
        "node_id": 7,
        "reason": "x y",
    }


def test_other_lines_become_json_too() -> None:
    assert json.loads(JsonLines().format(record("plain")))["event"] == "plain"
