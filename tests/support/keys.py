"""Key folders for tests: a federation with one organisation, its nodes and its people."""

from __future__ import annotations

import atexit
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from raftgossip.runtime.clock import SystemClock
from raftgossip.trust.authority import Authority, PrivateKey, key_to_pem, make_key
from raftgossip.trust.certificates import Certificate
from raftgossip.trust.credentials import Credentials, LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.key_layout import KeyLayout
from raftgossip.trust.revocation import Revocations

FEDERATION = "hearts.example"
ORGANISATION = "clinic"


def now_s() -> float:
    """The wall clock, as the commands pass it in."""
    return SystemClock().wall_ms() / 1000


@cache
def _template() -> TemporaryDirectory[str]:
    folder = TemporaryDirectory()
    atexit.register(folder.cleanup)
    make_keys(Path(folder.name))
    return folder


def copied_keys(folder: Path) -> KeyFolder:
    """What `make_keys` makes by default, copied from one that is made once: for tests that are many."""
    copytree(Path(_template().name) / "keys", folder / "keys")
    return KeyFolder(folder / "keys")


def make_keys(
    folder: Path, peers: Iterable[int] = (1, 2), gateway: bool = True, operators: Iterable[str] = ("alice",)
) -> KeyFolder:
    """A key folder below `folder` with a root, an authority, and certificates that are valid for a day."""
    keys = KeyFolder(folder / "keys")
    keys.init(FEDERATION, ORGANISATION, now_s())
    for node_id in peers:
        keys.issue(ORGANISATION, Role.PEER, str(node_id), now_s())
    if gateway:
        keys.issue(ORGANISATION, Role.GATEWAY, "gateway-1", now_s())
    for name in operators:
        keys.issue(ORGANISATION, Role.OPERATOR, name, now_s())
    return keys


@dataclass(frozen=True, slots=True)
class Forgery:
    """A holder's certificate of which every part can be chosen; as it stands, it is as good as one of ours."""

    organisation: str = ORGANISATION
    unit: str | None = "peer"
    name: str = "1"
    uris: tuple[str, ...] = (f"spiffe://{FEDERATION}/{ORGANISATION}/1",)
    dns_names: tuple[str, ...] = (f"1.peer.{ORGANISATION}.{FEDERATION}", f"peer.{FEDERATION}")
    usages: tuple[x509.ObjectIdentifier, ...] | None = (
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    )
    other_names: tuple[x509.GeneralName, ...] = ()
    is_authority: bool = False
    may_sign: bool = False
    starts_s: float = -60.0
    """From now."""
    ends_s: float = 86_400.0
    """From now."""

    def signed_by(self, authority: Authority, key: PrivateKey) -> x509.Certificate:
        """The certificate for this key."""
        parts = [
            (NameOID.ORGANIZATION_NAME, self.organisation),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.unit),
            (NameOID.COMMON_NAME, self.name),
        ]
        present = datetime.fromtimestamp(now_s(), UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(oid, text) for oid, text in parts if text is not None]))
            .issuer_name(authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(present + timedelta(seconds=self.starts_s))
            .not_valid_after(present + timedelta(seconds=self.ends_s))
            .add_extension(x509.BasicConstraints(ca=self.is_authority, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=self.may_sign), critical=True)
        )
        names = [*map(x509.UniformResourceIdentifier, self.uris), *map(x509.DNSName, self.dns_names), *self.other_names]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if self.usages is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.usages), critical=False)
        return builder.sign(authority.key, hashes.SHA256())


def to_pem(*certificates: x509.Certificate) -> bytes:
    """Certificates, one after the other."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def forged_credentials(authority: Authority, forgery: Forgery, folder: KeyFolder) -> LiveCredentials:
    """What somebody shows who has such a certificate by this authority, and trusts the folder's root."""
    key = make_key()
    chain = (forgery.signed_by(authority, key), authority.certificate)
    root_path = folder.path / "federation.pem"
    credentials = Credentials(
        certificate=Certificate(Identity(FEDERATION, ORGANISATION, Role.PEER, "1"), 1, b"", 0.0, 0.0),
        key_pem=key_to_pem(key),
        chain_pem=to_pem(*chain),
        root_pem=root_path.read_bytes(),
        key_path=root_path,
        chain_path=root_path,
        root_path=root_path,
        revocations=Revocations(),
    )
    return LiveCredentials(lambda: credentials, lambda: False)


def authority_in(folder: KeyFolder, organisation: str = ORGANISATION) -> Authority:
    """An organisation's authority with its key, as its administrator has it."""
    return KeyLayout(folder.path).organisation(organisation)


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    unused = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        **unused,
    )
