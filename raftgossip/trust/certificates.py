"""Certificates: reads what one says, and who vouches for it. How they are made is in `authority.py`.

Three kinds, each certified by the one before: the federation's root (its common name is the federation), an
organisation's authority (its O is the organisation), and what a node or person shows. Names that an authority may not
give away are refused twice: TLS enforces the name constraints in its certificate, and here the issuer of a certificate
must be the authority of the organisation that it names.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.identity import Identity, Role, check_federation, check_organisation, role_server_name

DAY_S = 86_400.0
MAX_DAYS = 90
"""No certificate of a node or person is valid for longer; so a revocation list may forget what is older."""
BACKDATED_S = 60.0
"""A new certificate counts from so long ago, for the clock of whoever reads it first may be behind."""
MAX_PEM_BYTES = 16 << 10
"""Of a certificate and those that vouch for it; ours have about 1 KiB each."""

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for bytes that are no certificate, list or request, or a part of one that is missing."""
_USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


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
        if self.identity.federation != federation:
            raise Unauthenticated(f"the certificate of {self.identity.uri} is not one of the federation {federation}")
        if wall_seconds > self.not_after_s + skew_s:
            raise Unauthenticated(
                f"the certificate of {self.identity.uri} expired at {moment(self.not_after_s)}; "
                "its organisation renews it with raftgossip keys renew"
            )
        if wall_seconds < self.not_before_s - skew_s:
            raise Unauthenticated(
                f"the certificate of {self.identity.uri} is not valid before {moment(self.not_before_s)}; "
                "compare the clocks of both machines"
            )


def read_certificate(pem: bytes) -> Certificate:
    """Read a node's or person's certificate (the first in `pem`).

    Raises:
        Unauthenticated: it is none, or names no holder of ours: another issuer than its own organisation's authority,
            an unknown role, no SPIFFE name.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise Unauthenticated(f"a certificate of {len(pem)} bytes; at most {MAX_PEM_BYTES} are read")
    try:
        return certificate_of(x509.load_pem_x509_certificate(pem))
    except UNREADABLE:
        raise Unauthenticated("what was shown is no certificate of a node or person, or lacks a part of one") from None


def certificate_of(found: x509.Certificate) -> Certificate:
    """The same, from what the library has read.

    Raises:
        Unauthenticated: it names no holder of ours; besides, whatever of `UNREADABLE` its parts raise.
    """
    identity = _holder_in(found)
    if _one(found.issuer, NameOID.ORGANIZATION_NAME) != identity.organisation:
        raise Unauthenticated(
            f"{identity.uri} was certified by another authority than that of its organisation {identity.organisation}"
        )
    _require_holders_usage(found, identity)
    not_before_s = found.not_valid_before_utc.timestamp()
    not_after_s = found.not_valid_after_utc.timestamp()
    if not_after_s - not_before_s > MAX_DAYS * DAY_S + BACKDATED_S:
        raise Unauthenticated(f"the certificate of {identity.uri} is valid for more than {MAX_DAYS} days")
    return Certificate(identity, found.serial_number, key_digest_of(p256_key_of(found)), not_before_s, not_after_s)


def read_pem_certificates(pem: bytes) -> list[x509.Certificate]:
    """All certificates in `pem`, at least one.

    Raises:
        Unauthenticated: there is none, or the text is too long.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise Unauthenticated(f"certificates of {len(pem)} bytes; at most {MAX_PEM_BYTES} are read")
    try:
        return x509.load_pem_x509_certificates(pem)
    except UNREADABLE:
        raise Unauthenticated("there is no certificate in it") from None


def federation_of(root: x509.Certificate) -> str:
    """The federation whose root this is.

    Raises:
        Unauthenticated: it is no root.
    """
    try:
        root.verify_directly_issued_by(root)
        _require_authority(root)
        return check_federation(_one(root.subject, NameOID.COMMON_NAME))
    except (InvalidSignature, ConfigError, *UNREADABLE):
        raise Unauthenticated("it is not the root certificate of a federation") from None


def organisation_of(authority: x509.Certificate, root: x509.Certificate) -> str:
    """The organisation whose authority this is, certified by the root. Whether it is valid now is not asked.

    Raises:
        Unauthenticated: it is none, or another root's.
    """
    try:
        authority.verify_directly_issued_by(root)
        _require_authority(authority)
        p256_key_of(authority)
        return check_organisation(_one(authority.subject, NameOID.ORGANIZATION_NAME))
    except (InvalidSignature, ConfigError, *UNREADABLE):
        raise Unauthenticated("an organisation's authority that the federation's root does not certify") from None


