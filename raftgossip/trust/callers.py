"""Who calls: read from the connection's certificate, checked again at every call, and remembered between them.

The handshake has verified the chain of certificates. What changes while a connection stays open is checked here: a
certificate expires, or is revoked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from raftgossip.errors import Unauthenticated
from raftgossip.trust.certificates import Certificate, read_certificate
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Identity

SKEW_S = 60.0
"""Clocks of different machines may differ by so much before a certificate counts as expired or not yet valid."""
MAX_REMEMBERED = 20_000
"""Certificates whose reading is kept; the one unused for longest is dropped first."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end of a connection."""

    identity: Identity | None
    """None: this server runs without certificates, and anybody may be anybody."""
    key_digest: bytes = b""
    """SHA-256 of the public key in its certificate (SubjectPublicKeyInfo, DER); empty without certificates."""
    address: str = ""
    """Host or IP address; tells apart who is limited where there are no certificates."""

    @property
    def principal(self) -> str:
        """What limits are counted by: the identity, else the address."""
        return self.identity.uri if self.identity is not None else self.address


class Callers:
    """Reads callers. Thread-safe: every operation is one of a dict's own."""

    def __init__(self, credentials: LiveCredentials | None, wall_seconds: Callable[[], float]) -> None:
        """`credentials`: this server's own, whose federation and revocations count; None: it runs without."""
        self._credentials = credentials
        self._wall_seconds = wall_seconds
        self._known: OrderedDict[bytes, Certificate] = OrderedDict()

    def of_connection(self, auth_context: Mapping[str, Iterable[bytes]], address: str) -> Caller:
        """The caller, from what gRPC tells about the connection. `address`: the other end, e.g. `ipv4:10.0.0.1:5000`.

        Raises:
            Unauthenticated: its certificate is missing, foreign, expired, not valid yet or revoked; says which.
        """
        host = _host_of(address)
        if self._credentials is None:
            return Caller(None, address=host)
        pem = next(iter(auth_context.get("x509_pem_cert", ())), b"")
        return self._checked(pem, host)

    def of_certificate(self, pem: bytes, address: str) -> Caller:
        """The same, from the certificate itself, where TLS ran without gRPC; its chain must have been verified."""
        host = _host_of(address)
        return Caller(None, address=host) if self._credentials is None else self._checked(pem, host)

    def _checked(self, pem: bytes, host: str) -> Caller:
        assert self._credentials is not None
        try:
            self._known.move_to_end(pem)
            certificate = self._known[pem]
        except KeyError:  # another thread may have dropped it between the two
            certificate = self._read(pem)
        credentials = self._credentials.current()
        certificate.check(credentials.identity.federation, self._wall_seconds(), SKEW_S)
        credentials.revocations.check(certificate)
        return Caller(certificate.identity, certificate.key_digest, host)

    def _read(self, pem: bytes) -> Certificate:
        if not pem:
            raise Unauthenticated("no certificate was shown on this connection")
        certificate = read_certificate(pem)
        self._known[pem] = certificate
        while len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        return certificate


def _host_of(address: str) -> str:
    """The host in gRPC's way to write an address."""
    _, _, rest = address.partition(":")
    host, separator, _ = rest.rpartition(":")
    return (host if separator else rest).strip("[]").replace("%5B", "").replace("%5D", "")
