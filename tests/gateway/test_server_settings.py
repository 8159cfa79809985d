"""The settings of a gateway: how they are checked, and changed while it runs, by its file and by an operator's call."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.live_settings import LiveSettings
from gateway.program import read_arguments
from gateway.settings import RULES, GatewaySettings, live_texts, load_toml, make_settings, setting_from_text, text_of
from raftgossip.cli.main import main as command
from raftgossip.errors import ConfigError
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.gateway_program import SERVERS, GatewayProcess
from tests.support.trusted_gateway import dial, outcome, refusal, register, running, send

LIVE = {
    "node_timeout",
    "heartbeat_interval",
    "rebuild_grace",
    "max_nodes",
    "max_calls_per_caller",
    "rate_per_s",
    "burst",
    "log_level",
}


@pytest.fixture(autouse=True)
def _log_level() -> Iterator[None]:
    """A gateway may change the level of its log."""
    level = logging.getLogger("gateway").level
    yield
    logging.getLogger("gateway").setLevel(level)


def configure(channel: object, **settings: str) -> dict[str, str]:
    """Change settings by a call; all as they are then."""
    answer = send(channel, "Configure", pb.ConfigureRequest(settings=settings))  # type: ignore[arg-type]  # a channel
    return dict(pb.ConfigureResponse.FromString(answer).settings)


# --- values


def test_every_default_is_allowed_and_every_setting_has_a_rule() -> None:
    assert set(RULES) == set(GatewaySettings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("port", 70000, "port is 70000; it must be a whole number from 0 to 65535"),
        ("port", True, "port is True"),
        ("max_nodes", 0, "max_nodes is 0; it must be a whole number from 1 to"),
        ("node_timeout", float("inf"), "node_timeout is inf; it must be a number of seconds from 0.002 to 10,000,000"),
        ("rate_per_s", "fast", "rate_per_s is 'fast'"),
        ("log_level", "LOUD", "log_level is 'LOUD'; it must be DEBUG, INFO, WARNING or ERROR"),
        ("insecure", 1, "insecure is 1; it must be true or false"),
        ("gateways", 5, "gateways is 5; it must be an address, host:port, or a list of them"),
        ("gateways", "http://a:1", "gateways: the address 'http://a:1' begins with http://"),
        ("data_dir", "", "data_dir is ''; it must be the path of a directory"),
        ("host", "a\nb", "host is 'a\\nb'; it must be a text in one line"),
    ],
)
def test_a_wrong_value_names_its_key_and_what_is_allowed(key: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings(**{key: value})
    assert str(caught.value).startswith(says)


def test_an_unknown_setting_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="unknown setting 'node_timout'; did you mean node_timeout"):
        make_settings(node_timout=3)


def test_addresses_without_a_port_mean_the_gateways_own() -> None:
    assert make_settings(gateways="a, b:1").gateways == ("a:8090", "b:1")


@pytest.mark.parametrize("key", sorted(LIVE))
def test_a_live_setting_survives_as_a_text(key: str) -> None:
    value = getattr(GatewaySettings(), key)
    assert setting_from_text(key, text_of(value)) == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("port = 'high'", "port is 'high'"),
        ("prot = 1", "unknown key 'prot'; did you mean port?"),
        ("port = ", "is not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load_toml(path)
    assert str(path) in str(caught.value)


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("port = 9000\nmax_nodes = 5\nnode_timeout = 60\n")
    settings, config = read_arguments(["--config", str(path), "--port", "8090", "--new", "--insecure"])
    assert (settings.port, settings.max_nodes, settings.node_timeout) == (8090, 5, 60)
    assert (settings.rebuild_grace, settings.insecure, config) == (0, True, path)


# --- changes


def test_only_these_settings_are_live() -> None:
    assert {key for key, rule in RULES.items() if rule.is_live} == LIVE


def test_a_change_is_all_or_nothing() -> None:
    live = LiveSettings(GatewaySettings(), None)
    with pytest.raises(ConfigError, match=r"burst is 0\.0"):
        live.change({"node_timeout": "5", "burst": "0"})
    assert live.current() == GatewaySettings()
    assert live.change({"node_timeout": "5", "burst": "400"}) == {"node_timeout": "5"}
    assert live.current().node_timeout == 5


def test_what_needs_a_restart_is_refused_and_the_sentence_says_what_does_not() -> None:
    with pytest.raises(ConfigError, match=r"port cannot change while the gateway runs.*node_timeout"):
        LiveSettings(GatewaySettings(), None).change({"port": "1"})


def test_a_file_that_changes_counts_from_then_on_and_whoever_spoke_last_wins(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("node_timeout = 60\nburst = 7\nport = 1\n")
    live = LiveSettings(make_settings(**load_toml(path)), path)
    live.change({"node_timeout": "10"})
    path.write_text("node_timeout = 60\nmax_nodes = 9\nport = 22\n")
    changed, fixed = live.reread()
    assert changed == {"max_nodes": "9", "burst": "400"}  # back to its default: it is not in the file any more
    assert fixed == ["port"]
    assert (live.current().node_timeout, live.current().port) == (10, 1)
    assert live.reread() == ({}, [])


def test_a_file_that_is_wrong_changes_nothing_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("burst = 7\n")
    live = LiveSettings(make_settings(**load_toml(path)), path)
    path.write_text("burst = \n\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        live.reread()
    assert live.reread() == ({}, [])
    assert live.current().burst == 7


# --- a gateway that runs


def test_an_operators_call_changes_the_gateway_and_statistics_show_it() -> None:
    with running() as server, dial(server.port, None) as channel:
        register(channel, 1)
        register(channel, 2)
        now = configure(channel, node_timeout="0.3", max_nodes="1", heartbeat_interval="0.1")
        assert now == {**live_texts(GatewaySettings()), "node_timeout": "0.3", "max_nodes": "1"} | {
            "heartbeat_interval": "0.1"
        }
        assert dict(pb.GetStatsResponse.FromString(send(channel, "GetStats")).settings) == now
        assert configure(channel) == now
        assert refusal(channel, "RegisterNode", b"\x08\x03\x12\x01h\x18\x01")[0] == "RESOURCE_EXHAUSTED"
        answer = register(channel, 1)
        assert answer.heartbeat_interval_ms == 100
        assert "0.3 s of silence" in answer.message


def test_limits_can_be_changed_by_a_call() -> None:
    with running() as server, dial(server.port, None) as channel:
        configure(channel, rate_per_s="0.04", burst="1")
        codes = [outcome(channel, "HealthCheck") for _ in range(26)]
    assert codes == ["OK"] * 25 + ["RESOURCE_EXHAUSTED"]


def test_the_log_level_can_be_changed_by_a_call() -> None:
    with running() as server, dial(server.port, None) as channel:
        configure(channel, log_level="error")
        assert logging.getLogger("gateway").level == logging.ERROR


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"node_timeout": "soon"}, "node_timeout is 'soon'; it must be a number of seconds"),
        ({"node_timeut": "1"}, "unknown setting 'node_timeut'; did you mean node_timeout?"),
        ({"max_workers": "1"}, "max_workers cannot change while the gateway runs: restart it"),
        ({f"s{number}": "1" for number in range(65)}, "settings: 65 were given"),
    ],
)
def test_a_wrong_call_changes_nothing_and_says_why(settings: dict[str, str], says: str) -> None:
    with running() as server, dial(server.port, None) as channel:
        before = configure(channel)
        code, sentence = refusal(channel, "Configure", pb.ConfigureRequest(settings=settings))
        assert (code, sentence[: len(says)]) == ("INVALID_ARGUMENT", says)
        assert configure(channel) == before


def test_the_gateway_follows_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.grpc_running.FILES_S", 0.0)
    path = tmp_path / "gateway.toml"
    path.write_text("max_nodes = 7\n")
    with running(config=path) as server, dial(server.port, None) as channel:
        assert configure(channel)["max_nodes"] == "7"
        path.write_text("max_nodes = 70\n")
        server.reload()
        assert configure(channel)["max_nodes"] == "70"


def test_arguments_win_over_the_file_of_a_server(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("max_nodes = 7\nnode_timeout = 9\n")
    with running(config=path, node_timeout=11.0) as server:
        assert (server.settings.max_nodes, server.node_timeout) == (7, 11.0)


@pytest.mark.slow
def test_the_program_reads_its_file_again_on_a_hangup(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("heartbeat_interval = 7\n")
    with GatewayProcess(SERVERS[1], "--config", str(path)) as process, dial(int(process.port), None) as channel:
        assert configure(channel)["heartbeat_interval"] == "7"
        path.write_text("heartbeat_interval = 8\n")
        process.send(signal.SIGHUP)
        configured = (configure(channel)["heartbeat_interval"] for _ in range(2000))
        assert "8" in configured
        assert process.end(signal.SIGTERM)[0] == 0


def test_help_lists_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_arguments(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for key in RULES:
        assert f"--{key.replace('_', '-')} " in shown
    for default in ("localhost", "8090", "300; live", "30; live", "20000; live", "200; live", "400; live", "128", "5;"):
        assert f"(default: {default}" in shown


def test_the_two_command_lines_have_the_same_flags(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "150")
    with pytest.raises(SystemExit):
        read_arguments(["--help"])
    plain = capsys.readouterr().out
    assert command(["gateway", "--help"]) == 0
    typed = capsys.readouterr().out
    flags = [set(re.findall(r"--[a-z][a-z-]*(?=[ ,])", page)) for page in (plain, typed)]
    assert flags[0] == flags[1]
    assert flags[0] >= {f"--{key.replace('_', '-')}" for key in RULES} | {"--config", "--new"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "high"], "port is 'high'; it must be a whole number from 0 to 65535"),
        (["--keys", "nowhere"], "keys: nowhere is no key folder"),
        (["--config", "nowhere.toml"], "cannot read the configuration nowhere.toml"),
        (["--keys", ""], "keys is ''; it must be the path of a directory"),
    ],
)
def test_the_command_of_the_package_refuses_wrong_settings_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["gateway", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"raftgossip: {says}") and shown.err.count("\n") == 1
