"""Which certificates do not count any more, though they have not expired: X.509 lists, one per organisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from cryptography import x509

from raftgossip.errors import Unauthenticated, WireError
from raftgossip.trust.certificates import UNREADABLE, Certificate, organisation_of, p256_key_of

MAX_LIST_BYTES = 512 << 10
"""Of a list in PEM, about 9,000 certificates; it travels in one message. What has expired is dropped from it."""


@dataclass(frozen=True, slots=True)
class RevocationList:
    """An organisation's list, verified up to the federation's root."""

    organisation: str
    number: int
    """Grows with every list that the organisation makes; the highest counts."""
    since_s: Mapping[int, float]
    """Serial -> when it was revoked, seconds since the Unix epoch."""


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
        if self.has(certificate):
            raise Unauthenticated(
                f"the certificate {certificate.serial:x} of {certificate.identity.uri} is revoked; "
                "ask its organisation for a new one"
            )

    def has(self, certificate: Certificate) -> bool:
        """Whether it is revoked."""
        return certificate.serial in self.serials.get(certificate.identity.organisation, ())

    def with_list(self, newest: RevocationList) -> Revocations:
        """These and that list, if its number is higher than that of the one that is known; else these as they are."""
        organisation = newest.organisation
        if newest.number <= self.numbers.get(organisation, -1):
            return self
        return Revocations(
            MappingProxyType({**self.numbers, organisation: newest.number}),
            MappingProxyType({**self.serials, organisation: frozenset(newest.since_s)}),
        )


def read_revocation_list(pem: bytes, root: x509.Certificate) -> RevocationList:
    """Verify a list: signed by the authority whose certificate is behind it, which the root certifies.

    Raises:
        WireError: it is malformed, too long, or no whole list with a number.
        Unauthenticated: another has signed it, or that authority is not the root's.
    """
    if len(pem) > MAX_LIST_BYTES:
        raise WireError(f"a revocation list of {len(pem)} bytes; at most {MAX_LIST_BYTES} are read")
    try:
        found = x509.load_pem_x509_crl(pem)
        authorities = x509.load_pem_x509_certificates(pem)
        if len(authorities) != 1:
            raise ValueError
        organisation = organisation_of(authorities[0], root)
        if found.issuer != authorities[0].subject or not found.is_signature_valid(p256_key_of(authorities[0])):
            raise Unauthenticated("a revocation list that the authority whose certificate is behind it has not signed")
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        # What else may stand there (a delta, a part of the reasons) would make it less than the whole list.
        if any(extension.critical for extension in found.extensions):
            raise ValueError
        since_s = {entry.serial_number: entry.revocation_date_utc.timestamp() for entry in found}
    except UNREADABLE:
        raise WireError("it is no whole revocation list with its authority's certificate behind it") from None
    return RevocationList(organisation, number, MappingProxyType(since_s))
