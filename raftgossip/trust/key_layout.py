"""Where each file of a key folder lies, and what in it everybody reads: the root, the authorities, the lists.

```
federation.pem  .key              the root; its key only where the federation is administered
organisations/ORG.pem  .key       an organisation's authority; its key only where the organisation is administered
issued/ORG/ROLE-NAME-SERIAL.pem   what that authority has certified and has not expired
nodes/ROLE-NAME.pem  .key  .csr   a holder's certificate with its authority's, its key, and a request that is pending
revoked/ORG.crl                   the newest revocation list with its authority's certificate
```

The folders are for their owner alone (0700), and so are private keys (0600); what others can write is refused. Names in
paths are labels that `identity.py` has checked, so no path leads out of the folder; a list under another name is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from raftgossip.errors import ConfigError, Unauthenticated, WireError
from raftgossip.trust.authority import Authority, PrivateKey, key_from_pem
from raftgossip.trust.certificates import (
    Certificate,
    federation_of,
    read_certificate,
    read_pem_certificates,
)
from raftgossip.trust.disk import blaming, read_file, read_private
from raftgossip.trust.identity import Identity, Role, check_organisation
from raftgossip.trust.revocation import RevocationList, Revocations, read_revocation_list


@dataclass(frozen=True, slots=True)
class KeyLayout:
    """A key folder, as far as it can only be read. All that raises `ConfigError` names the file that is at fault."""

    path: Path

    @property
    def root_path(self) -> Path:
        """The federation's root certificate."""
        return self.path / "federation.pem"

    def organisation_path(self, organisation: str) -> Path:
        """The certificate of an organisation's authority."""
        return self.path / "organisations" / f"{check_organisation(organisation)}.pem"

    def issued_folder(self, organisation: str) -> Path:
        """What an organisation's authority has certified."""
        return self.path / "issued" / check_organisation(organisation)

    def list_path(self, organisation: str) -> Path:
        """The newest revocation list of an organisation."""
        return self.path / "revoked" / f"{check_organisation(organisation)}.crl"

    def stem(self, role: Role, name: str) -> Path:
        """A holder's files, but for what follows the dot."""
        return self.path / "nodes" / f"{role}-{Identity('unknown', 'unknown', role, name).name}"

    def names(self, role: Role) -> list[str]:
        """The holders of this role who have a certificate here."""
        return sorted(path.stem.removeprefix(f"{role}-") for path in (self.path / "nodes").glob(f"{role}-*.pem"))

    def list_paths(self) -> list[Path]:
        """The revocation lists that are here."""
        return sorted(path for path in (self.path / "revoked").glob("*.crl") if _is_organisation(path.stem))

    def root(self) -> x509.Certificate:
        """The federation's root certificate.

        Raises:
            ConfigError: there is none, or it is damaged.
        """
        with blaming(self.root_path):
            return read_pem_certificates(read_file(self.root_path))[0]

    def federation(self) -> str:
        """The federation whose root certificate is here.

        Raises:
            ConfigError: there is none, or it is damaged.
        """
        with blaming(self.root_path):
            return federation_of(self.root())

    def root_authority(self) -> Authority:
        """The root with its key.

        Raises:
            ConfigError: its key is not here; a file is damaged, or open to others.
        """
        return _authority(self.root_path, "the federation")

    def organisation(self, organisation: str) -> Authority:
        """An organisation's authority with its key.

        Raises:
            ConfigError: its key is not here; a file is damaged, or open to others.
        """
        return _authority(self.organisation_path(organisation), f"the organisation {organisation}")

    def certificate(self, role: Role, name: str) -> Certificate:
        """A holder's certificate.

        Raises:
            ConfigError: there is none, or it is damaged.
        """
        path = self.stem(role, name).with_suffix(".pem")
        with blaming(path):
            return read_certificate(read_file(path))

    def revocation_list(self, organisation: str) -> RevocationList | None:
        """An organisation's newest list; None: there is none.

        Raises:
            ConfigError: it is damaged.
        """
        path = self.list_path(organisation)
        return _read_list(path, self.root()) if path.exists() else None

    def revocations(self, known: Revocations) -> tuple[Revocations, str]:
        """Those that are known, and those here with higher numbers. Each list is read alone: of one that is damaged or
        was put back counts what is known. What is wrong with such lists comes along, in words; empty: nothing.

        Raises:
            ConfigError: the root certificate is missing or damaged.
        """
        root, troubles = self.root(), []
        for path in self.list_paths():
            try:
                found = _read_list(path, root)
            except ConfigError as error:
                troubles.append(str(error))
                continue
            in_force = known.numbers.get(found.organisation, found.number)
            if found.number < in_force:
                troubles.append(f"{path}: it is the list number {found.number}, older than {in_force}; {_REMEDY}")
            known = known.with_list(found)
        return known, "; ".join(troubles)


_REMEDY = (
    "replace it by the newest one of its organisation, or by another machine's copy "
    "(without any, what it revokes would count again)"
)


def read_key(path: Path) -> PrivateKey:
    """A private key.

    Raises:
        ConfigError: it is missing, none of ours, or others than its owner can read it.
    """
    pem = read_private(path)
    try:
        return key_from_pem(pem)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_list(path: Path, root: x509.Certificate) -> RevocationList:
    """Raises: ConfigError: it cannot be read, is damaged, or is another organisation's."""
    data = read_file(path)
    try:
        found = read_revocation_list(data, root)
    except (Unauthenticated, WireError) as error:
        raise ConfigError(f"{path}: {error}; {_REMEDY}") from None
    if found.organisation != path.stem:
        raise ConfigError(f"{path}: it is the list of {found.organisation}; {_REMEDY}")
    return found


def _is_organisation(text: str) -> bool:
    try:
        check_organisation(text)
    except ConfigError:
        return False
    return True


def _authority(path: Path, whose: str) -> Authority:
    key_path = path.with_suffix(".key")
    if not key_path.exists():
        raise ConfigError(f"there is no {key_path}; this takes the key of {whose}, which its administrator keeps")
    with blaming(path):
        return Authority(read_pem_certificates(read_file(path))[0], read_key(key_path))
