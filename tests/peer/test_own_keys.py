"""As whom a node speaks: never in the open by mistake, and never in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, TransportError
from raftgossip.ids import NodeId
from raftgossip.peer.config import make_config
from raftgossip.peer.own_keys import explained, load_own_keys, warning_about
from tests.support.keys import make_keys

ONE = NodeId(1)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A key folder with a certificate of node 1."""
    return make_keys(tmp_path, peers=(1,), gateway=False).path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without keys."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_without_keys_a_node_runs_in_the_open() -> None:
    assert load_own_keys(make_config("T"), ONE).credentials is None


def test_keys_in_the_working_directory_are_used_unasked(keys: Path, elsewhere: Path) -> None:
    keys.rename(elsewhere / "raftgossip-keys")
    credentials = load_own_keys(make_config("T"), ONE).credentials
    assert credentials is not None and credentials.current().identity.uri == "spiffe://hearts.example/clinic/1"


def test_keys_that_are_named_are_used(keys: Path) -> None:
    own = load_own_keys(make_config("T", keys=keys), ONE)
    assert own.credentials is not None and own.add_revocations is not None


def test_insecure_overrides_keys(keys: Path) -> None:
    assert load_own_keys(make_config("T", keys=keys, insecure=True), ONE).credentials is None


def test_named_keys_that_are_none_are_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no key folder.*raftgossip keys init"):
        load_own_keys(make_config("T", keys=tmp_path / "none"), ONE)


@pytest.mark.parametrize("is_named", [True, False])
def test_keys_without_a_certificate_of_this_node_are_a_mistake(keys: Path, elsewhere: Path, is_named: bool) -> None:
    keys = keys.rename(elsewhere / "raftgossip-keys")
    settings = {"keys": keys} if is_named else {}
    with pytest.raises(ConfigError, match="peer-2"):
        load_own_keys(make_config("T", **settings), NodeId(2))


@pytest.mark.parametrize("settings", [{"require_token": True}, {"join_token": "v1.a.b.c"}])
def test_join_tokens_without_certificates_are_a_mistake(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="join tokens need certificates"):
        load_own_keys(make_config("T", **settings), ONE)


@pytest.mark.parametrize(
    ("host", "is_warned"),
    [("127.0.0.1", False), ("127.9.9.9", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("gw", True)],
)
def test_listening_to_other_machines_without_certificates_is_warned_about(host: str, is_warned: bool) -> None:
    assert ("raftgossip keys init" in warning_about(host, f"{host}:1")) is is_warned


@pytest.mark.parametrize(
    ("text", "is_secure", "words"),
    [
        ("failed to connect to all addresses: CERTIFICATE_VERIFY_FAILED", True, "the federation hearts.example"),
        ("failed to connect to all addresses: WRONG_VERSION_NUMBER", True, "does not use TLS"),
        ("failed to connect to all addresses: Socket closed", True, "refuses the certificate of spiffe"),
        ("failed to connect to all addresses: Socket closed", False, "give --keys"),
        ("failed to connect to all addresses: Connection refused", True, "Connection refused"),
        ("failed to connect to all addresses: Connection refused", False, "Connection refused"),
        ("node 3 is stopping; Socket closed", False, "node 3 is stopping"),
    ],
)
def test_a_connection_that_failed_for_its_keys_is_explained(keys: Path, text: str, is_secure: bool, words: str) -> None:
    credentials = load_own_keys(make_config("T", keys=keys), ONE).credentials if is_secure else None
    assert words in str(explained(TransportError(text), credentials))
