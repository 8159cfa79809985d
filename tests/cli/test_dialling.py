"""As whom commands speak, and how they explain a connection that does not come about: by real handshakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from raftgossip.cli.dialling import own_credentials
from raftgossip.errors import ConfigError
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from tests.cli.conftest import Outcome
from tests.support.canned_gateway import CannedGateway, serving_gateway
from tests.support.canned_peer import CannedPeer, serving
from tests.support.keys import ORGANISATION, make_keys, now_s

Command = Callable[..., Outcome]
DAY_S = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return make_keys(tmp_path)


def peer_of(folder: KeyFolder) -> LiveCredentials:
    return folder.credentials(Role.PEER, "1")


def old_keys(tmp_path: Path) -> KeyFolder:
    """A federation whose certificates have expired a day ago."""
    keys = KeyFolder(tmp_path / "old")
    then_s = now_s() - 2 * DAY_S
    keys.init("hearts.example", ORGANISATION, then_s)
    keys.issue(ORGANISATION, Role.PEER, "1", then_s)
    keys.issue(ORGANISATION, Role.OPERATOR, "alice", now_s())
    keys.issue(ORGANISATION, Role.OPERATOR, "bob", then_s)
    return keys


# --- the whole way


def test_with_keys_a_peer_is_asked_over_tls_and_so_is_its_leader(command: Command, folder: KeyFolder) -> None:
    leader, follower = CannedPeer(1), CannedPeer(2)
    with (
        serving(leader, peer_of(folder)) as at_leader,
        serving(follower, folder.credentials(Role.PEER, "2")) as address,
    ):
        leader.peers = follower.peers = [leader.place(at_leader), follower.place(address)]
        document = json.loads(command("status", "--node", address, "--keys", str(folder.path), "--json").out)
        members = command("members", "--node", address, "--keys", str(folder.path))
        change = command("members", "--keys", str(folder.path), "remove", "3", "--node", address)
    assert document["leader_asked"] == 1
    assert (members.code, change.code) == (0, 0)


def test_a_gateway_is_asked_over_tls_and_only_an_operator_may_try_to_change_it(
    command: Command, folder: KeyFolder, tmp_path: Path
) -> None:
    gateway = CannedGateway()
    without_operator = make_keys(tmp_path / "other", operators=())
    with serving_gateway(gateway, folder.credentials(Role.GATEWAY)) as address:
        assert command("discover", "--gateway", address, "--keys", str(folder.path)).code == 0
        assert command("gateway-set", "rate=7", "--gateway", address, "--keys", str(folder.path)).code == 0
        refused = command("gateway-set", "rate=8", "--gateway", address, "--keys", str(without_operator.path))
    assert refused.code == 2
    assert "no certificate of operator" in refused.complaint
    assert gateway.settings["rate"] == "7"


@pytest.mark.parametrize("given", ["flag", "environment", "here"])
def test_the_folder_may_be_given_or_lie_here(
    command: Command, folder: KeyFolder, given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments: tuple[str, ...] = ()
    match given:
        case "flag":
            arguments = ("--keys", str(folder.path))
        case "environment":
            monkeypatch.setenv("RAFTGOSSIP_KEYS", str(folder.path))
        case "here":
            folder.path.rename(tmp_path / "raftgossip-keys")
            monkeypatch.chdir(tmp_path)
    with serving(CannedPeer(1)) as in_the_open:
        outcome = command("leader", "--node", in_the_open, *arguments)
        assert outcome.code == 3 and "does not use TLS: give --insecure" in outcome.complaint
        assert command("leader", "--node", in_the_open, *arguments, "--insecure").code == 0


# --- what goes wrong


def test_a_peer_with_tls_asked_in_the_open_says_to_give_keys(command: Command, folder: KeyFolder) -> None:
    with serving(CannedPeer(1), peer_of(folder)) as address:
        outcome = command("status", "--node", address)
    assert outcome.code == 3
    assert f"the peer at {address} closes open connections, so it speaks TLS: give --keys" in outcome.complaint


def test_a_gateway_with_tls_asked_in_the_open_says_to_give_keys(command: Command, folder: KeyFolder) -> None:
    with serving_gateway(CannedGateway(), folder.credentials(Role.GATEWAY)) as address:
        outcome = command("discover", "--gateway", address)
    assert outcome.code == 3
    assert f"the gateway at {address} closes open connections, so it speaks TLS: give --keys" in outcome.complaint


def test_a_peer_of_another_federation_is_named(command: Command, folder: KeyFolder, tmp_path: Path) -> None:
    other = make_keys(tmp_path / "other")
    with serving(CannedPeer(1), peer_of(other)) as address:
        outcome = command("status", "--node", address, "--keys", str(folder.path))
    assert outcome.code == 3
    assert f"the peer at {address} does not belong to the federation hearts.example" in outcome.complaint


def test_a_gateway_where_a_peer_should_be_is_told(command: Command, folder: KeyFolder) -> None:
    with serving(CannedPeer(1), folder.credentials(Role.GATEWAY)) as address:
        outcome = command("status", "--node", address, "--keys", str(folder.path))
    assert outcome.code == 3
    assert f"at {address} is no peer of the federation hearts.example" in outcome.complaint


def test_an_expired_peer_says_what_to_renew(command: Command, tmp_path: Path) -> None:
    keys = old_keys(tmp_path)
    with serving(CannedPeer(1), peer_of(keys)) as address:
        outcome = command("status", "--node", address, "--keys", str(keys.path))
    assert outcome.code == 3
    assert f"the certificate of the peer at {address} has expired: renew it there" in outcome.complaint


def test_a_certificate_that_the_peer_does_not_accept_is_named(
    command: Command, folder: KeyFolder, tmp_path: Path
) -> None:
    """The peer knows another root than the one that certified it; so it shows a good one and accepts none of ours."""
    other_root = (make_keys(tmp_path / "other").path / "federation.pem").read_bytes()
    now = peer_of(folder).current()
    shown = LiveCredentials(lambda: replace(now, root_pem=other_root), lambda: False)
    with serving(CannedPeer(1), shown) as address:
        outcome = command("status", "--node", address, "--keys", str(folder.path))
    assert outcome.code == 3
    assert f"the peer at {address} refused the certificate {folder.path}/nodes/operator-alice.pem" in outcome.complaint
    assert "keys show" in outcome.complaint


def test_ones_own_expired_certificate_is_said_before_anything_is_dialled(
    command: Command, tmp_path: Path, dead_address: str
) -> None:
    keys = old_keys(tmp_path)
    (keys.path / "nodes" / "operator-alice.pem").unlink()
    outcome = command("status", "--node", dead_address, "--keys", str(keys.path))
    assert outcome.code == 2
    assert "operator-bob.pem" in outcome.complaint and "expired" in outcome.complaint
    assert "keys renew" in outcome.complaint


def test_a_folder_that_was_named_and_holds_no_keys_is_never_ignored(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no key folder.*keys init"):
        own_credentials(str(tmp_path), insecure=False)
    assert own_credentials(str(tmp_path), insecure=True) is None


def test_without_any_keys_commands_speak_in_the_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_credentials(None, insecure=False) is None


def test_a_folder_here_without_a_fitting_certificate_is_no_leave_to_speak_in_the_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_keys(tmp_path, peers=(), operators=()).path.rename(tmp_path / "raftgossip-keys")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no certificate of operator or observer or peer"):
        own_credentials(None, insecure=False)
