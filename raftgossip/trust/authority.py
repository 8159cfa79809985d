"""Makes certificates and revocation lists. Pure but for the keys' own randomness: the time is passed in, in seconds
since the Unix epoch.

All keys are on P-256, all signatures ECDSA with SHA-256. The certificate of an organisation's authority holds name
constraints: it can certify names of its own organisation and the names of the roles, and no others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.certificates import (
    BACKDATED_S,
    DAY_S,
    MAX_DAYS,
    MAX_PEM_BYTES,
    UNREADABLE,
    federation_of,
    p256_key_of,
    role_and_name_in,
)
from raftgossip.trust.identity import Identity, Role, check_federation, check_organisation, role_server_name

AUTHORITY_DAYS = 3650
"""How long roots and authorities are valid. Holders' certificates end with their authority's at the latest."""

PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """Who can certify: a root or an organisation's authority, with its private key."""

    certificate: x509.Certificate
    key: PrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate, to be given to everybody."""
        return self.certificate.public_bytes(Encoding.PEM)


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What the holder of a key asks to be certified as. That it holds the key has been verified; nothing else has."""

    organisation: str
    role: Role
    name: str
    key: ec.EllipticCurvePublicKey


def make_key() -> PrivateKey:
    """A new private key, from the system's randomness."""
    return ec.generate_private_key(ec.SECP256R1())


def key_to_pem(key: PrivateKey) -> bytes:
    """A private key as it is kept in a file: PKCS #8, not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_pem(pem: bytes) -> PrivateKey:
    """A private key from a file.

    Raises:
        ConfigError: it is none of ours; never says what was in it.
    """
    try:
        key = load_pem_private_key(pem, password=None)
    except UNREADABLE:
        raise ConfigError("it holds no private key that can be read without a password") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError("its key is not on P-256")
    return key


def make_root(federation: str, now_s: float) -> Authority:
    """The root of a new federation.

    Raises:
        ConfigError: the federation's name is malformed.
    """
    key = make_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, check_federation(federation))])
    builder = _builder(subject, subject, key.public_key(), now_s, AUTHORITY_DAYS * DAY_S)
    return Authority(_sign(_as_authority(builder, path_length=1), key), key)


def make_organisation(root: Authority, organisation: str, now_s: float) -> Authority:
    """The authority of an organisation in the root's federation.

    Raises:
        ConfigError: the organisation's name is malformed.
    """
    key = make_key()
    return Authority(certify_organisation(root, organisation, key.public_key(), now_s), key)


def certify_organisation(
    root: Authority, organisation: str, key: ec.EllipticCurvePublicKey, now_s: float
) -> x509.Certificate:
    """The certificate of an organisation's authority that holds its key itself.

    Raises:
        ConfigError: the organisation's name is malformed.
    """
    federation = federation_of(root.certificate)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, check_organisation(organisation))])
    domains = [f"{organisation}.{federation}", *(role_server_name(role, federation) for role in Role)]
    builder = _builder(subject, root.certificate.subject, key, now_s, _until(root, now_s, AUTHORITY_DAYS * DAY_S))
    builder = _as_authority(builder, path_length=0).add_extension(
        x509.NameConstraints([x509.DNSName(domain) for domain in domains], None), critical=True
    )
    return _sign(builder, root.key, root)


def make_certificate(
    authority: Authority, identity: Identity, key: ec.EllipticCurvePublicKey, now_s: float, lifetime_s: float
) -> x509.Certificate:
    """The certificate of a node or person, valid from a minute ago. What the authority may certify is not asked here:
    who reads the certificate does (`certificates.py`).

    Raises:
        ConfigError: the lifetime is not above 0 and at most `MAX_DAYS`, or the authority has expired.
    """
    if not 0 < lifetime_s <= MAX_DAYS * DAY_S:
        raise ConfigError(
            f"a certificate is valid for more than 0 and at most {MAX_DAYS} days, not {lifetime_s / DAY_S:g}"
        )
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, identity.role),
            x509.NameAttribute(NameOID.COMMON_NAME, identity.name),
        ]
    )
    names = [
        x509.UniformResourceIdentifier(identity.uri),
        x509.DNSName(identity.server_name),
        x509.DNSName(role_server_name(identity.role, identity.federation)),
    ]
    issuer = authority.certificate.subject
    builder = (
        _builder(subject, issuer, key, now_s, _until(authority, now_s, lifetime_s))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    return _sign(builder, authority.key, authority)


def make_revocation_list(
    authority: Authority, number: int, revoked: Iterable[tuple[int, float]], now_s: float
) -> bytes:
    """An organisation's list, in PEM, with its authority's certificate behind it, so that the root alone verifies it.

    `revoked`: serials, and since when. It has no end of its own: it counts until one with a higher number comes.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(_datetime(now_s))
        .next_update(_datetime(now_s + AUTHORITY_DAYS * DAY_S))
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for serial, since_s in sorted(revoked):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_datetime(since_s)).build()
        builder = builder.add_revoked_certificate(entry)
    signed = builder.sign(authority.key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM) + authority.certificate_pem


def make_request(key: PrivateKey, organisation: str, role: Role, name: str) -> bytes:
    """Ask to be certified, without giving the key away: a PKCS #10 request in PEM."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )


def read_request(pem: bytes) -> CertificateRequest:
    """Read a request; what it asks for must be shown to whoever grants it.

    Raises:
        Unauthenticated: it is none, is not signed by the key in it, or asks for a role that there is not.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise Unauthenticated(f"a request of {len(pem)} bytes; at most {MAX_PEM_BYTES} are read")
    try:
        found = x509.load_pem_x509_csr(pem)
        key = p256_key_of(found)
        role, name = role_and_name_in(found.subject)
        organisations = found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        if not found.is_signature_valid or len(organisations) != 1:
            raise ValueError
    except (InvalidSignature, *UNREADABLE):
        raise Unauthenticated("it is no certificate request as raftgossip keys request makes them") from None
    return CertificateRequest(str(organisations[0].value), role, name, key)


def _until(authority: Authority, now_s: float, lifetime_s: float) -> float:
    """The lifetime, cut where the authority's own ends.

    Raises:
        ConfigError: it has ended.
    """
    left_s = authority.certificate.not_valid_after_utc.timestamp() - now_s
    if left_s <= 0:
        raise ConfigError(
            "the authority's own certificate has expired; make a new federation with raftgossip keys init"
        )
    return min(lifetime_s, left_s)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now_s: float, lifetime_s: float
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_datetime(now_s - BACKDATED_S))
        .not_valid_after(_datetime(now_s + lifetime_s))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _as_authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        _usage(key_cert_sign=True), critical=True
    )


def _sign(builder: x509.CertificateBuilder, key: PrivateKey, by: Authority | None = None) -> x509.Certificate:
    if by is not None:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(p256_key_of(by.certificate))
        builder = builder.add_extension(identifier, critical=False)
    return builder.sign(key, hashes.SHA256())


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _datetime(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
