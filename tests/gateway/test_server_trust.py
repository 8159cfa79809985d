"""Certificates of a gateway that runs: renewed without a restart; expired, foreign and revoked ones are refused."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from gateway import clock
from gateway.grpc_gateway_server import GRPCGatewayServer
from gateway.registry_values import Moment
from raftgossip.errors import ConfigError
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.gateway_program import SERVERS, GatewayProcess, run
from tests.support.keys import ORGANISATION, make_keys, now_s
from tests.support.trusted_gateway import (
    dial,
    failure,
    make_federation,
    outcome,
    refusal,
    register,
    running,
    send,
)

DAY_S = 86_400.0


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    """A federation for one test."""
    return make_federation(tmp_path)


class Clock:
    """The gateway's clock, which can be put forward."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def now(self) -> Moment:
        """As `gateway.clock.now`."""
        real = clock.now()
        return Moment(real.monotonic_ms, real.wall_seconds + self.ahead_s)


@pytest.fixture
def shifted(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Every gateway of the test reads this clock."""
    made = Clock()
    monkeypatch.setattr("gateway.grpc_running.now", made.now)
    monkeypatch.setattr("gateway.grpc_gateway_server.now", made.now)
    return made


@pytest.fixture
def server(keys: KeyFolder, shifted: Clock) -> Iterator[GRPCGatewayServer]:
    """With certificates."""
    with running(keys=keys) as gateway:
        yield gateway


def test_a_revoked_certificate_is_refused_on_an_open_connection_within_seconds(
    keys: KeyFolder, server: GRPCGatewayServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
        register(channel, 1)
        keys.revoke(Role.PEER, "1", now_s())
        server.reload()
        code, sentence = refusal(channel, "Heartbeat", pb.HeartbeatRequest(node_id=1))
    assert code == "UNAUTHENTICATED" and "revoked" in sentence


def test_a_revocation_that_an_operator_publishes_counts_from_the_next_call_on(keys: KeyFolder, tmp_path: Path) -> None:
    gateways = KeyFolder(tmp_path / "elsewhere")  # the gateway has a folder of its own
    request = gateways.request(Role.GATEWAY, "far", ORGANISATION)
    gateways.accept(keys.sign(request, ORGANISATION, now_s()))
    with (
        running(keys=gateways) as server,
        dial(server.port, keys.credentials(Role.PEER, "1")) as peer,
        dial(server.port, keys.credentials(Role.OPERATOR, "alice")) as operator,
    ):
        register(peer, 1)
        keys.revoke(Role.PEER, "1", now_s())
        publish = pb.PublishRevocationsRequest(revocation_list=keys.revocation_list(ORGANISATION))
        answers = [
            pb.PublishRevocationsResponse.FromString(send(operator, "PublishRevocations", publish)).message
            for _ in range(2)
        ]
        assert outcome(peer, "HealthCheck") == "UNAUTHENTICATED"
        assert refusal(operator, "PublishRevocations", pb.PublishRevocationsRequest(revocation_list=b"junk"))[0] in {
            "UNAUTHENTICATED",
            "INVALID_ARGUMENT",
        }
    assert answers == ["the list is in force", "a list that is as new or newer is in force already"]


def test_a_certificate_that_expires_is_refused_on_an_open_connection(
    keys: KeyFolder, server: GRPCGatewayServer, shifted: Clock
) -> None:
    with dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
        register(channel, 1)
        shifted.ahead_s = DAY_S + 300
        code, sentence = refusal(channel, "Heartbeat", pb.HeartbeatRequest(node_id=1))
        assert code == "UNAUTHENTICATED" and "expired" in sentence
        shifted.ahead_s = -DAY_S
        assert outcome(channel, "HealthCheck") == "UNAUTHENTICATED"


def test_a_certificate_of_another_federation_gets_no_connection(server: GRPCGatewayServer, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    foreign = make_keys(tmp_path / "foreign")
    with dial(server.port, foreign.credentials(Role.PEER, "1")) as channel:
        error = failure(lambda: send(channel, "HealthCheck"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE


def test_a_renewed_certificate_is_shown_from_the_next_connection_on(keys: KeyFolder, server: GRPCGatewayServer) -> None:
    def shown() -> int:
        now = keys.credentials(Role.PEER, "1").current()
        context = ssl.create_default_context(cafile=str(now.root_path))
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        context.load_cert_chain(now.chain_path, now.key_path)
        with (
            socket.create_connection(("127.0.0.1", server.port)) as raw,
            context.wrap_socket(raw) as connected,
        ):
            return int(str((connected.getpeercert() or {})["serialNumber"]), 16)

    with dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
        before = shown()
        assert outcome(channel, "HealthCheck") == "OK"
        renewed = keys.renew(Role.GATEWAY, "gateway-1", now_s(), new_key=True)
        server.reload()
        assert shown() == renewed.serial != before
        assert outcome(channel, "HealthCheck") == "OK"  # the open connection goes on


def test_the_gateway_warns_once_of_its_certificate_that_ends_soon_and_again_when_it_has_ended(
    keys: KeyFolder, shifted: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]

    with running(keys=keys) as server:
        server.reload()
        assert warnings() == []
        shifted.ahead_s = DAY_S * 0.7
        for _ in range(3):
            server.reload()
        assert len(warnings()) == 1 and "expires in " in warnings()[0] and "raftgossip keys renew" in warnings()[0]
        shifted.ahead_s = DAY_S + 1
        for _ in range(3):
            server.reload()
        assert len(warnings()) == 2 and "HAS EXPIRED" in warnings()[1]
        keys.renew(Role.GATEWAY, "gateway-1", now_s(), days=30)
        server.reload()
        assert len(warnings()) == 2


def test_damaged_keys_leave_the_old_ones_in_force_and_are_told(
    keys: KeyFolder, server: GRPCGatewayServer, caplog: pytest.LogCaptureFixture
) -> None:
    with dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
        path = keys.path / "nodes" / "gateway-gateway-1.pem"
        path.write_text("junk")
        server.reload()
        assert outcome(channel, "HealthCheck") == "OK"
    assert "some of the keys cannot be used" in caplog.text


def test_without_a_certificate_for_a_gateway_it_does_not_start_and_never_runs_in_the_open(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no key folder.*raftgossip keys init"):
        GRPCGatewayServer(keys=tmp_path / "none")
    keys = make_keys(tmp_path, gateway=False)
    with pytest.raises(ConfigError, match=r"gateway.*or give --insecure"):
        GRPCGatewayServer(keys=keys)


def test_one_of_several_certificates_for_gateways_must_be_named(keys: KeyFolder) -> None:
    keys.issue(ORGANISATION, Role.GATEWAY, "gateway-2", now_s())
    with pytest.raises(ConfigError, match="gateway-1, gateway-2"):
        GRPCGatewayServer(keys=keys)
    with running(keys=keys, name="gateway-2") as server, dial(server.port, keys.credentials(Role.PEER, "1")) as channel:
        assert outcome(channel, "HealthCheck") == "OK"


@pytest.mark.slow
def test_the_program_refuses_keys_that_are_not_there() -> None:
    ended = run("-m", "gateway", "--port", "0", "--keys", "no-such-folder")
    assert ended.returncode == 2
    assert ended.stderr.startswith("raftgossip: keys: no-such-folder is no key folder")


@pytest.mark.slow
def test_the_program_takes_the_keys_that_lie_beside_it_unless_told_otherwise(tmp_path: Path) -> None:
    made = make_keys(tmp_path)
    made.path.rename(tmp_path / "raftgossip-keys")
    program = str(Path(SERVERS[0][0]))
    keys = KeyFolder(tmp_path / "raftgossip-keys")
    with (
        GatewayProcess([program], folder=tmp_path) as process,
        dial(int(process.port), keys.credentials(Role.PEER, "1")) as channel,
    ):
        assert outcome(channel, "HealthCheck") == "OK"
    with GatewayProcess([program], "--insecure", folder=tmp_path) as process, dial(int(process.port), None) as channel:
        assert outcome(channel, "HealthCheck") == "OK"
