"""Revocation lists: who may make one, which one counts, and what is refused."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import Unauthenticated, WireError
from raftgossip.trust.authority import (
    make_certificate,
    make_key,
    make_organisation,
    make_revocation_list,
    make_root,
)
from raftgossip.trust.certificates import DAY_S, certificate_of
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.revocation import MAX_LIST_BYTES, RevocationList, Revocations, read_revocation_list
from tests.support.keys import FEDERATION, ORGANISATION

NOW_S = 1_800_000_000.0
ROOT = make_root(FEDERATION, NOW_S)
CLINIC = make_organisation(ROOT, ORGANISATION, NOW_S)
LAB = make_organisation(ROOT, "lab", NOW_S)
STRANGER = make_organisation(make_root(FEDERATION, NOW_S), ORGANISATION, NOW_S)
NODE = certificate_of(
    make_certificate(CLINIC, Identity(FEDERATION, ORGANISATION, Role.PEER, "1"), make_key().public_key(), NOW_S, DAY_S)
)
LIST_PEM = make_revocation_list(CLINIC, 7, [(NODE.serial, NOW_S), (5, NOW_S - 10)], NOW_S)


def revoking(number: int, *serials: int, organisation: str = ORGANISATION) -> RevocationList:
    return RevocationList(organisation, number, dict.fromkeys(serials, NOW_S))


def test_a_list_says_whose_it_is_its_number_and_what_is_revoked_since_when() -> None:
    found = read_revocation_list(LIST_PEM, ROOT.certificate)
    assert (found.organisation, found.number) == (ORGANISATION, 7)
    assert dict(found.since_s) == {NODE.serial: NOW_S, 5: NOW_S - 10}


def test_a_list_may_be_empty() -> None:
    assert not read_revocation_list(make_revocation_list(CLINIC, 1, [], NOW_S), ROOT.certificate).since_s


def test_the_list_of_an_authority_that_has_expired_is_still_made() -> None:
    late_s = CLINIC.certificate.not_valid_after_utc.timestamp() + DAY_S
    assert read_revocation_list(make_revocation_list(CLINIC, 1, [(5, late_s)], late_s), ROOT.certificate).number == 1


def test_a_revoked_certificate_is_refused_and_others_are_not() -> None:
    with pytest.raises(Unauthenticated, match=f"{NODE.serial:x} of spiffe://hearts.example/clinic/1 is revoked"):
        Revocations().with_list(revoking(1, NODE.serial)).check(NODE)
    Revocations().with_list(revoking(1, NODE.serial + 1)).check(NODE)


def test_an_organisation_revokes_only_its_own_certificates() -> None:
    Revocations().with_list(revoking(1, NODE.serial, organisation="lab")).check(NODE)


@given(st.lists(st.tuples(st.sampled_from([ORGANISATION, "lab"]), st.integers(0, 5), st.sets(st.integers(1, 9)))))
def test_of_each_organisation_the_first_list_with_the_highest_number_counts(
    received: list[tuple[str, int, set[int]]],
) -> None:
    known = Revocations()
    for organisation, number, serials in received:
        known = known.with_list(revoking(number, *serials, organisation=organisation))
    for organisation in {ORGANISATION, "lab"}:
        own = [(number, serials) for each, number, serials in received if each == organisation]
        highest = max((number for number, _ in own), default=None)
        assert known.numbers.get(organisation) == highest
        expected = next((serials for number, serials in own if number == highest), None)
        assert known.serials.get(organisation) == expected


def body_by(authority_name: x509.Name, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    """A list that CLINIC's key has signed, with these extensions, as of that issuer."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority_name)
    first = x509.load_pem_x509_crl(LIST_PEM)
    assert first.next_update_utc is not None
    builder = builder.last_update(first.last_update_utc).next_update(first.next_update_utc)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(CLINIC.key, hashes.SHA256()).public_bytes(Encoding.PEM)


LIST_ALONE = LIST_PEM.removesuffix(CLINIC.certificate_pem)
CLINIC_NAME = CLINIC.certificate.subject
NUMBER = (x509.CRLNumber(8), False)
MALFORMED_LISTS = {
    "nothing": b"",
    "no list": CLINIC.certificate_pem,
    "without its authority": LIST_ALONE,
    "with two authorities": LIST_PEM + LAB.certificate_pem,
    "cut off": LIST_PEM[:200],
    "without a number": body_by(CLINIC_NAME) + CLINIC.certificate_pem,
    "a change to another list": body_by(CLINIC_NAME, NUMBER, (x509.DeltaCRLIndicator(7), True))
    + CLINIC.certificate_pem,
    "too long": LIST_PEM + b" " * MAX_LIST_BYTES,
}
FORGED_LISTS = {
    "with another authority": LIST_ALONE + LAB.certificate_pem,
    "with the root": LIST_ALONE + ROOT.certificate_pem,
    "of another federation": make_revocation_list(STRANGER, 9, [(5, NOW_S)], NOW_S),
    "signed by a namesake": make_revocation_list(STRANGER, 9, [], NOW_S).removesuffix(STRANGER.certificate_pem)
    + CLINIC.certificate_pem,
    "by the root itself": make_revocation_list(ROOT, 9, [(5, NOW_S)], NOW_S),
    "as another issuer": body_by(LAB.certificate.subject, NUMBER) + CLINIC.certificate_pem,
}


@pytest.mark.parametrize("what", FORGED_LISTS)
def test_a_list_that_no_authority_of_the_federation_has_signed_is_refused(what: str) -> None:
    with pytest.raises(Unauthenticated):
        read_revocation_list(FORGED_LISTS[what], ROOT.certificate)


@pytest.mark.parametrize("what", MALFORMED_LISTS)
def test_what_is_no_whole_list_is_malformed_whoever_sends_it(what: str) -> None:
    with pytest.raises(WireError):
        read_revocation_list(MALFORMED_LISTS[what], ROOT.certificate)


def test_the_list_that_the_bad_ones_are_made_from_is_good() -> None:
    assert read_revocation_list(body_by(CLINIC_NAME, NUMBER) + CLINIC.certificate_pem, ROOT.certificate).number == 8


def test_too_long_a_list_is_not_looked_at() -> None:
    with pytest.raises(WireError, match=str(MAX_LIST_BYTES)):
        read_revocation_list(LIST_PEM + b" " * MAX_LIST_BYTES, ROOT.certificate)


@given(st.integers(0, len(LIST_ALONE) - 1), st.binary(min_size=1, max_size=3))
def test_junk_in_a_list_is_refused_or_changes_nothing(index: int, junk: bytes) -> None:
    pem = LIST_PEM[:index] + junk + LIST_PEM[index + len(junk) :]
    try:
        found = read_revocation_list(pem, ROOT.certificate)
    except (Unauthenticated, WireError):
        return
    assert found == read_revocation_list(LIST_PEM, ROOT.certificate)
