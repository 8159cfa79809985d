"""Certificates good and bad, as who dials a peer's port or socket shows them, and time that can be shifted."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from raftgossip.ids import Address
from raftgossip.runtime.clock import SystemClock
from raftgossip.trust.authority import key_to_pem, make_key, make_revocation_list
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role, role_server_name
from tests.support.keys import FEDERATION, ORGANISATION, Forgery, authority_in, make_keys, now_s, to_pem

DAY_S = 86_400.0
ANY_PEER = role_server_name(Role.PEER, FEDERATION)
BAD_CERTIFICATES = ("none", "expired", "not valid yet", "of another federation", "for another usage", "revoked")


def peer_identity(node_id: int) -> Identity:
    """A node of the organisation."""
    return Identity(FEDERATION, ORGANISATION, Role.PEER, str(node_id))


def peer_of(folder: KeyFolder, node_id: int) -> LiveCredentials:
    """A node's credentials."""
    return folder.credentials(Role.PEER, str(node_id))


class Shown:
    """A certificate with its key, and how to dial with them."""

    def __init__(self, folder: KeyFolder, key: bytes | None, chain: bytes | None) -> None:
        self.root = (folder.path / "federation.pem").read_bytes()
        self.key, self.chain = key, chain
        self._folder = folder

    def channel(self, address: Address, server_name: str = ANY_PEER) -> grpc.Channel:
        """A channel to any peer, or to that one."""
        return grpc.secure_channel(
            str(address),
            grpc.ssl_channel_credentials(self.root, self.key, self.chain),
            options=(("grpc.ssl_target_name_override", server_name),),
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
            other = shown_by(make_keys(tmp_path / "other"), Role.PEER, "1")
            return Shown(folder, other.key, other.chain)
        case "revoked":
            shown = shown_by(folder, Role.PEER, "1")
            folder.add_revocations(revocation_list(folder, shown))
            return shown
        case "expired":
            return forged(folder, Forgery(starts_s=-2 * DAY_S, ends_s=-DAY_S))
        case "not valid yet":
            return forged(folder, Forgery(starts_s=DAY_S, ends_s=2 * DAY_S))
        case "for another usage":
            return forged(folder, Forgery(usages=(ExtendedKeyUsageOID.CODE_SIGNING,)))
    raise AssertionError(what)


def in_role(folder: KeyFolder, role: Role) -> Shown:
    """A good certificate of a role."""
    identity = Identity(FEDERATION, ORGANISATION, role, "7")
    names = (identity.server_name, role_server_name(role, FEDERATION))
    return forged(folder, Forgery(unit=role, name="7", uris=(identity.uri,), dns_names=names))


def forged(folder: KeyFolder, forgery: Forgery) -> Shown:
    """A certificate that the organisation has signed, whatever it says."""
    authority, key = authority_in(folder), make_key()
    return Shown(folder, key_to_pem(key), to_pem(forgery.signed_by(authority, key), authority.certificate))


def revocation_list(folder: KeyFolder, shown: Shown, number: int = 1) -> bytes:
    """A list that revokes this certificate."""
    assert shown.chain is not None
    serial = x509.load_pem_x509_certificate(shown.chain).serial_number
    return make_revocation_list(authority_in(folder), number, [(serial, now_s())], now_s())


class ShiftedClock:
    """This machine's clocks, the wall clock `shift_s` ahead."""

    def __init__(self) -> None:
        self.shift_s = 0.0
        self._clock = SystemClock()

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def wall_ms(self) -> int:
        return self._clock.wall_ms() + int(1000 * self.shift_s)
