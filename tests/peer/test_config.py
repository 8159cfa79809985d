"""Settings: what is accepted, and how a mistake is named."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from raftgossip.core.epoch.config import EpochConfig
from raftgossip.core.raft.config import RaftConfig
from raftgossip.errors import ConfigError
from raftgossip.peer.config import COMMAND_RULES, RULES, PeerConfig, load_toml, make_config, setting_from_text


def test_keywords_are_read_into_the_types_of_the_fields() -> None:
    config = make_config(
        "T",
        gateway="a:1, b",
        peers=["c:2", "c:2"],
        data_dir="state",
        metadata={"site": "Basel"},
        raft={"heartbeat_ms": 50},
    )
    assert config.task == "T"
    assert config.gateway == ("a:1", "b")
    assert config.peers == ("c:2",)
    assert config.data_dir == Path("state")
    assert config.metadata == {"site": "Basel"}
    assert config.raft == RaftConfig(heartbeat_ms=50)


def test_every_field_has_a_rule_and_a_docstring_after_it() -> None:
    names = {field.name for field in fields(PeerConfig)}
    assert names == RULES.keys() - COMMAND_RULES.keys()
    source = (Path(__file__).parents[2] / "raftgossip/peer/config.py").read_text()
    for name in names:
        assert re.search(rf'^    {name}: .*\n    """', source, re.MULTILINE), f"{name} has no docstring"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_epoch": 3}, "num_epochs"),
        ({"num_epochs": "3"}, "num_epochs is '3'; it must be a whole number from 0"),
        ({"num_epochs": True}, "num_epochs is True"),
        ({"min_participants": 0}, "min_participants is 0; it must be a whole number from 1"),
        ({"node_id": 2**31}, "node_id is 2147483648"),
        ({"found": 1}, "found is 1; it must be true or false"),
        ({"peers": "host"}, "peers: the address 'host' has no port"),
        ({"peers": "http://host:1"}, "peers: the address 'http://host:1' begins with http://; give host:port alone"),
        ({"gateway": [3]}, "gateway is"),
        ({"data_dir": ""}, "data_dir is ''; it must be the path of a directory"),
        ({"metadata": {"site": 3}}, "metadata is"),
        ({"metadata": {"site": "a\nb"}}, "metadata is"),
        ({"raft": {"heartbeet_ms": 3}}, "raft: unknown key 'heartbeet_ms'; did you mean heartbeat_ms"),
        ({"raft": {"heartbeat_ms": 400}}, "raft: election_min_ms"),
        ({"raft": {"heartbeat_ms": 0}}, "raft: heartbeat_ms is 0; it must be a whole number from 1"),
        ({"raft": {"snapshot_entries": 0}}, "raft: snapshot_entries is 0"),
        ({"raft": {"lease_drift_percent": -1}}, "raft: lease_drift_percent is -1; it must be a whole number from 0"),
        ({"raft": {"lease_drift_percent": 50}}, "raft: lease_drift_percent is 50"),
        ({"raft": {"heartbeat_ms": True}}, "raft: heartbeat_ms is True; it must be a whole number"),
        ({"epoch": {"max_voters": 0}}, "epoch: max_voters is 0; it must be a whole number from 1"),
        ({"epoch": {"max_voters": 2**31}}, "epoch: max_voters is 2147483648; it must be a whole number"),
        ({"epoch": {"promote_after_ms": 1_000}}, "epoch: promote_after_ms is 1000; it must not be below"),
        ({"epoch": {"promote_after": 1_000}}, "did you mean promote_after_ms"),
        ({"found": True, "expect": 3, "gateway": "a"}, "found and expect"),
        ({"expect": 3, "peers": "a:1"}, "expect needs a gateway"),
        ({"gateway": "dns:"}, "gateway is 'dns:'; it must be an address, host:port, or a source of addresses"),
        ({"discover": "a:1"}, "discover is 'a:1'; it must be a source of addresses: dns:NAME:PORT, srv:NAME"),
        ({"discover": ["file:"]}, "discover is"),
        ({"insecure": True, "join_token": "v1.a.b.c"}, "insecure excludes join tokens"),
        ({"insecure": True, "require_token": True}, "insecure excludes join tokens"),
        ({"require_token": 1}, "require_token is 1; it must be true or false"),
        ({"zzz": 3}, "known are advertise, algorithm"),
    ],
)
def test_a_wrong_keyword_is_named_with_what_is_allowed(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config("T", **settings)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["v1.geheim.x y", "v1.geheim\n.x", "v1.geheim" + "x" * 8_200, ["v1.geheim"]])
def test_a_join_token_stands_in_no_message_about_it(value: object) -> None:
    with pytest.raises(ConfigError, match=r"join_token is .hidden.; it must be the one line that") as caught:
        make_config("T", join_token=value)
    assert "geheim" not in str(caught.value)


