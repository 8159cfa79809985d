"""What a running program shows and trusts: its key, its certificate, the federation's root, and who is revoked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.certificates import Certificate
from raftgossip.trust.identity import Identity
from raftgossip.trust.revocation import Revocations


@dataclass(frozen=True, slots=True)
class Credentials:
    """One reading of the files."""

    certificate: Certificate
    key_pem: bytes = field(repr=False)
    chain_pem: bytes
    """The certificate, then the one of its organisation's authority."""
    root_pem: bytes
    key_path: Path
    chain_path: Path
    root_path: Path
    revocations: Revocations
    trouble: str = field(default="", compare=False)
    """What is wrong with files, of which an earlier reading is therefore in here; empty: nothing."""

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self.certificate.identity

    @property
    def not_after_s(self) -> float:
        """When the certificate expires, seconds since the Unix epoch."""
        return self.certificate.not_after_s

    def require_valid(self, wall_seconds: float) -> None:
        """Refuse to start with what everybody else would refuse.

        Raises:
            ConfigError: the certificate has expired, is not valid yet, or is revoked.
        """
        try:
            self.certificate.check(self.identity.federation, wall_seconds, 0.0)
            self.revocations.check(self.certificate)
        except Unauthenticated as error:
            raise ConfigError(f"{self.chain_path}: {error}") from None


class LiveCredentials:
    """Credentials that follow their files: a renewed certificate and a new revocation list count without a restart.

    Thread-safe. A file that cannot be read now leaves what was read of it before in force, and is in no other file's
    way: a damaged revocation list keeps back no certificate, and a damaged certificate no list. At the start, where
    nothing was read before, each is refused.
    """

    def __init__(self, read: Callable[[], Credentials], has_changed: Callable[[], bool]) -> None:
        """`read` may raise `ConfigError`, here and at once; `has_changed` tells cheaply whether reading again pays."""
        self._read = read
        self._has_changed = has_changed
        self._lock = threading.Lock()
        self._current = read()
        if self._current.trouble:
            raise ConfigError(self._current.trouble)
        self.generation = 1
        """Counts the readings that differ; who has built something from an earlier one builds it anew."""

    def current(self) -> Credentials:
        """The newest reading."""
        return self._current

    def refresh(self) -> bool:
        """Read again what has changed; True: there is a new generation. Called every few seconds, by one thread.

        Raises:
            ConfigError: a file is wrong, for as long as it is; names it. What was read of it before stays in force, all
                others count as they are now, and `generation` tells whether they are new.
        """
        with self._lock:
            before = self._current
            if self._has_changed():
                self._current = self._read()
            is_new = self._current != before
            self.generation += is_new
            trouble = self._current.trouble
        if trouble:
            raise ConfigError(f"{trouble}; until then what it said before counts, and all other files as they are now")
        return is_new
