"""`raftgossip node`: where settings come from, and mistakes that end it before it starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from raftgossip.cli.settings import gather
from raftgossip.errors import ConfigError
from tests.cli.conftest import Outcome

Command = Callable[..., Outcome]


def test_flags_win_over_environment_over_file_over_defaults(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "node.toml"
    path.write_text("num_epochs = 1\nseed = 1\nlocal_passes = 1\n[raft]\nheartbeat_ms = 50\n")
    monkeypatch.setenv("RAFTGOSSIP_NUM_EPOCHS", "2")
    monkeypatch.setenv("RAFTGOSSIP_SEED", "2")
    monkeypatch.setenv("RAFTGOSSIP_CONFIG", str(path))
    outcome = command("node", "--epochs", "3", "--print-config", "--json")
    settings = {key: (entry["value"], entry["origin"]) for key, entry in json.loads(outcome.out).items()}
    assert settings["num_epochs"] == (3, "flag")
    assert settings["seed"] == (2, "environment RAFTGOSSIP_SEED")
    assert settings["local_passes"] == (1, f"file {path}")
    assert settings["raft.heartbeat_ms"] == (50, f"file {path}")
    assert settings["raft.election_min_ms"] == (500, "default")
    assert settings["topology"] == ("base", "default")


def test_print_config_for_people_has_value_and_origin(command: Command) -> None:
    outcome = command(
        "node", "--task", "digits", "--gateway", "a:1,b:2", "--gateway", "c:3", "--found", "--print-config"
    )
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in outcome.out.splitlines()}
    assert rows["gateway"].split() == ["a:1,", "b:2,", "c:3", "flag"]
    assert rows["found"].split() == ["true", "flag"]
    assert rows["num_epochs"].split() == ["50", "default"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_print_config_does_not_show_the_join_token(
    command: Command, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RAFTGOSSIP_JOIN_TOKEN", "v1.geheim.b.c")
    outcome = command("node", "--keys", "k", "--discover", "dns:peers:7001", "--print-config", *form)
    assert "geheim" not in outcome.out + outcome.err and "(hidden)" in outcome.out
    assert "RAFTGOSSIP_JOIN_TOKEN" in outcome.out and "dns:peers:7001" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no task: give --task"),
        (("--task", "digitz", "--node-id", "1", "--found"), "did you mean 'digits'"),
        (("--task", "none.py:Task", "--node-id", "1", "--found"), "none.py does not exist"),
        (("--task", "digits"), "give --node-id"),
        (("--task", "digits", "--node-id", "1"), "--gateway, --peer or --discover, or --found"),
        (("--task", "digits", "--node-id", "0"), "node_id is 0"),
        (("--task", "digits", "--epochs", "-1"), "num_epochs is -1"),
        (("--task", "digits", "--peer", "host"), "peers: the address 'host' has no port"),
        (("--task", "digits", "--shard", "1"), "--num-shards"),
        (("--task", "digits", "--shard", "4", "--num-shards", "4"), "from 0 to 3"),
        (("--task", "digits", "--node-id", "1", "--found", "--expect", "3"), "found and expect"),
        (("--task", "digits", "--node-id", "1", "--found", "--log-format", "xml"), "console, json"),
        (("--task", "digits", "--metadata", "site"), "metadata is 'site'"),
        (("--config", "none.toml"), "none.toml"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    command: Command, arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = command("node", *arguments)
    assert outcome.code == 2
    assert words in outcome.complaint
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_in_the_file_names_the_nearest(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("num_epoch = 3\n")
    outcome = command("node", "--task", "digits", "--config", str(path))
    assert outcome.code == 2
    assert f"{path}: unknown key 'num_epoch'; did you mean num_epochs" in outcome.complaint


def test_an_unknown_variable_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="RAFTGOSSIP_NUM_EPOCH; did you mean NUM_EPOCHS"):
        gather({}, {"NUM_EPOCH": "3"})


def test_a_wrong_value_in_the_environment_names_the_variable() -> None:
    with pytest.raises(ConfigError, match="RAFTGOSSIP_SEED: seed is 'x'; it must be a whole number"):
        gather({}, {"SEED": "x"})


@pytest.mark.parametrize(
    "name", ["GATEWAY_SERVICE_HOST", "PORT", "GATEWAY_PORT_8090_TCP_ADDR", "SERVICE_PORT_GRPC", "NODE"]
)
def test_variables_that_a_platform_sets_for_a_service_of_our_name_are_no_settings(name: str) -> None:
    assert gather({}, {name: "tcp://10.0.0.1:8090"}).values == {}
