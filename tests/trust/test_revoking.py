"""Revocation in a key folder: what a list holds, and which one is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, Unauthenticated
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
    for pem in (make_revocation_list(stranger, 9, [(1, NOW_S)], NOW_S), b"junk"):
        with pytest.raises(Unauthenticated):
            keys.add_revocations(pem)
    with pytest.raises(ConfigError, match="no certificate of clinic was revoked"):
        keys.revocation_list(ORGANISATION)


def test_a_running_program_forgets_no_list(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "2", now_s())
    live = keys.credentials(Role.PEER, "1")
    (keys.path / "revoked/clinic.crl").unlink()
    assert live.refresh()
    assert live.current().revocations.numbers == {ORGANISATION: 1}


def test_a_list_under_another_organisations_name_is_refused(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "2", now_s())
    (keys.path / "revoked/clinic.crl").rename(keys.path / "revoked/lab.crl")
    with pytest.raises(ConfigError, match=r"lab\.crl: it is the list of clinic"):
        keys.credentials(Role.PEER, "1")
