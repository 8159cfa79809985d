"""The files of one holder of a certificate: read together, so that the key always fits the certificate, and renewed so.

Two files cannot be replaced at once. A new key is therefore written beside the old one first; the certificate, replaced
in one step, says which of the two counts; then the new key takes the old one's name. A reader tries both, and a renewal
that was cut off anywhere leaves a pair that fits.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.authority import PrivateKey, key_to_pem
from raftgossip.trust.certificates import key_digest_of, read_certificate, read_pem_certificates, verify_chain
from raftgossip.trust.credentials import Credentials
from raftgossip.trust.disk import PRIVATE, blaming, read_file, rename_file, stamp_of, write_file
from raftgossip.trust.identity import Role
from raftgossip.trust.key_layout import KeyLayout, read_key
from raftgossip.trust.revocation import Revocations

PAIR_READS = 10
"""A reader that meets a renewal between two of its steps reads again; so many times in a row is no coincidence."""


class HolderFiles:
    """One holder's files, and what was read of them last."""

    def __init__(self, layout: KeyLayout, role: Role, name: str) -> None:
        """`layout`: of the folder that they are in; nothing is read yet.

        Raises:
            ConfigError: the name is malformed.
        """
        stem = layout.stem(role, name)
        self._layout = layout
        self._name = stem.name
        self.chain_path = stem.with_suffix(".pem")
        self.key_path = stem.with_suffix(".key")
        self.request_path = stem.with_suffix(".csr")
        self._next_key_path = stem.with_suffix(".key.next")
        self._stamp: tuple[tuple[str, int, int, int], ...] = ()
        self._revocations = Revocations()
        self._last: Credentials | None = None

    def read(self) -> Credentials:
        """All that a program shows and trusts. What was read earlier counts on where it cannot be read any more: each
        list by itself, and the certificate with its key. That it cannot is told in `trouble`.

        Raises:
            ConfigError: the root certificate cannot be read; or, when nothing was read before, another file is missing,
                damaged, open to others, or does not fit the others.
        """
        stamp = self._look()  # first, so that what changes from now on is read again
        self._revocations, trouble = self._layout.revocations(self._revocations)
        try:
            own = self._own()
        except ConfigError as error:
            if self._last is None:
                raise
            own = self._last
            trouble = "; ".join(filter(None, (str(error), trouble)))
        self._stamp = () if trouble else stamp  # what is wrong is read again until it is right
        self._last = replace(own, revocations=self._revocations, trouble=trouble)
        return self._last

    def has_changed(self) -> bool:
        """Whether any file has changed since it was read, or was wrong then; a few system calls."""
        return self._look() != self._stamp

    def key(self) -> PrivateKey:
        """The key that counts, under its own name from now on. Hold the folder's lock.

        Raises:
            ConfigError: a file is missing, damaged or open to others, or the key is not the certificate's.
            StorageError: the disk failed.
        """
        _, key, path = self._pair()
        self._settle(path)
        return key

    def replace_both(self, key: PrivateKey, chain_pem: bytes) -> None:
        """A new key with its certificate. Hold the folder's lock.

        Raises:
            StorageError: the disk failed; the old pair or the new one counts.
        """
        write_file(self._next_key_path, key_to_pem(key), PRIVATE)
        write_file(self.chain_path, chain_pem)
        self._settle(self._next_key_path)

    def _own(self) -> Credentials:
        """What is shown, and the root that vouches for it, without lists."""
        root_pem = read_file(self._layout.root_path)
        chain_pem, key, key_path = self._pair()
        with blaming(self.chain_path):
            certificate = verify_chain(read_pem_certificates(chain_pem), self._layout.root())
            if f"{certificate.identity.role}-{certificate.identity.name}" != self._name:
                raise Unauthenticated(f"it is that of {certificate.identity.role} {certificate.identity.name}")
        return Credentials(
            certificate=certificate,
            key_pem=key_to_pem(key),
            chain_pem=chain_pem,
            root_pem=root_pem,
            key_path=key_path,
            chain_path=self.chain_path,
            root_path=self._layout.root_path,
            revocations=Revocations(),
        )

    def _pair(self) -> tuple[bytes, PrivateKey, Path]:
        """The chain, the key that fits it, and where that key lies."""
        if not self.chain_path.exists():
            raise ConfigError(f"there is no {self.chain_path}; make one with raftgossip keys issue")
        for _ in range(PAIR_READS):
            chain_pem = read_file(self.chain_path)
            with blaming(self.chain_path):
                certificate = read_certificate(chain_pem)
            for path in (self.key_path, self._next_key_path):
                if path == self._next_key_path and not path.exists():
                    continue
                key = read_key(path)
                if key_digest_of(key.public_key()) == certificate.key_digest:
                    return chain_pem, key, path
        raise ConfigError(f"{self.chain_path} certifies another key than the one in {self.key_path}")

    def _settle(self, path: Path) -> None:
        """Give the key that counts its name; what a renewal that was cut off left behind goes."""
        if path == self._next_key_path:
            rename_file(path, self.key_path)
        else:
            self._next_key_path.unlink(missing_ok=True)

    def _look(self) -> tuple[tuple[str, int, int, int], ...]:
        holders = [self._layout.root_path, self.chain_path, self.key_path, self._next_key_path]
        return stamp_of([*holders, *self._layout.list_paths()])
