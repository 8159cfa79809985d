"""Join tokens: an organisation's permission, for one node and a few minutes, to enter the cluster once.

A token is `v1.payload.signature.certificate`: each part in base64url without padding; the payload is JSON with sorted
keys and no spaces, the signature is ECDSA with SHA-256 by the organisation's authority over `PREFIX + payload`, and the
certificate is that authority's (DER). So the federation's root is all that is needed to verify one. That a token is
used only once is held by the ledger, which remembers those that let somebody in.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.authority import Authority
from raftgossip.trust.certificates import UNREADABLE, federation_of, moment, organisation_of, p256_key_of
from raftgossip.trust.identity import Identity, Role

MAX_LIFETIME_S = 900
"""No token is valid for longer than 15 minutes."""
MAX_TOKEN_CHARACTERS = 8 << 10
"""Ours have about 1,400."""
MAX_TIME_S = 1 << 53
"""Times from here on are none; a float holds all below exactly."""
VERSION = "v1"
PREFIX = b"raftgossip join token v1\0"
"""Nothing else that an authority signs begins so."""

_TOKEN_ID = re.compile(r"[0-9a-f]{32}")
_KEY_DIGEST = re.compile(r"[0-9a-f]{64}")
_TEXTS = ("federation", "key_digest", "organisation", "role", "token_id")
_TIMES = ("expires_s", "issued_s")


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a verified token says."""

    token_id: str
    """Random, 32 hexadecimal digits; by it the ledger knows a used one."""
    federation: str
    organisation: str
    role: Role
    key_digest: bytes
    """SHA-256 of the public key that may use it."""
    expires_s: int
    """Seconds since the Unix epoch."""

    def check(self, identity: Identity, key_digest: bytes) -> None:
        """Refuse a token that was made for somebody else.

        Raises:
            Unauthenticated: names what differs.
        """
        differing = [
            what
            for what, is_same in (
                ("federation", self.federation == identity.federation),
                ("organisation", self.organisation == identity.organisation),
                ("role", self.role is identity.role),
                ("key", self.key_digest == key_digest),
            )
            if not is_same
        ]
        if differing:
            raise Unauthenticated(
                f"the join token was made for another {' and '.join(differing)} than that of {identity.uri}; "
                "ask for one with raftgossip keys token"
            )


def make_token(
    authority: Authority, identity: Identity, key_digest: bytes, token_id: str, issued_s: int, lifetime_s: int
) -> str:
    """A token for this holder, by its organisation's authority. `token_id`: 32 random hexadecimal digits.

    Raises:
        ConfigError: the lifetime is not from 1 to `MAX_LIFETIME_S` seconds.
    """
    if not 1 <= lifetime_s <= MAX_LIFETIME_S:
        raise ConfigError(f"a join token is valid for 1 to {MAX_LIFETIME_S} seconds, not {lifetime_s}")
    payload = _to_json(
        {
            "token_id": token_id,
            "federation": identity.federation,
            "organisation": identity.organisation,
            "role": identity.role,
            "key_digest": key_digest.hex(),
            "issued_s": issued_s,
            "expires_s": issued_s + lifetime_s,
        }
    )
    signature = authority.key.sign(PREFIX + payload, ec.ECDSA(hashes.SHA256()))
    certificate = authority.certificate.public_bytes(Encoding.DER)
    return ".".join((VERSION, *(_to_base64(part) for part in (payload, signature, certificate))))


def read_token(text: str, root_pem: bytes, wall_seconds: float, skew_s: float) -> JoinToken:
    """Verify a token: signed by an authority of an organisation that the root certifies, and not expired.

    Raises:
        Unauthenticated: it is not; says why, without what was in it.
    """
    payload, signature, authority = _parts_of(text)
    root = x509.load_pem_x509_certificate(root_pem)
    organisation = organisation_of(authority, root)
    try:
        p256_key_of(authority).verify(signature, PREFIX + payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Unauthenticated("the join token is not signed by the authority in it") from None
    token, issued_s = _read_payload(payload)
    if (token.organisation, token.federation) != (organisation, federation_of(root)):
        raise Unauthenticated("the join token was made by another organisation or federation than it names")
    _check_times(token, issued_s, authority, wall_seconds, skew_s)
    return token


def _parts_of(text: str) -> tuple[bytes, bytes, x509.Certificate]:
    """The payload, the signature and the authority's certificate, of which nothing is verified yet."""
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise Unauthenticated(f"a join token of {len(text)} characters; at most {MAX_TOKEN_CHARACTERS} are read")
    version, *parts = text.strip().split(".")
    if version != VERSION or len(parts) != 3:
        raise Unauthenticated("it is no join token as raftgossip keys token makes them; was all of it copied?")
    try:
        payload, signature, certificate = (_from_base64(part) for part in parts)
        return payload, signature, x509.load_der_x509_certificate(certificate)
    except UNREADABLE:
        raise Unauthenticated("a part of the join token cannot be read; was all of it copied?") from None


def _read_payload(payload: bytes) -> tuple[JoinToken, int]:
    """The token, and when it was issued. The authority has signed it; yet one may have made it with another program."""
    try:
        found = json.loads(payload)
        if not isinstance(found, dict) or set(found) != {*_TEXTS, *_TIMES} or _to_json(found) != payload:
            raise ValueError
        if any(not isinstance(found[key], str) for key in _TEXTS) or any(type(found[key]) is not int for key in _TIMES):
            raise ValueError
        if any(not 0 <= found[key] < MAX_TIME_S for key in _TIMES):
            raise ValueError
        if not _TOKEN_ID.fullmatch(found["token_id"]) or not _KEY_DIGEST.fullmatch(found["key_digest"]):
            raise ValueError
        token = JoinToken(
            found["token_id"],
            found["federation"],
            found["organisation"],
            Role(found["role"]),
            bytes.fromhex(found["key_digest"]),
            found["expires_s"],
        )
    except (ValueError, RecursionError):
        raise Unauthenticated("the join token does not say what one must say") from None
    return token, found["issued_s"]


def _check_times(
    token: JoinToken, issued_s: int, authority: x509.Certificate, wall_seconds: float, skew_s: float
) -> None:
    if not 0 < token.expires_s - issued_s <= MAX_LIFETIME_S:
        raise Unauthenticated(f"the join token is valid for longer than {MAX_LIFETIME_S} seconds")
    if wall_seconds > token.expires_s + skew_s:
        raise Unauthenticated("the join token has expired; make a new one with raftgossip keys token")
    if wall_seconds < issued_s - skew_s:
        raise Unauthenticated("the join token is not valid yet; compare the clocks of both machines")
    first_s = authority.not_valid_before_utc.timestamp()
    last_s = authority.not_valid_after_utc.timestamp()
    if not first_s - skew_s <= wall_seconds <= last_s + skew_s:
        raise Unauthenticated(
            f"the authority that made the join token is valid from {moment(first_s)} to {moment(last_s)} only"
        )


def _to_json(found: dict[str, object]) -> bytes:
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode("ascii")


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _from_base64(text: str) -> bytes:
    """Raises: ValueError: it is not exactly what `_to_base64` would have written."""
    data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _to_base64(data) != text:
        raise ValueError("not the one way to write it")
    return data
