"""Certificates: reads what one says. How they are made is in `authority.py`."""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.errors import Unauthenticated
from raftgossip.trust.identity import Identity


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says; whether its chain is good has been verified before."""

    identity: Identity
    serial: int
    key_digest: bytes
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER)."""
    not_before_s: float
    not_after_s: float

    def check(self, federation: str, wall_seconds: float, skew_s: float) -> None:
        """Refuse a certificate of another federation, or one that is not valid now.

        Raises:
            Unauthenticated: says which, when, and how to get a new one.
        """
        raise Unauthenticated("to be written")


def read_certificate(pem: bytes) -> Certificate:
    """Read a node's or person's certificate (the first in `pem`).

    Raises:
        Unauthenticated: it is none, or names no holder of ours: another issuer than its own organisation's authority,
            an unknown role, no SPIFFE name.
    """
    raise Unauthenticated("to be written")
