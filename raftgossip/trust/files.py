"""A key folder: what programs read from it, and what the commands of `raftgossip keys` do in it.

Its layout is in `key_layout.py`. Who may do what is not known here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.authority import (
    Authority,
    key_to_pem,
    make_certificate,
    make_key,
    make_organisation,
    make_request,
    make_revocation_list,
    make_root,
    read_request,
)
from raftgossip.trust.callers import SKEW_S
from raftgossip.trust.certificates import (
    BACKDATED_S,
    DAY_S,
    MAX_DAYS,
    Certificate,
    key_digest_of,
    moment,
    read_certificate,
    read_pem_certificates,
    verify_chain,
)
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.disk import PRIVATE, blaming, locked, read_file, write_file
from raftgossip.trust.holder_files import HolderFiles
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.key_layout import KeyLayout, read_key
from raftgossip.trust.revocation import MAX_LIST_BYTES, RevocationList, Revocations, read_revocation_list
from raftgossip.trust.tokens import JoinToken, make_token, read_token

DEFAULT_DAYS = 1.0
FORGOTTEN_AFTER_S = 300.0
"""So long after its end a certificate counts as one that may still be accepted, by clocks that are behind."""


@dataclass(frozen=True, slots=True)
class ListedCertificate:
    """A certificate that a key folder knows of."""

    certificate: Certificate
    is_revoked: bool
    is_here: bool
    """Whether it is the one that its holder uses from this folder; else it was replaced, or is used elsewhere."""


class KeyFolder:
    """A key folder. What changes it holds a lock on it, so that two commands cannot undo each other's work.

    `now_s` is the wall clock everywhere, in seconds since the Unix epoch.
    """

    def __init__(self, path: Path) -> None:
        """`path`: need not exist; nothing is read or made yet."""
        self.path = path
        self._layout = KeyLayout(path)

    def exists(self) -> bool:
        """Whether there are keys: a federation's root certificate is in it."""
        return self._layout.root_path.is_file()

    @property
    def federation(self) -> str:
        """The federation whose root certificate is in it.

        Raises:
            ConfigError: there is none, or it is damaged.
        """
        return self._layout.federation()

    def credentials(self, role: Role, name: str | None = None) -> LiveCredentials:
        """A holder's credentials, which follow their files. `name` None: the only one of this role.

        Raises:
            ConfigError: there is none, or several to choose from, or a file is damaged or open to others.
        """
        files = HolderFiles(self._layout, role, self._only(role) if name is None else name)
        return LiveCredentials(files.read, files.has_changed)

    def any_of(self, roles: Sequence[Role]) -> LiveCredentials:
        """The credentials of the first of these roles that is here; of several holders, of whom they last longest.

        Raises:
            ConfigError: there is none, or a file is damaged or open to others.
        """
        for role in roles:
            found = [(self._layout.certificate(role, name).not_after_s, name) for name in self.names(role)]
            if found:
                return self.credentials(role, max(found)[1])
        raise ConfigError(f"no certificate of {' or '.join(roles)} is in {self.path}; {_HOW_TO_ISSUE}")

    def names(self, role: Role) -> list[str]:
        """The holders of this role who have a certificate here."""
        return self._layout.names(role)

    def add_revocations(self, pem: bytes) -> bool:
        """Keep an organisation's list that somebody sent; True: it is newer than the one that was here, or that one is
        damaged. Other organisations' lists are not looked at.

        Raises:
            WireError: it is no revocation list.
            Unauthenticated: no authority that the root certifies has signed it.
            ConfigError: the folder has no root certificate, or others can write it.
            StorageError: it cannot be written.
        """
        received = read_revocation_list(pem, self._layout.root())
        with locked(self.path):
            known = self._whole_list(received.organisation)
            if known is not None and received.number <= known.number:
                return False
            write_file(self._layout.list_path(received.organisation), pem)
        return True

    def init(self, federation: str, organisation: str, now_s: float) -> None:
        """Make a federation with its first organisation.

        Raises:
            ConfigError: there is one already, or a name is malformed.
            StorageError: the folder cannot be written.
        """
        self._layout.organisation_path(organisation)  # so that a bad name leaves no half of a federation
        root = make_root(federation, now_s)
        with locked(self.path):
            if self.exists():
                raise ConfigError(f"{self.path} holds a federation already; give another folder with --keys")
            write_file(self._layout.root_path.with_suffix(".key"), key_to_pem(root.key), PRIVATE)
            write_file(self._layout.root_path, root.certificate_pem)
        self.add_organisation(organisation, now_s)

    def add_organisation(self, organisation: str, now_s: float) -> None:
        """Make an organisation's authority; it takes the federation's key.

        Raises:
            ConfigError: it is there already, its name is malformed, or the federation's key is not here.
            StorageError: the folder cannot be written.
        """
        path = self._layout.organisation_path(organisation)
        with locked(self.path):
            if path.exists():
                raise ConfigError(f"the organisation {organisation} is in {self.path} already")
            made = make_organisation(self._layout.root_authority(), organisation, now_s)
            write_file(path.with_suffix(".key"), key_to_pem(made.key), PRIVATE)
            write_file(path, made.certificate_pem)

    def issue(self, organisation: str, role: Role, name: str, now_s: float, days: float = DEFAULT_DAYS) -> Certificate:
        """Make a key and a certificate for a node or person.

        Raises:
            ConfigError: the name is malformed or taken, the days are too many, or the organisation's key is not here.
            StorageError: the folder cannot be written.
        """
        files = HolderFiles(self._layout, role, name)
        with locked(self.path):
            authority = self._layout.organisation(organisation)
            if files.chain_path.exists() or files.key_path.exists():
                raise ConfigError(f"there is a {files.key_path} already; raftgossip keys renew keeps it")
            identity = Identity(self.federation, organisation, role, name)
            key = make_key()
            self._require_one_key(identity, key.public_key(), now_s)
            chain_pem = self._certify(authority, identity, key.public_key(), now_s, days)
            write_file(files.key_path, key_to_pem(key), PRIVATE)
            write_file(files.chain_path, chain_pem)
        return read_certificate(chain_pem)

    def renew(
        self, role: Role, name: str, now_s: float, days: float | None = None, new_key: bool = False
    ) -> Certificate:
        """A new certificate for a holder in this folder; `days` None: for as long as the last one. With `new_key`, a
        new key as well; a program that runs sees both change at once.

        Raises:
            ConfigError: the holder or its organisation's key is not here, the days are too many, or the certificate
                was revoked and the key is to be kept.
            StorageError: the folder cannot be written.
        """
        files = HolderFiles(self._layout, role, name)
        with locked(self.path):
            key = files.key()
            last = self._layout.certificate(role, name)
            authority = self._layout.organisation(last.identity.organisation)
            if not new_key and self._revocations_of([last]).has(last):
                raise ConfigError(f"the certificate of {role} {name} is revoked; renew it with --new-key")
            if days is None:
                days = min((last.not_after_s - last.not_before_s - BACKDATED_S) / DAY_S, MAX_DAYS)
            if new_key:
                key = make_key()
            chain_pem = self._certify(authority, last.identity, key.public_key(), now_s, days)
            if new_key:
                files.replace_both(key, chain_pem)
            else:
                write_file(files.chain_path, chain_pem)
        return read_certificate(chain_pem)

    def revoke(self, role: Role, name: str, now_s: float, organisation: str | None = None) -> list[Certificate]:
        """Revoke all certificates that a holder was given and that have not expired; returns those that were not
        revoked before. `organisation` None: the only one with such a holder. `revocation_list` is then to be published.

        Raises:
            ConfigError: nothing valid was issued to such a holder, or by several organisations, or the key is not here.
            StorageError: the folder cannot be written.
        """
        with locked(self.path):
            issued = self._issued_to(role, name, now_s, organisation)
            known = self._revocations_of(issued)
            organisations = sorted({one.identity.organisation for one in issued})
            if not organisations:
                raise ConfigError(f"nothing that is still valid was issued to {role} {name} from {self.path}")
            if len(organisations) > 1:
                raise ConfigError(f"{', '.join(organisations)} have a {role} {name} each; say which is meant")
            fresh = [one for one in issued if not known.has(one)]
            if fresh:
                self._write_list(organisations[0], [one.serial for one in fresh], now_s)
        return fresh

    def revocation_list(self, organisation: str) -> bytes:
        """An organisation's newest list, in PEM with its authority's certificate, as others take it.

        Raises:
            ConfigError: there is none.
        """
        path = self._layout.list_path(organisation)
        if not path.exists():
            raise ConfigError(f"no certificate of {organisation} was revoked from {self.path}")
        return read_file(path)

    def certificates(self, now_s: float) -> list[ListedCertificate]:
        """All holders' certificates that this folder knows of: those issued from it that have not expired, and those
        of the holders in it, which may have; by organisation, role, name and age.

        Raises:
            ConfigError: a file is damaged.
        """
        holders = [(role, name) for role in Role for name in self.names(role)]
        here = {one.serial: one for one in (self._layout.certificate(role, name) for role, name in holders)}
        known = {one.serial: one for one in self._issued("*/*", now_s)} | here
        revocations = self._revocations_of(known.values())
        return [
            ListedCertificate(one, revocations.has(one), one.serial in here)
            for one in sorted(known.values(), key=_listing_order)
        ]

    def token(self, role: Role, name: str, lifetime_s: int, now_s: float, organisation: str | None = None) -> str:
        """A join token for a holder who was given a certificate from this folder, bound to its key.

        Raises:
            ConfigError: there is no such holder, or several, the lifetime is too long, or the key of the organisation
                is not here.
        """
        issued = self._issued_to(role, name, now_s, organisation)
        known = self._revocations_of(issued)
        holders = {(one.identity, one.key_digest) for one in issued if not known.has(one)}
        if len(holders) != 1:
            raise ConfigError(
                f"{len(holders)} holders {role} {name} have a valid certificate from {self.path}; it must be one"
            )
        identity, key_digest = holders.pop()
        authority = self._layout.organisation(identity.organisation)
        return make_token(authority, identity, key_digest, secrets.token_hex(16), int(now_s), lifetime_s)

    def read_token(self, text: str, now_s: float) -> JoinToken:
        """Verify a join token against the root certificate here; no holder's certificate is needed.

        Raises:
            Unauthenticated: it is not valid; says why.
            ConfigError: the folder has no root certificate.
        """
        return read_token(text, _to_pem(self._layout.root()), now_s, SKEW_S)

    def request(self, role: Role, name: str, organisation: str) -> bytes:
        """On the machine of a node whose key is not to leave it: make the key, unless there is one, and a request to be
        certified, in PEM, for `sign`.

        Raises:
            ConfigError: a name is malformed.
            StorageError: the folder cannot be written.
        """
        Identity("unknown", organisation, role, name)  # for its checks; the federation is the authority's to say
        files = HolderFiles(self._layout, role, name)
        with locked(self.path):
            if not files.key_path.exists():
                write_file(files.key_path, key_to_pem(make_key()), PRIVATE)
            pem = make_request(read_key(files.key_path), organisation, role, name)
            write_file(files.request_path, pem)
        return pem

    def sign(self, request_pem: bytes, organisation: str, now_s: float, days: float = DEFAULT_DAYS) -> bytes:
        """Where the organisation is administered: grant a request as it is; `authority.read_request` shows what it asks
        for. Returns the certificate, its authority's and the root's, in PEM, for `accept`.

        Raises:
            Unauthenticated: it is no request.
            ConfigError: it asks another organisation, or for the name of somebody with another key, or the key of the
                organisation is not here.
            StorageError: the folder cannot be written.
        """
        asked = read_request(request_pem)
        if asked.organisation != organisation:
            raise ConfigError(f"the request asks for an organisation {asked.organisation[:63]!r}, not {organisation}")
        with locked(self.path):
            authority = self._layout.organisation(organisation)
            identity = Identity(self.federation, organisation, asked.role, asked.name)
            self._require_one_key(identity, asked.key, now_s)
            chain_pem = self._certify(authority, identity, asked.key, now_s, days)
        return chain_pem + read_file(self._layout.root_path)

    def accept(self, chain_pem: bytes) -> Certificate:
        """On the node's machine: keep what `sign` returned. Where there is no root certificate yet, the one in it is
        kept: whoever hands it over is believed who the federation is. Else it must be the same.

        Raises:
            Unauthenticated: it is no such chain, or of another federation than the one here.
            ConfigError: it is not for a key in this folder.
            StorageError: the folder cannot be written.
        """
        *chain, root = read_pem_certificates(chain_pem)
        accepted = verify_chain(chain, root)
        files = HolderFiles(self._layout, accepted.identity.role, accepted.identity.name)
        with locked(self.path):
            if self.exists() and self._layout.root() != root:
                raise Unauthenticated(f"it is of another federation than {self.federation}, whose root is here")
            if key_digest_of(read_key(files.key_path).public_key()) != accepted.key_digest:
                raise ConfigError(f"it was made for another key than the one in {files.key_path}")
            write_file(files.chain_path, _to_pem(*chain))
            if not self.exists():
                write_file(self._layout.root_path, _to_pem(root))
            files.request_path.unlink(missing_ok=True)
        return accepted

    def _only(self, role: Role) -> str:
        names = self.names(role)
        if not names:
            raise ConfigError(f"no certificate of a {role} is in {self.path}; {_HOW_TO_ISSUE}")
        if len(names) > 1:
            raise ConfigError(f"{self.path} holds several certificates of a {role}: {', '.join(names)}; say which")
        return names[0]

    def _revocations_of(self, certificates: Iterable[Certificate]) -> Revocations:
        """What these certificates' organisations have revoked; a damaged list of another one is not in the way."""
        known = Revocations()
        for organisation in sorted({one.identity.organisation for one in certificates}):
            found = self._layout.revocation_list(organisation)
            known = known if found is None else known.with_list(found)
        return known

    def _whole_list(self, organisation: str) -> RevocationList | None:
        """An organisation's list; None: there is none, or it is damaged, so that any verified one is better."""
        try:
            return self._layout.revocation_list(organisation)
        except ConfigError:
            return None

    def _issued(self, pattern: str, now_s: float) -> list[Certificate]:
        """What the authorities here have certified and has not expired, in files whose names fit."""
        found = []
        for path in sorted((self.path / "issued").glob(f"{pattern}.pem")):
            with blaming(path):
                certificate = read_certificate(read_file(path))
            if now_s < certificate.not_after_s + FORGOTTEN_AFTER_S:
                found.append(certificate)
        return found

    def _issued_to(self, role: Role, name: str, now_s: float, organisation: str | None) -> list[Certificate]:
        folder = "*" if organisation is None else self._layout.issued_folder(organisation).name
        issued = self._issued(f"{folder}/{self._layout.stem(role, name).name}-*", now_s)
        return [one for one in issued if (one.identity.role, one.identity.name) == (role, name)]

    def _require_one_key(self, identity: Identity, key: ec.EllipticCurvePublicKey, now_s: float) -> None:
        """Two keys with one name would be two nodes that everybody takes for one."""
        issued = self._issued_to(identity.role, identity.name, now_s, identity.organisation)
        known = self._revocations_of(issued)
        for one in issued:
            if one.key_digest != key_digest_of(key) and not known.has(one):
                raise ConfigError(
                    f"{identity.uri} has a certificate for another key until {moment(one.not_after_s)}; "
                    "revoke it first with raftgossip keys revoke"
                )

    def _certify(
        self, authority: Authority, identity: Identity, key: ec.EllipticCurvePublicKey, now_s: float, days: float
    ) -> bytes:
        """Make a certificate, remember that it was issued, and return it with its authority's, in PEM."""
        made = make_certificate(authority, identity, key, now_s, days * DAY_S)
        folder = self._layout.issued_folder(identity.organisation)
        stem = self._layout.stem(identity.role, identity.name).name
        write_file(folder / f"{stem}-{made.serial_number:x}.pem", _to_pem(made))
        self._forget_expired(folder, stem, now_s)
        return _to_pem(made, authority.certificate)

    def _forget_expired(self, folder: Path, stem: str, now_s: float) -> None:
        for path in folder.glob(f"{stem}-*.pem"):
            with blaming(path):
                if read_certificate(read_file(path)).not_after_s + FORGOTTEN_AFTER_S <= now_s:
                    path.unlink(missing_ok=True)

    def _write_list(self, organisation: str, serials: Sequence[int], now_s: float) -> None:
        """Add to an organisation's list. What was revoked longer ago than any certificate lives is dropped."""
        last = self._layout.revocation_list(organisation)
        oldest_s = now_s - MAX_DAYS * DAY_S - FORGOTTEN_AFTER_S
        before = {} if last is None else last.since_s
        revoked = dict.fromkeys(serials, now_s) | {serial: s for serial, s in before.items() if s > oldest_s}
        number = 1 if last is None else last.number + 1
        pem = make_revocation_list(self._layout.organisation(organisation), number, revoked.items(), now_s)
        if len(pem) > MAX_LIST_BYTES:
            raise ConfigError(f"a list of {len(revoked)} revoked certificates is too long for others to read")
        write_file(self._layout.list_path(organisation), pem)


_HOW_TO_ISSUE = "make one with raftgossip keys issue"


def _to_pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _listing_order(certificate: Certificate) -> tuple[str, str, int, str, float, int]:
    identity = certificate.identity
    # Node ids by their numbers: 2 before 10.
    number = identity.node_id or 0
    return identity.organisation, identity.role, number, identity.name, certificate.not_before_s, certificate.serial
