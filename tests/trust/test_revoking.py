"""Revocation in a key folder: what a list holds, and which one is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, Unauthenticated, WireError
from raftgossip.trust.authority import make_organisation, make_revocation_list, make_root
from raftgossip.trust.certificates import DAY_S
from raftgossip.trust.files import FORGOTTEN_AFTER_S, KeyFolder
from raftgossip.trust.identity import Role
from tests.support.keys import FEDERATION, ORGANISATION, authority_in, copied_keys, now_s

NOW_S = 1_800_000_000.0


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return copied_keys(tmp_path)


def test_revoking_refuses_all_that_a_holder_was_given(keys: KeyFolder) -> None:
    first = keys.credentials(Role.PEER, "1").current().certificate
    second = keys.renew(Role.PEER, "1", now_s())
    assert {one.serial for one in keys.revoke(Role.PEER, "1", now_s())} == {first.serial, second.serial}
    revocations = keys.credentials(Role.PEER, "2").current().revocations
    assert revocations.has(first)
    assert revocations.has(second)
    assert keys.revoke(Role.PEER, "1", now_s()) == []
    assert revocations.numbers == {ORGANISATION: 1}


def test_each_list_has_a_higher_number_and_what_was_in_the_one_before(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "1", now_s())
    keys.revoke(Role.PEER, "2", now_s())
    found = keys.credentials(Role.GATEWAY).current().revocations
    assert found.numbers == {ORGANISATION: 2}
    assert len(found.serials[ORGANISATION]) == 2


def test_what_has_expired_for_certain_leaves_the_list(keys: KeyFolder) -> None:
    long_ago_s = now_s() - 91 * DAY_S
    old = make_revocation_list(authority_in(keys), 4, [(1, long_ago_s), (2, now_s() - 80 * DAY_S)], long_ago_s)
    assert keys.add_revocations(old)
    keys.revoke(Role.PEER, "1", now_s())
    found = keys.credentials(Role.GATEWAY).current().revocations
    serial = keys.credentials(Role.PEER, "1").current().certificate.serial
    assert found.serials[ORGANISATION] == {2, serial}
    assert found.numbers == {ORGANISATION: 5}


def test_a_revoked_key_is_not_certified_again(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "1", now_s())
    with pytest.raises(ConfigError, match="--new-key"):
        keys.renew(Role.PEER, "1", now_s())
    keys.renew(Role.PEER, "1", now_s(), new_key=True)
    keys.credentials(Role.PEER, "1").current().require_valid(now_s())


def test_of_two_organisations_namesakes_one_must_be_chosen(keys: KeyFolder) -> None:
    keys.add_organisation("lab", now_s())
    far = KeyFolder(keys.path.parent / "far")
    keys.sign(far.request(Role.OPERATOR, "alice", "lab"), "lab", now_s())
    with pytest.raises(ConfigError, match="clinic, lab have a operator alice each"):
        keys.revoke(Role.OPERATOR, "alice", now_s())
    with pytest.raises(ConfigError, match="2 holders operator alice"):
        keys.token(Role.OPERATOR, "alice", 60, now_s())
    assert [one.identity.organisation for one in keys.revoke(Role.OPERATOR, "alice", now_s(), "lab")] == ["lab"]


def test_who_was_given_nothing_cannot_be_revoked(keys: KeyFolder) -> None:
    for name, at_s in (("9", now_s()), ("1", now_s() + DAY_S + FORGOTTEN_AFTER_S + 1)):
        with pytest.raises(ConfigError, match="nothing that is still valid"):
            keys.revoke(Role.PEER, name, at_s)


def test_a_list_that_was_sent_is_kept_if_it_is_newer(keys: KeyFolder, tmp_path: Path) -> None:
    serial = keys.credentials(Role.PEER, "2").current().certificate.serial
    live = keys.credentials(Role.PEER, "1")
    newer, older = (make_revocation_list(authority_in(keys), n, [(serial, now_s())], now_s()) for n in (5, 4))
    assert [keys.add_revocations(pem) for pem in (newer, older, newer)] == [True, False, False]
    assert keys.revocation_list(ORGANISATION) == newer
    assert live.refresh()
    assert live.current().revocations.serials == {ORGANISATION: {serial}}


def test_a_list_by_somebody_else_is_not_kept(keys: KeyFolder) -> None:
    stranger = make_organisation(make_root(FEDERATION, NOW_S), ORGANISATION, NOW_S)
    with pytest.raises(Unauthenticated):
        keys.add_revocations(make_revocation_list(stranger, 9, [(1, NOW_S)], NOW_S))
    with pytest.raises(WireError):
        keys.add_revocations(b"junk")
    with pytest.raises(ConfigError, match="no certificate of clinic was revoked"):
        keys.revocation_list(ORGANISATION)


def test_a_running_program_forgets_no_list(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "2", now_s())
    live = keys.credentials(Role.PEER, "1")
    (keys.path / "revoked/clinic.crl").unlink()
    assert not live.refresh()
    keys.renew(Role.PEER, "1", now_s())
    assert live.refresh()
    assert live.current().revocations.numbers == {ORGANISATION: 1}


def test_a_list_under_another_organisations_name_is_refused(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "2", now_s())
    (keys.path / "revoked/clinic.crl").rename(keys.path / "revoked/lab.crl")
    with pytest.raises(ConfigError, match=r"lab\.crl: it is the list of clinic"):
        keys.credentials(Role.PEER, "1")


# Lists that are damaged.


@pytest.fixture
def two(keys: KeyFolder) -> KeyFolder:
    """A folder that has the lists of two organisations, clinic's with number 3 and lab's with number 1."""
    keys.add_organisation("lab", now_s())
    for organisation, number in ((ORGANISATION, 3), ("lab", 1)):
        keys.add_revocations(list_by(keys, organisation, number, number))
    return keys


def list_by(keys: KeyFolder, organisation: str, number: int, *serials: int) -> bytes:
    revoked = [(serial, now_s()) for serial in serials]
    return make_revocation_list(authority_in(keys, organisation), number, revoked, now_s())


def exchange(path: Path, make: Callable[[], None]) -> None:
    path.unlink()
    make()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "junk": lambda path: path.write_bytes(b"junk"),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "emptied": lambda path: path.write_bytes(b""),
    "too long": lambda path: path.write_bytes(b"x" * (1 << 20)),
    "another's": lambda path: path.write_bytes(path.with_name("lab.crl").read_bytes()),
    "a folder": lambda path: exchange(path, path.mkdir),
    "a link to nothing": lambda path: exchange(path, lambda: path.symlink_to("nothing")),
    "a link to itself": lambda path: exchange(path, lambda: path.symlink_to(path.name)),
    "open to others": lambda path: path.chmod(0o666),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_program_does_not_start_beside_a_damaged_list(two: KeyFolder, damage: str) -> None:
    DAMAGES[damage](two.path / "revoked/clinic.crl")
    with pytest.raises(ConfigError, match=r"revoked/clinic\.crl"):
        two.credentials(Role.PEER, "1")


def test_who_must_replace_a_damaged_list_is_told_how(two: KeyFolder) -> None:
    (two.path / "revoked/clinic.crl").write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"clinic\.crl: .*; replace it by the newest one of its organisation"):
        two.credentials(Role.PEER, "1")


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "open to others"])
def test_a_damaged_list_keeps_back_nothing_but_itself_while_a_program_runs(two: KeyFolder, damage: str) -> None:
    live = two.credentials(Role.PEER, "1")
    DAMAGES[damage](two.path / "revoked/clinic.crl")
    two.add_revocations(list_by(two, "lab", 2, 7))
    for generation in (2, 2):  # it is told for as long as it lasts, but is new only once
        with pytest.raises(ConfigError, match=r"clinic\.crl"):
            live.refresh()
        assert live.generation == generation
    assert live.current().revocations.serials == {ORGANISATION: {3}, "lab": {7}}
    two.renew(Role.PEER, "1", now_s(), days=2, new_key=True)
    with pytest.raises(ConfigError, match=r"clinic\.crl.*all other files as they are now"):
        live.refresh()
    now = live.current()
    assert now.chain_pem == now.chain_path.read_bytes()
    assert (live.generation, now.revocations.numbers) == (3, {ORGANISATION: 3, "lab": 2})


def test_all_lists_that_are_damaged_are_named(two: KeyFolder) -> None:
    live = two.credentials(Role.PEER, "1")
    for name in (ORGANISATION, "lab"):
        (two.path / f"revoked/{name}.crl").write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"clinic\.crl.*lab\.crl"):
        live.refresh()


def test_a_verified_newer_list_replaces_a_damaged_one(two: KeyFolder) -> None:
    live = two.credentials(Role.PEER, "1")
    (two.path / "revoked/clinic.crl").write_bytes(b"junk")
    assert two.add_revocations(list_by(two, ORGANISATION, 4, 3, 8))
    assert live.refresh()
    assert live.current().revocations.serials[ORGANISATION] == {3, 8}
    assert two.credentials(Role.PEER, "2").current().revocations.numbers[ORGANISATION] == 4


def test_a_list_that_was_put_back_is_told_and_does_not_count_while_a_program_runs(two: KeyFolder) -> None:
    live = two.credentials(Role.PEER, "1")
    (two.path / "revoked/clinic.crl").write_bytes(list_by(two, ORGANISATION, 2))
    with pytest.raises(ConfigError, match=r"clinic\.crl: it is the list number 2, older than 3"):
        live.refresh()
    assert live.current().revocations.serials[ORGANISATION] == {3}


def test_a_list_that_is_whole_again_ends_the_complaint(two: KeyFolder) -> None:
    path = two.path / "revoked/clinic.crl"
    live, whole = two.credentials(Role.PEER, "1"), path.read_bytes()
    path.write_bytes(b"junk")
    with pytest.raises(ConfigError):
        live.refresh()
    path.write_bytes(whole)
    assert not live.refresh()
    assert live.generation == 1


@pytest.mark.parametrize("name", ["Other Org.crl", ".clinic.crl", "peer.crl", "clinic.crl.bak", "README"])
def test_what_no_organisation_can_have_written_is_not_looked_at(two: KeyFolder, name: str) -> None:
    (two.path / "revoked" / name).write_bytes(b"junk")
    live = two.credentials(Role.PEER, "1")
    assert live.current().revocations.numbers == {ORGANISATION: 3, "lab": 1}
    assert not live.refresh()


def test_another_organisations_damaged_list_is_in_no_commands_way(two: KeyFolder) -> None:
    (two.path / "revoked/lab.crl").write_bytes(b"junk")
    two.renew(Role.PEER, "1", now_s())
    two.issue(ORGANISATION, Role.PEER, "5", now_s())
    two.token(Role.PEER, "1", 60, now_s())
    two.revoke(Role.PEER, "1", now_s())
    assert [one.is_revoked for one in two.certificates(now_s())].count(True) == 2


def test_nobody_revokes_or_renews_without_knowing_what_was_revoked_before(two: KeyFolder) -> None:
    path = two.path / "revoked/clinic.crl"
    path.write_bytes(b"junk")
    for act in (two.revoke, two.renew):
        with pytest.raises(ConfigError, match=r"clinic\.crl"):
            act(Role.PEER, "1", now_s())
    assert path.read_bytes() == b"junk"
    two.renew(Role.PEER, "1", now_s(), new_key=True)  # a new key was not revoked
