"""Certificates good and bad for tests of ports and sockets, and raw connections that show them."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from raftgossip.ids import Address
from raftgossip.runtime.clock import SystemClock
from raftgossip.trust.authority import (
    Authority,
    key_from_pem,
    key_to_pem,
    make_certificate,
    make_key,
    make_revocation_list,
)
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role, role_server_name

FEDERATION = "hearts.example"
ORGANISATION = "north"
DAY_S = 86_400.0
BAD_CERTIFICATES = ("none", "expired", "not valid yet", "of another federation", "for another usage", "revoked")


def now_s() -> float:
    """The wall clock."""
    return SystemClock().wall_ms() / 1000


def make_folder(path: Path, peers: Sequence[int] = (1, 2), operators: Sequence[str] = ("alice",)) -> KeyFolder:
    """A federation with one organisation."""
    folder = KeyFolder(path)
    folder.init(FEDERATION, ORGANISATION, now_s())
    for node_id in peers:
        folder.issue(ORGANISATION, Role.PEER, str(node_id), now_s())
    for name in operators:
        folder.issue(ORGANISATION, Role.OPERATOR, name, now_s())
    return folder


def peer_of(folder: KeyFolder, node_id: int) -> LiveCredentials:
    """A node's credentials."""
    return folder.credentials(Role.PEER, str(node_id))


class Shown:
    """A certificate with its key, and how to dial with them."""

    def __init__(self, folder: KeyFolder, key: bytes | None, chain: bytes | None) -> None:
        self.root = (folder.path / "federation.pem").read_bytes()
        self.key, self.chain = key, chain
        self._folder = folder

    def channel(self, address: Address, server_name: str = "") -> grpc.Channel:
        """A channel to any peer, or to that one."""
        name = server_name or role_server_name(Role.PEER, FEDERATION)
        return grpc.secure_channel(
            str(address),
            grpc.ssl_channel_credentials(self.root, self.key, self.chain),
            options=(("grpc.ssl_target_name_override", name),),
        )

    def context(self) -> ssl.SSLContext:
        """For a socket to any peer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.root.decode())
        if self.chain is not None and self.key is not None:
            shown = self._folder.path / "shown.pem"
            shown.write_bytes(self.chain + self.key)
            context.load_cert_chain(shown)
        return context


def shown_by(folder: KeyFolder, role: Role, name: str) -> Shown:
    """What a holder shows now."""
    now = folder.credentials(role, name).current()
    return Shown(folder, now.key_pem, now.chain_pem)


def bad_certificate(folder: KeyFolder, what: str, tmp_path: Path) -> Shown:
    """What nobody may get in with, in the name of node 1; `what` is one of `BAD_CERTIFICATES`."""
    match what:
        case "none":
            return Shown(folder, None, None)
        case "of another federation":
            other = shown_by(make_folder(tmp_path / "other"), Role.PEER, "1")
            return Shown(folder, other.key, other.chain)
        case "revoked":
            shown = shown_by(folder, Role.PEER, "1")
            folder.add_revocations(revocation_list(folder, shown, 1))
            return shown
        case "expired":
            return certified(folder, Role.PEER, "1", start_s=now_s() - 2 * DAY_S)
        case "not valid yet":
            return certified(folder, Role.PEER, "1", start_s=now_s() + DAY_S)
        case "for another usage":
            return certified(folder, Role.PEER, "1", usage=ExtendedKeyUsageOID.CODE_SIGNING)
    raise AssertionError(what)


def authority_of(folder: KeyFolder, organisation: str = ORGANISATION) -> Authority:
    """An organisation's authority with its key."""
    stem = folder.path / "organisations" / organisation
    certificate = x509.load_pem_x509_certificate(stem.with_suffix(".pem").read_bytes())
    return Authority(certificate, key_from_pem(stem.with_suffix(".key").read_bytes()))


def certified(
    folder: KeyFolder,
    role: Role,
    name: str,
    start_s: float | None = None,
    usage: x509.ObjectIdentifier | None = None,
    organisation: str = ORGANISATION,
) -> Shown:
    """A certificate that is signed as it should be, for a day from `start_s` on, perhaps for another usage."""
    authority, key = authority_of(folder, organisation), make_key()
    identity = Identity(FEDERATION, organisation, role, name)
    made = make_certificate(authority, identity, key.public_key(), now_s() if start_s is None else start_s, DAY_S)
    if usage is not None:
        builder: Any = x509.CertificateBuilder(
            made.issuer, made.subject, made.public_key(), made.serial_number, made.not_valid_before_utc,
            made.not_valid_after_utc,
        )  # fmt: skip
        for extension in made.extensions:
            value: Any = extension.value
            if isinstance(value, x509.ExtendedKeyUsage):
                value = x509.ExtendedKeyUsage([usage])
            builder = builder.add_extension(value, extension.critical)
        made = builder.sign(authority.key, hashes.SHA256())
    chain = made.public_bytes(Encoding.PEM) + authority.certificate_pem
    return Shown(folder, key_to_pem(key), chain)


def revocation_list(folder: KeyFolder, shown: Shown, number: int) -> bytes:
    """A list that revokes this certificate."""
    assert shown.chain is not None
    serial = x509.load_pem_x509_certificate(shown.chain).serial_number
    return make_revocation_list(authority_of(folder), number, [(serial, now_s())], now_s())


class ShiftedClock:
    """This machine's clocks, the wall clock `shift_s` ahead."""

    def __init__(self) -> None:
        self.shift_s = 0.0
        self._clock = SystemClock()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def wall_ms(self) -> int:
        return self._clock.wall_ms() + int(1000 * self.shift_s)