def verify_chain(chain: list[x509.Certificate], root: x509.Certificate) -> Certificate:
    """Read the first of a chain (a holder's certificate, its organisation's authority), vouched for up to the root.
    Whether each is valid now is not asked.

    Raises:
        Unauthenticated: a link is missing or does not hold.
    """
    if len(chain) != 2:
        raise Unauthenticated("a chain is a certificate and the one of its organisation's authority")
    organisation_of(chain[1], root)
    try:
        certificate = certificate_of(chain[0])
        chain[0].verify_directly_issued_by(chain[1])
    except (InvalidSignature, *UNREADABLE):
        raise Unauthenticated("a certificate that the authority beside it has not signed") from None
    certificate.check(federation_of(root), certificate.not_after_s, 0.0)
    return certificate


def key_digest_of(key: ec.EllipticCurvePublicKey) -> bytes:
    """SHA-256 of the public key (SubjectPublicKeyInfo, DER): its name in tokens and rosters."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def p256_key_of(found: x509.Certificate | x509.CertificateSigningRequest) -> ec.EllipticCurvePublicKey:
    """Its public key, which is on P-256 as all of ours.

    Raises:
        ValueError: it is another kind of key.
    """
    key = found.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("its key is not on P-256")
    return key


def role_and_name_in(subject: x509.Name) -> tuple[Role, str]:
    """What a subject says of its holder, beside the organisation.

    Raises:
        Unauthenticated: an unknown role.
        ValueError: a part is missing or stands twice.
    """
    role = _one(subject, NameOID.ORGANIZATIONAL_UNIT_NAME)
    if role not in frozenset(Role):
        raise Unauthenticated(f"a certificate of role {role[:40]!r}; the roles are {', '.join(Role)}")
    return Role(role), _one(subject, NameOID.COMMON_NAME)


def moment(seconds: float) -> str:
    """A time as people read it: 2026-01-31 12:00:00 UTC."""
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S} UTC"


def _holder_in(found: x509.Certificate) -> Identity:
    """Whom it names: in the SPIFFE URI, in the subject, and in the two server names, and all three alike."""
    role, name = role_and_name_in(found.subject)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1:
        raise Unauthenticated(f"a certificate with {len(uris)} URIs; it must have one, spiffe://…")
    try:
        identity = Identity.of_uri(uris[0], role)
    except ConfigError as error:
        raise Unauthenticated(f"a certificate that names nobody: {error}") from None
    server_names = {identity.server_name, role_server_name(role, identity.federation)}
    if (
        (_one(found.subject, NameOID.ORGANIZATION_NAME), name) != (identity.organisation, identity.name)
        or set(names.get_values_for_type(x509.DNSName)) != server_names
        or len(names) != 1 + len(server_names)
    ):
        raise Unauthenticated(f"a certificate that names others beside {identity.uri}")
    return identity


def _require_holders_usage(found: x509.Certificate, identity: Identity) -> None:
    usages = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    if any(usage not in usages for usage in _USAGES):
        raise Unauthenticated(f"the certificate of {identity.uri} is not for clients and servers of TLS")
    usage = found.extensions.get_extension_for_class(x509.KeyUsage).value
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not usage.digital_signature or usage.key_cert_sign or usage.crl_sign or constraints.ca:
        raise Unauthenticated(f"the certificate of {identity.uri} is that of an authority, not of a holder")


def _require_authority(found: x509.Certificate) -> None:
    """Raises: ValueError or another of `UNREADABLE`: it may not certify."""
    usage = found.extensions.get_extension_for_oid(ExtensionOID.KEY_USAGE).value
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not isinstance(usage, x509.KeyUsage) or not (usage.key_cert_sign and usage.crl_sign and constraints.ca):
        raise ValueError("no authority")


def _one(name: x509.Name, attribute: ObjectIdentifier) -> str:
    values = name.get_attributes_for_oid(attribute)
    if len(values) != 1:
        raise ValueError("a part of the name is missing, or stands twice")
    value = values[0].value
    return value if isinstance(value, str) else value.decode("ascii", "replace")
