"""Key folders: what is written, what is refused, and that a reader always finds a key that fits its certificate."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raftgossip.errors import ConfigError, StorageError, Unauthenticated
from raftgossip.trust.authority import PrivateKey, key_from_pem, make_root
from raftgossip.trust.certificates import DAY_S, Certificate, key_digest_of, read_certificate
from raftgossip.trust.disk import locked, rename_file, write_file
from raftgossip.trust.files import DEFAULT_DAYS, FORGOTTEN_AFTER_S, KeyFolder
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.key_layout import read_key
from raftgossip.trust.tokens import read_token
from tests.support.keys import FEDERATION, ORGANISATION, copied_keys, make_keys, now_s

NOW_S = 1_800_000_000.0


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return copied_keys(tmp_path)


def certificate_at(path: Path) -> Certificate:
    return read_certificate(path.read_bytes())


def digest_at(path: Path) -> bytes:
    return key_digest_of(key_from_pem(path.read_bytes()).public_key())


def test_a_new_folder_has_a_federation_and_its_first_organisation(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    assert not keys.exists()
    keys.init(FEDERATION, ORGANISATION, NOW_S)
    assert keys.exists()
    assert keys.federation == FEDERATION


def test_what_was_issued_is_what_a_program_reads(keys: KeyFolder) -> None:
    now = keys.credentials(Role.PEER, "2").current()
    assert now.identity == Identity(FEDERATION, ORGANISATION, Role.PEER, "2")
    assert now.certificate == certificate_at(now.chain_path)
    assert (now.key_pem, now.root_pem) == (now.key_path.read_bytes(), now.root_path.read_bytes())
    assert now.not_after_s - now.certificate.not_before_s == DEFAULT_DAYS * DAY_S + 60
    now.require_valid(now_s())


def test_private_keys_are_for_their_owner_alone(keys: KeyFolder) -> None:
    found = sorted(keys.path.rglob("*"))
    assert sum(path.suffix == ".key" for path in found) == 6
    for path in (keys.path, *found):
        if path.is_dir() or path.suffix == ".key":
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
@pytest.mark.parametrize("name", ["nodes/peer-1.key", "organisations/clinic.key"])
def test_a_private_key_that_others_can_read_is_refused(keys: KeyFolder, name: str, mode: int) -> None:
    (keys.path / name).chmod(mode)
    with pytest.raises(ConfigError, match=rf"mode {mode:o}\); run: chmod 600 {keys.path / name}"):
        keys.renew(Role.PEER, "1", now_s())


READ_BY_A_NODE = (".", "nodes", "federation.pem", "nodes/peer-1.pem", "revoked", "revoked/clinic.crl")
READ_BY_AN_AUTHORITY = (".", "organisations", "organisations/clinic.pem", "nodes", "nodes/peer-1.pem", "issued/clinic")


@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("name", READ_BY_A_NODE)
def test_no_program_starts_from_files_that_others_can_write(keys: KeyFolder, name: str, mode: int) -> None:
    keys.revoke(Role.PEER, "2", now_s())
    path = keys.path / name
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(ConfigError, match=rf"others can write {path} \(mode [0-7]+\); run: chmod go-w {path}"):
        keys.credentials(Role.PEER, "1")
    path.chmod(path.stat().st_mode & ~mode)
    keys.credentials(Role.PEER, "1")


@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("name", READ_BY_AN_AUTHORITY)
def test_nothing_is_certified_from_files_that_others_can_write(keys: KeyFolder, name: str, mode: int) -> None:
    path = keys.path / name
    path.chmod(path.stat().st_mode | mode)
    before = sorted(keys.path.rglob("*"))
    with pytest.raises(ConfigError, match=f"run: chmod go-w {path}"):
        keys.renew(Role.PEER, "1", now_s())
    assert sorted(keys.path.rglob("*")) == before


def test_no_federation_is_made_in_a_folder_that_others_can_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o775)
    with pytest.raises(ConfigError, match="chmod go-w"):
        KeyFolder(tmp_path).init(FEDERATION, ORGANISATION, NOW_S)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o077])
def test_what_was_written_is_read_whatever_new_files_are_open_to(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        keys = make_keys(tmp_path, peers=(1, 2), gateway=False)
        keys.renew(Role.PEER, "1", now_s(), new_key=True)
        keys.revoke(Role.PEER, "2", now_s())
        keys.accept(keys.sign(keys.request(Role.PEER, "3", ORGANISATION), ORGANISATION, now_s()))
    finally:
        os.umask(before)
    assert len(keys.certificates(now_s())) == 5
    assert keys.credentials(Role.PEER, "3").current().revocations.numbers == {ORGANISATION: 1}


def test_no_key_is_shown_when_credentials_are_printed(keys: KeyFolder) -> None:
    assert "PRIVATE" not in repr(keys.credentials(Role.PEER, "1").current())


def test_the_only_holder_of_a_role_need_not_be_named(keys: KeyFolder) -> None:
    assert keys.credentials(Role.GATEWAY).current().identity.name == "gateway-1"


def test_several_holders_of_a_role_are_listed_to_choose_from(keys: KeyFolder) -> None:
    with pytest.raises(ConfigError, match="several certificates of a peer: 1, 2; say which"):
        keys.credentials(Role.PEER)


@pytest.mark.parametrize(("role", "name"), [(Role.OBSERVER, None), (Role.PEER, "3"), (Role.OPERATOR, "bob")])
def test_a_holder_who_is_not_here_is_missed_with_the_command_that_helps(
    keys: KeyFolder, role: Role, name: str | None
) -> None:
    with pytest.raises(ConfigError, match="raftgossip keys issue"):
        keys.credentials(role, name)


def test_people_use_their_highest_role_and_the_certificate_that_lasts_longest(keys: KeyFolder) -> None:
    keys.issue(ORGANISATION, Role.OPERATOR, "bob", now_s(), days=2)
    keys.issue(ORGANISATION, Role.OBSERVER, "carol", now_s(), days=3)
    assert keys.any_of([Role.OPERATOR, Role.OBSERVER]).current().identity.name == "bob"
    assert keys.any_of([Role.OBSERVER, Role.OPERATOR]).current().identity.name == "carol"
    with pytest.raises(ConfigError, match="no certificate of observer or gateway"):
        make_keys(keys.path / "other", gateway=False).any_of([Role.OBSERVER, Role.GATEWAY])


@pytest.mark.parametrize("name", ["../alice", "a/b", "..", "", "a\0b", "/etc/passwd", "peer-1.KEY"])
def test_no_name_leads_out_of_the_folder(keys: KeyFolder, name: str) -> None:
    acts: list[Callable[[], object]] = [
        lambda: keys.issue(ORGANISATION, Role.OPERATOR, name, now_s()),
        lambda: keys.issue(name, Role.OPERATOR, "bob", now_s()),
        lambda: keys.credentials(Role.OPERATOR, name),
        lambda: keys.renew(Role.OPERATOR, name, now_s()),
        lambda: keys.revoke(Role.OPERATOR, name, now_s()),
        lambda: keys.revoke(Role.OPERATOR, "alice", now_s(), name),
        lambda: keys.token(Role.OPERATOR, name, 60, now_s()),
        lambda: keys.request(Role.OPERATOR, name, ORGANISATION),
        lambda: keys.request(Role.OPERATOR, "bob", name),
        lambda: keys.add_organisation(name, now_s()),
        lambda: keys.revocation_list(name),
        lambda: KeyFolder(keys.path / "new").init(FEDERATION, name, now_s()),
        lambda: KeyFolder(keys.path / "new").init(name, ORGANISATION, now_s()),
    ]
    before = sorted(keys.path.parent.rglob("*"))
    for act in acts:
        with pytest.raises(ConfigError):
            act()
    assert sorted(keys.path.parent.rglob("*")) == before


def test_nothing_that_is_there_is_written_over(keys: KeyFolder) -> None:
    acts: list[Callable[[], object]] = [
        lambda: keys.init(FEDERATION, "lab", now_s()),
        lambda: keys.add_organisation(ORGANISATION, now_s()),
        lambda: keys.issue(ORGANISATION, Role.PEER, "1", now_s()),
    ]
    before = {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()}
    for act in acts:
        with pytest.raises(ConfigError):
            act()
    assert {path: path.read_bytes() for path in keys.path.rglob("*") if path.is_file()} == before


def test_who_does_not_hold_an_authoritys_key_cannot_act_for_it(keys: KeyFolder) -> None:
    for key_path in keys.path.glob("**/*.key"):
        key_path.unlink()
    with pytest.raises(ConfigError, match=r"federation\.key; this takes the key of the federation"):
        keys.add_organisation("lab", now_s())
    with pytest.raises(ConfigError, match=r"clinic\.key; this takes the key of the organisation clinic"):
        keys.issue(ORGANISATION, Role.PEER, "3", now_s())


# Renewal.


def test_a_renewed_certificate_is_a_new_one_for_the_same_key(keys: KeyFolder) -> None:
    keys.issue(ORGANISATION, Role.PEER, "3", now_s(), days=3)
    live = keys.credentials(Role.PEER, "3")
    before = live.current()
    keys.renew(Role.PEER, "3", now_s())
    assert live.refresh()
    now = live.current()
    assert now.certificate.serial != before.certificate.serial
    assert now.key_pem == before.key_pem
    assert abs(now.not_after_s - before.not_after_s) <= 2  # for as long as the last one, which was made just now
    assert live.generation == 2


def test_a_renewal_may_last_otherwise_than_the_one_before(keys: KeyFolder) -> None:
    assert keys.renew(Role.PEER, "1", NOW_S, days=0.5).not_after_s == NOW_S + DAY_S / 2


def test_a_new_key_comes_with_its_certificate(keys: KeyFolder) -> None:
    live = keys.credentials(Role.PEER, "1")
    before = live.current()
    keys.renew(Role.PEER, "1", now_s(), new_key=True)
    assert live.refresh()
    now = live.current()
    assert now.key_pem != before.key_pem
    assert digest_at(now.key_path) == now.certificate.key_digest
    assert now.key_path.name == "peer-1.key"


def test_nothing_is_read_again_while_nothing_changes(keys: KeyFolder) -> None:
    live = keys.credentials(Role.PEER, "1")
    keys.renew(Role.PEER, "2", now_s())
    assert not live.refresh()
    assert live.generation == 1


def test_what_cannot_be_read_any_more_stays_in_force(keys: KeyFolder) -> None:
    live = keys.credentials(Role.PEER, "1")
    before = live.current()
    before.chain_path.write_bytes(b"junk")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"peer-1\.pem"):
            live.refresh()
    assert live.current() == before
    keys.revoke(Role.PEER, "2", now_s())
    with pytest.raises(ConfigError, match=r"peer-1\.pem"):
        live.refresh()
    assert (live.current().revocations.numbers, live.generation) == ({ORGANISATION: 1}, 2)
    before.chain_path.write_bytes(before.chain_pem)
    assert not live.refresh()
    assert (live.current().chain_pem, live.current().trouble) == (before.chain_pem, "")


@contextmanager
def cut_off_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A power cut before the `step`-th change of a holder's files."""
    changes = 0

    def counted(act: Callable[..., None]) -> Callable[..., None]:
        def acting(*arguments: object) -> None:
            nonlocal changes
            changes += 1
            if changes == step:
                raise StorageError("the power is cut")
            act(*arguments)

        return acting

    with monkeypatch.context() as patched:
        patched.setattr("raftgossip.trust.holder_files.write_file", counted(write_file))
        patched.setattr("raftgossip.trust.holder_files.rename_file", counted(rename_file))
        with pytest.raises(StorageError, match="the power is cut"):
            yield


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_renewal_that_is_cut_off_leaves_a_key_that_fits(
    keys: KeyFolder, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    live = keys.credentials(Role.PEER, "1")
    with cut_off_at(step, monkeypatch):
        keys.renew(Role.PEER, "1", now_s(), new_key=True)
    found = keys.credentials(Role.PEER, "1").current()
    assert key_digest_of(key_from_pem(found.key_pem).public_key()) == found.certificate.key_digest
    live.refresh()
    assert live.current() == found
    keys.renew(Role.PEER, "1", now_s())
    assert digest_at(keys.path / "nodes/peer-1.key") == certificate_at(found.chain_path).key_digest
    assert not (keys.path / "nodes/peer-1.key.next").exists()


def test_a_reader_between_the_steps_of_a_renewal_reads_again(keys: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    renewals = [True]

    def reading(path: Path) -> PrivateKey:
        if renewals and renewals.pop():
            keys.renew(Role.PEER, "1", now_s(), new_key=True)  # the chain was read before, the key is read after
        return read_key(path)

    monkeypatch.setattr("raftgossip.trust.holder_files.read_key", reading)
    found = keys.credentials(Role.PEER, "1").current()
    assert key_digest_of(key_from_pem(found.key_pem).public_key()) == found.certificate.key_digest


# What is damaged.


DAMAGES: dict[str, Callable[[Path], object]] = {
    "federation.pem": lambda path: path.unlink(),
    "federation.pem junk": lambda path: path.write_bytes(b"junk"),
    "federation.pem another": lambda path: path.write_bytes(make_root(FEDERATION, NOW_S).certificate_pem),
    "nodes/peer-1.pem": lambda path: path.unlink(),
    "nodes/peer-1.pem junk": lambda path: path.write_bytes(b"junk"),
    "nodes/peer-1.pem alone": lambda path: path.write_bytes(path.read_bytes()[:1000]),
    "nodes/peer-1.pem another's": lambda path: path.write_bytes(path.with_name("peer-2.pem").read_bytes()),
    "nodes/peer-1.key": lambda path: path.unlink(),
    "nodes/peer-1.key junk": lambda path: path.write_bytes(b"junk"),
    "nodes/peer-1.key huge": lambda path: path.write_bytes(b"x" * (1 << 20)),
    "nodes/peer-1.key another's": lambda path: path.write_bytes(path.with_name("peer-2.key").read_bytes()),
    "revoked/clinic.crl": lambda path: write_file(path, b"junk"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_folder_is_refused_with_the_files_name(keys: KeyFolder, what: str) -> None:
    name = what.split()[0]
    DAMAGES[what](keys.path / name)
    with pytest.raises(ConfigError, match=r"(federation|nodes/peer-1|revoked/clinic)\."):
        keys.credentials(Role.PEER, "1")


def test_the_whole_pair_of_somebody_else_is_refused(keys: KeyFolder) -> None:
    for suffix in (".pem", ".key"):
        (keys.path / f"nodes/peer-2{suffix}").replace(keys.path / f"nodes/peer-1{suffix}")
    with pytest.raises(ConfigError, match="that of peer 2"):
        keys.credentials(Role.PEER, "1")


def test_no_program_starts_with_what_everybody_would_refuse(keys: KeyFolder) -> None:
    now = keys.credentials(Role.PEER, "1").current()
    for at_s, reason in ((now.not_after_s + 1, "expired"), (now.certificate.not_before_s - 1, "not valid before")):
        with pytest.raises(ConfigError, match=rf"peer-1\.pem.*{reason}"):
            now.require_valid(at_s)
    keys.revoke(Role.PEER, "1", now_s())
    with pytest.raises(ConfigError, match="revoked"):
        keys.credentials(Role.PEER, "1").current().require_valid(now_s())


def test_a_disk_that_does_not_take_a_file_leaves_what_was_there(
    keys: KeyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted((path, path.stat().st_ino) for path in keys.path.rglob("*"))

    def failing(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match="No space left"):
        keys.renew(Role.PEER, "1", now_s())
    assert sorted((path, path.stat().st_ino) for path in keys.path.rglob("*")) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make the folder"), locked(tmp_path / "file" / "keys"):
        pass
    with pytest.raises(StorageError, match="cannot make the folder"):
        KeyFolder(tmp_path / "file").init(FEDERATION, ORGANISATION, NOW_S)


# What a folder knows.


def test_all_certificates_are_listed(keys: KeyFolder) -> None:
    keys.issue(ORGANISATION, Role.PEER, "10", now_s())
    keys.renew(Role.PEER, "2", now_s() + 5)
    keys.revoke(Role.PEER, "1", now_s())
    listed = [
        (one.certificate.identity.role.value, one.certificate.identity.name, one.is_revoked, one.is_here)
        for one in keys.certificates(now_s())
    ]
    assert listed == [
        ("gateway", "gateway-1", False, True),
        ("operator", "alice", False, True),
        ("peer", "1", True, True),
        ("peer", "2", False, False),
        ("peer", "2", False, True),
        ("peer", "10", False, True),
    ]


def test_what_has_expired_is_listed_only_where_its_holder_is(keys: KeyFolder) -> None:
    keys.renew(Role.PEER, "2", now_s() + 5)
    late_s = now_s() + DAY_S + FORGOTTEN_AFTER_S + 10
    assert [one.is_here for one in keys.certificates(late_s)] == [True] * 4
    keys.renew(Role.PEER, "2", late_s)
    assert len(list((keys.path / "issued/clinic").glob("peer-2-*"))) == 1


def test_a_token_is_for_the_holder_and_its_key(keys: KeyFolder) -> None:
    now = keys.credentials(Role.PEER, "1").current()
    token = read_token(keys.token(Role.PEER, "1", 600, now_s()), now.root_pem, now_s(), 0.0)
    token.check(now.identity, now.certificate.key_digest)
    assert token.expires_s == pytest.approx(now_s() + 600, abs=5)


def test_a_token_is_verified_where_nobody_has_a_certificate(keys: KeyFolder, tmp_path: Path) -> None:
    text = keys.token(Role.PEER, "1", 600, now_s())
    verifier = KeyFolder(tmp_path / "verifier")
    with pytest.raises(ConfigError, match=r"federation\.pem"):
        verifier.read_token(text, now_s())
    write_file(verifier.path / "federation.pem", (keys.path / "federation.pem").read_bytes())
    token = verifier.read_token(text, now_s())
    assert (token.organisation, token.role) == (ORGANISATION, Role.PEER)
    for wrong, at_s in ((text, now_s() + 3600), (text[:-20], now_s())):
        with pytest.raises(Unauthenticated):
            verifier.read_token(wrong, at_s)


def test_no_token_is_made_for_somebody_unknown_or_revoked(keys: KeyFolder) -> None:
    keys.revoke(Role.PEER, "1", now_s())
    for name in ("1", "9"):
        with pytest.raises(ConfigError, match=f"0 holders peer {name}"):
            keys.token(Role.PEER, name, 60, now_s())
