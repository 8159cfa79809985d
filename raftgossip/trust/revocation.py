"""Which certificates do not count any more, though they have not expired: X.509 lists, one per organisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from raftgossip.errors import Unauthenticated
from raftgossip.trust.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Revocations:
    """The newest list of each organisation: its number and the serials in it."""

    numbers: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    serials: Mapping[str, frozenset[int]] = field(default_factory=lambda: MappingProxyType({}))

    def check(self, certificate: Certificate) -> None:
        """Refuse a revoked certificate.

        Raises:
            Unauthenticated: names the certificate.
        """
        if certificate.serial in self.serials.get(certificate.identity.organisation, ()):
            raise Unauthenticated(
                f"the certificate {certificate.serial:x} of {certificate.identity.uri} is revoked; ask its organisation for a new one"
            )
