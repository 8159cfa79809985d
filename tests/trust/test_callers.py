"""Who calls: from the connection, checked at every call."""

from __future__ import annotations

from pathlib import Path

import pytest

from raftgossip.errors import Unauthenticated
from raftgossip.trust import callers as callers_module
from raftgossip.trust.authority import make_key
from raftgossip.trust.callers import SKEW_S, Caller, Callers
from raftgossip.trust.certificates import Certificate, read_certificate
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role
from tests.support.keys import FEDERATION, ORGANISATION, Forgery, authority_in, copied_keys, now_s, to_pem

DAY_S = 86_400.0
ADDRESS = "ipv4:10.0.0.7:41000"


class Server:
    """What a server with node 1's credentials knows of its callers, on a clock that can be set."""

    def __init__(self, folder: KeyFolder) -> None:
        self.folder = folder
        self.live: LiveCredentials = folder.credentials(Role.PEER, "1")
        self.wall_s = now_s()
        self.callers = Callers(self.live, lambda: self.wall_s)

    def shown_by(self, name: str) -> bytes:
        return (self.folder.path / "nodes" / f"{name}.pem").read_bytes()

    def call(self, pem: bytes) -> Caller:
        return self.callers.of_connection({"x509_pem_cert": [bytes(pem)]}, ADDRESS)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(copied_keys(tmp_path))


def test_the_caller_is_whom_the_certificate_names(server: Server) -> None:
    found = server.call(server.shown_by("peer-2"))
    certificate = read_certificate(server.shown_by("peer-2"))
    assert found == Caller(Identity(FEDERATION, ORGANISATION, Role.PEER, "2"), certificate.key_digest, "10.0.0.7")
    assert found.principal == "spiffe://hearts.example/clinic/2"


def test_the_same_is_read_from_a_certificate_itself(server: Server) -> None:
    pem = server.shown_by("operator-alice")
    assert server.callers.of_certificate(pem, ADDRESS) == server.call(pem)


@pytest.mark.parametrize("context", [{}, {"x509_pem_cert": []}, {"x509_pem_cert": [b""]}, {"other": [b"x"]}])
def test_a_connection_without_a_certificate_is_nobodys(server: Server, context: dict[str, list[bytes]]) -> None:
    with pytest.raises(Unauthenticated, match="no certificate"):
        server.callers.of_connection(context, ADDRESS)


def test_a_certificate_expires_while_its_connection_is_open(server: Server) -> None:
    pem = server.shown_by("peer-2")
    server.wall_s = read_certificate(pem).not_after_s + SKEW_S
    server.call(pem)
    server.wall_s += 1
    with pytest.raises(Unauthenticated, match="expired"):
        server.call(pem)


def test_a_certificate_is_revoked_while_its_connection_is_open(server: Server) -> None:
    pem = server.shown_by("peer-2")
    server.call(pem)
    server.folder.revoke(Role.PEER, "2", now_s())
    assert server.live.refresh()
    with pytest.raises(Unauthenticated, match="revoked"):
        server.call(pem)
    server.call(server.shown_by("peer-1"))


def test_a_certificate_that_is_not_valid_yet_is_refused(server: Server) -> None:
    pem = server.shown_by("peer-2")
    server.wall_s -= DAY_S
    with pytest.raises(Unauthenticated, match="not valid before"):
        server.call(pem)


def test_a_certificate_of_another_federation_is_refused(server: Server, tmp_path: Path) -> None:
    other = KeyFolder(tmp_path / "other")
    other.init("lungs.example", ORGANISATION, now_s())
    other.issue(ORGANISATION, Role.PEER, "2", now_s())
    with pytest.raises(Unauthenticated, match=r"not one of the federation hearts\.example"):
        server.call((other.path / "nodes" / "peer-2.pem").read_bytes())


def test_a_certificate_by_another_organisation_is_refused(server: Server) -> None:
    server.folder.add_organisation("lab", now_s())
    forged = Forgery().signed_by(authority_in(server.folder, "lab"), make_key())
    with pytest.raises(Unauthenticated, match="by another authority"):
        server.call(to_pem(forged))


def test_a_certificate_is_read_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def reading(pem: bytes) -> Certificate:
        read.append(pem)
        return read_certificate(pem)

    monkeypatch.setattr(callers_module, "read_certificate", reading)
    for _ in range(3):
        server.call(server.shown_by("peer-2"))
    assert len(read) == 1


def test_of_too_many_certificates_the_one_unused_for_longest_is_forgotten(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers_module, "MAX_REMEMBERED", 2)
    read: list[bytes] = []

    def reading(pem: bytes) -> Certificate:
        read.append(pem)
        return read_certificate(pem)

    monkeypatch.setattr(callers_module, "read_certificate", reading)
    one, two, alice = (server.shown_by(name) for name in ("peer-1", "peer-2", "operator-alice"))
    for pem in (one, two, one, alice, one, two):  # alice pushes two out, which is then read again
        server.call(pem)
    assert read == [one, two, alice, two]


def test_without_certificates_a_caller_is_its_address() -> None:
    found = Callers(None, lambda: 0.0).of_connection({}, ADDRESS)
    assert found == Caller(None, address="10.0.0.7")
    assert found.principal == "10.0.0.7"
    assert Callers(None, lambda: 0.0).of_certificate(b"", ADDRESS) == found


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("ipv4:10.0.0.7:41000", "10.0.0.7"),
        ("ipv6:[::1]:41000", "::1"),
        ("ipv6:%5B::1%5D:41000", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:41000", "fe80::1%25eth0"),
        ("unix:", ""),
        ("unix:/run/socket", "/run/socket"),
        ("", ""),
        ("strange", ""),
    ],
)
def test_the_host_is_found_in_every_way_to_write_an_address(address: str, host: str) -> None:
    assert Callers(None, lambda: 0.0).of_connection({}, address).address == host