def test_a_join_token_is_not_shown_with_the_other_settings() -> None:
    config = make_config("T", join_token="v1.geheim.b.c")
    assert config.join_token == "v1.geheim.b.c"
    assert "geheim" not in repr(config)


def test_a_config_that_was_built_directly_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="gateway is 'a:1'"):
        PeerConfig(task="T", gateway="a:1")  # type: ignore[arg-type]


def test_a_config_cannot_be_changed_through_its_metadata() -> None:
    labels = {"site": "Basel"}
    config = make_config("T", metadata=labels)
    labels["site"] = "Bern"
    assert config.metadata["site"] == "Basel"
    with pytest.raises(TypeError):
        config.metadata["site"] = "Bern"  # type: ignore[index]


def test_a_file_gives_settings_of_peer_and_command(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(
        'task = "digits"\nshard = 1\nnum_shards = 4\npeers = ["a:1"]\n[raft]\nheartbeat_ms = 50\n[metadata]\nsite="B"'
    )
    settings = load_toml(path)
    assert settings["task"] == "digits"
    assert settings["shard"] == 1
    assert settings["peers"] == ("a:1",)
    assert settings["raft"] == RaftConfig(heartbeat_ms=50)
    assert settings["metadata"] == {"site": "B"}


@pytest.mark.parametrize(("name", "kind"), [("raft", RaftConfig), ("epoch", EpochConfig)])
def test_every_key_of_a_table_can_be_set_by_file_and_by_text(tmp_path: Path, name: str, kind: type) -> None:
    defaults = {field.name: field.default for field in fields(kind)}
    path = tmp_path / "node.toml"
    path.write_text(f"[{name}]\n" + "\n".join(f"{key} = {value}" for key, value in defaults.items()))
    assert load_toml(path) == {name: kind()}
    assert setting_from_text(name, ",".join(f"{key}={value}" for key, value in defaults.items())) == kind()
    changed = {key: value + 1 for key, value in defaults.items()}
    assert getattr(make_config("T", **{name: changed}), name) == kind(**changed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("num_epoch = 3", "unknown key 'num_epoch'; did you mean num_epochs"),
        ("max_voters = 3", "unknown key 'max_voters'; did you mean max_voters in the table [epoch]?"),
        ('"raft.heartbeat_ms" = 3', "did you mean heartbeat_ms in the table [raft]?"),
        ('num_epochs = "3"', "num_epochs is '3'; it must be a whole number"),
        ("listen = 3", "listen is 3; it must be a text"),
        ("seed = 1\nnum_epochs 3", "line 2"),
        ("[raft]\nheartbeat = 3", "raft: unknown key 'heartbeat'"),
        ("raft = 3", "raft is 3; it must be a table"),
    ],
)
def test_a_mistake_in_a_file_names_file_and_place(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_toml(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_an_unreadable_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.toml", tmp_path, tmp_path / "binary.toml"):
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            load_toml(path)


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("num_epochs", "10", 10),
        ("found", "yes", True),
        ("found", "False", False),
        ("peers", "a:1,b:2", ("a:1", "b:2")),
        ("metadata", "site=Basel, room=3", {"site": "Basel", "room": "3"}),
        ("raft", "heartbeat_ms=50,election_min_ms=300", RaftConfig(heartbeat_ms=50, election_min_ms=300)),
        ("data_dir", "x", Path("x")),
        ("gateway", "a,srv:_gw._tcp.hearts.example", ("a", "srv:_gw._tcp.hearts.example")),
        ("discover", "file:peers.txt, dns:peers:7001", ("file:peers.txt", "dns:peers:7001")),
        ("keys", "k", Path("k")),
        ("insecure", "true", True),
        ("join_token", " v1.a.b.c\n", "v1.a.b.c"),
    ],
)
def test_texts_stand_for_values(key: str, text: str, value: object) -> None:
    assert setting_from_text(key, text) == value


@pytest.mark.parametrize(
    ("key", "text"), [("num_epochs", "ten"), ("found", "maybe"), ("metadata", "site"), ("raft", "x")]
)
def test_a_text_that_stands_for_nothing_is_named(key: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}.*{text}"):
        setting_from_text(key, text)


def test_settings_load_neither_torch_nor_grpc() -> None:
    code = "import sys, raftgossip.peer.config; assert not {'torch', 'grpc', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
