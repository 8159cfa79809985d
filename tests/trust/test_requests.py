"""Nodes whose key never leaves their machine: they ask, and their organisation certifies."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.certificates import DAY_S
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from tests.support.keys import ORGANISATION, copied_keys, make_keys, now_s

NOW_S = 1_800_000_000.0


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return copied_keys(tmp_path)


@pytest.fixture
def far(tmp_path: Path) -> KeyFolder:
    """The folder on the node's machine."""
    return KeyFolder(tmp_path / "far")


def test_a_node_is_certified_without_giving_its_key_away(keys: KeyFolder, far: KeyFolder) -> None:
    chain = keys.sign(far.request(Role.PEER, "9", ORGANISATION), ORGANISATION, now_s(), days=2)
    accepted = far.accept(chain)
    now = far.credentials(Role.PEER).current()
    assert now.certificate == accepted
    assert now.root_pem == (keys.path / "federation.pem").read_bytes()
    assert now.key_path.read_bytes() == now.key_pem
    assert sorted(path.name for path in (far.path / "nodes").iterdir()) == ["peer-9.key", "peer-9.pem"]
    assert not list(keys.path.rglob("peer-9.key"))
    keys.token(Role.PEER, "9", 60, now_s())


def test_a_certificate_is_renewed_for_the_same_key_from_afar(keys: KeyFolder, far: KeyFolder) -> None:
    far.accept(keys.sign(far.request(Role.PEER, "9", ORGANISATION), ORGANISATION, now_s()))
    live = far.credentials(Role.PEER)
    far.accept(keys.sign(far.request(Role.PEER, "9", ORGANISATION), ORGANISATION, now_s(), days=2))
    assert live.refresh()
    assert live.current().not_after_s > now_s() + 1.5 * DAY_S


def test_a_name_is_not_given_to_a_second_key(keys: KeyFolder, far: KeyFolder) -> None:
    request = far.request(Role.PEER, "1", ORGANISATION)
    with pytest.raises(ConfigError, match=r"another key until.*keys revoke"):
        keys.sign(request, ORGANISATION, now_s())
    keys.revoke(Role.PEER, "1", now_s())
    far.accept(keys.sign(request, ORGANISATION, now_s()))


def test_a_request_is_granted_by_the_organisation_that_it_asks_only(keys: KeyFolder, far: KeyFolder) -> None:
    keys.add_organisation("lab", now_s())
    with pytest.raises(ConfigError, match="asks for an organisation 'clinic', not lab"):
        keys.sign(far.request(Role.PEER, "9", ORGANISATION), "lab", now_s())
    with pytest.raises(Unauthenticated):
        keys.sign(b"junk", ORGANISATION, now_s())


def test_a_chain_for_another_key_or_federation_is_not_accepted(keys: KeyFolder, far: KeyFolder, tmp_path: Path) -> None:
    far.accept(keys.sign(far.request(Role.PEER, "9", ORGANISATION), ORGANISATION, now_s()))
    before = (far.path / "nodes/peer-9.pem").read_bytes()
    other = make_keys(tmp_path / "other")
    request = KeyFolder(tmp_path / "third").request(Role.PEER, "9", ORGANISATION)
    with pytest.raises(Unauthenticated, match="of another federation"):
        far.accept(other.sign(request, ORGANISATION, now_s()))
    keys.revoke(Role.PEER, "9", now_s())
    with pytest.raises(ConfigError, match="made for another key"):
        far.accept(keys.sign(request, ORGANISATION, now_s()))
    with pytest.raises(Unauthenticated):
        far.accept(before)
    assert (far.path / "nodes/peer-9.pem").read_bytes() == before
