"""What certificates say, and every reason for which one is refused."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.authority import (
    Authority,
    key_from_pem,
    key_to_pem,
    make_certificate,
    make_key,
    make_organisation,
    make_request,
    make_root,
    read_request,
)
from raftgossip.trust.certificates import (
    BACKDATED_S,
    DAY_S,
    MAX_PEM_BYTES,
    Certificate,
    federation_of,
    key_digest_of,
    moment,
    organisation_of,
    read_certificate,
    read_pem_certificates,
    verify_chain,
)
from raftgossip.trust.identity import Identity, Role
from tests.support.keys import FEDERATION, ORGANISATION, Forgery, to_pem

NOW_S = 1_800_000_000.0
SKEW_S = 60.0
ROOT = make_root(FEDERATION, NOW_S)
CLINIC = make_organisation(ROOT, ORGANISATION, NOW_S)
LAB = make_organisation(ROOT, "lab", NOW_S)
KEY = make_key()
NODE = Identity(FEDERATION, ORGANISATION, Role.PEER, "1")


def certificate_for(identity: Identity, authority: Authority = CLINIC) -> x509.Certificate:
    return make_certificate(authority, identity, KEY.public_key(), NOW_S, DAY_S)


def read(forgery: Forgery, authority: Authority = CLINIC) -> Certificate:
    return read_certificate(to_pem(forgery.signed_by(authority, KEY)))


@pytest.mark.parametrize("role", Role)
def test_what_was_certified_is_read_again(role: Role) -> None:
    identity = Identity(FEDERATION, ORGANISATION, role, "7")
    found = read_certificate(to_pem(certificate_for(identity), CLINIC.certificate))
    assert found.identity == identity
    assert found.key_digest == key_digest_of(KEY.public_key())
    assert (found.not_before_s, found.not_after_s) == (NOW_S - BACKDATED_S, NOW_S + DAY_S)


def test_the_forgery_that_the_other_tests_change_is_a_good_certificate() -> None:
    assert read(Forgery()).identity == NODE


@pytest.mark.parametrize(
    ("forgery", "reason"),
    [
        (Forgery(unit="voter"), "role 'voter'"),
        (Forgery(unit="PEER"), "role 'PEER'"),
        (Forgery(unit=None), "lacks a part"),
        (Forgery(uris=()), "0 URIs"),
        (Forgery(uris=(NODE.uri, f"spiffe://{FEDERATION}/{ORGANISATION}/2")), "2 URIs"),
        (Forgery(uris=("https://hearts.example/clinic/1",)), "names nobody"),
        (Forgery(uris=(f"spiffe://{FEDERATION}/{ORGANISATION}/2",)), "names others"),
        (Forgery(uris=(f"spiffe://{FEDERATION}/lab/1",), organisation="lab"), "names others"),
        (Forgery(name="2"), "names others"),
        (Forgery(organisation="lab"), "names others"),
        (Forgery(dns_names=()), "names others"),
        (Forgery(dns_names=(*Forgery().dns_names, f"gateway.{FEDERATION}")), "names others"),
        (Forgery(dns_names=(Forgery().dns_names[0], f"gateway.{FEDERATION}")), "names others"),
        (Forgery(unit="gateway"), "names others"),
        (Forgery(uris=(), dns_names=()), "lacks a part"),
        (Forgery(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "not for clients and servers"),
        (Forgery(usages=(ExtendedKeyUsageOID.SERVER_AUTH,)), "not for clients and servers"),
        (Forgery(usages=(ExtendedKeyUsageOID.CODE_SIGNING,)), "not for clients and servers"),
        (Forgery(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), "not for clients and servers"),
        (Forgery(usages=None), "lacks a part"),
        (Forgery(other_names=(x509.IPAddress(ip_address("10.0.0.1")),)), "names others"),
        (Forgery(is_authority=True), "that of an authority"),
        (Forgery(may_sign=True), "that of an authority"),
        (Forgery(ends_s=91 * DAY_S), "more than 90 days"),
    ],
)
def test_a_certificate_that_is_not_exactly_one_of_ours_is_refused(forgery: Forgery, reason: str) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        read(forgery)


def test_an_organisation_cannot_certify_for_another() -> None:
    with pytest.raises(Unauthenticated, match="by another authority than that of its organisation clinic"):
        read(Forgery(), LAB)


def test_the_root_does_not_certify_holders() -> None:
    with pytest.raises(Unauthenticated):
        read(Forgery(), ROOT)


def test_a_certificate_that_signs_itself_is_refused() -> None:
    own = make_certificate(CLINIC, NODE, KEY.public_key(), NOW_S, DAY_S)
    forged = Authority(own, KEY)
    with pytest.raises(Unauthenticated):
        verify_chain([Forgery().signed_by(forged, KEY), own], ROOT.certificate)


@pytest.mark.parametrize(
    ("federation", "at_s", "reason"),
    [
        ("lungs.example", NOW_S, "not one of the federation lungs.example"),
        (FEDERATION, NOW_S + DAY_S + SKEW_S + 1, "expired at 2027-01-16 08:00:00 UTC.*keys renew"),
        (FEDERATION, NOW_S - BACKDATED_S - SKEW_S - 1, "not valid before 2027-01-15 07:59:00 UTC.*clocks"),
    ],
)
def test_a_certificate_of_another_federation_or_time_is_refused(federation: str, at_s: float, reason: str) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        read_certificate(to_pem(certificate_for(NODE))).check(federation, at_s, SKEW_S)


@pytest.mark.parametrize("at_s", [NOW_S - BACKDATED_S - SKEW_S, NOW_S, NOW_S + DAY_S + SKEW_S])
def test_a_certificate_counts_to_the_ends_of_its_time_and_the_clocks_skew(at_s: float) -> None:
    read_certificate(to_pem(certificate_for(NODE))).check(FEDERATION, at_s, SKEW_S)


def test_a_chain_is_followed_up_to_the_root() -> None:
    assert verify_chain([certificate_for(NODE), CLINIC.certificate], ROOT.certificate).identity == NODE


OTHER_ROOT = make_root(FEDERATION, NOW_S)
LUNGS_ROOT = make_root("lungs.example", NOW_S)
BROKEN_CHAINS: dict[str, Callable[[], tuple[list[x509.Certificate], Authority]]] = {
    "no authority": lambda: ([certificate_for(NODE)], ROOT),
    "too many": lambda: ([certificate_for(NODE), CLINIC.certificate, ROOT.certificate], ROOT),
    "another root of the same name": lambda: ([certificate_for(NODE), CLINIC.certificate], OTHER_ROOT),
    "another authority of the same name": lambda: (
        [certificate_for(NODE, make_organisation(ROOT, ORGANISATION, NOW_S)), CLINIC.certificate],
        ROOT,
    ),
    "the root for an authority": lambda: ([certificate_for(NODE, ROOT), ROOT.certificate], ROOT),
    "a holder for an authority": lambda: ([certificate_for(NODE), certificate_for(NODE)], ROOT),
    "a name in another federation": lambda: (
        [
            certificate_for(NODE, lungs := make_organisation(LUNGS_ROOT, ORGANISATION, NOW_S)),
            lungs.certificate,
        ],
        LUNGS_ROOT,
    ),
}


@pytest.mark.parametrize("what", BROKEN_CHAINS)
def test_a_chain_with_a_broken_link_is_refused(what: str) -> None:
    chain, root = BROKEN_CHAINS[what]()
    with pytest.raises(Unauthenticated):
        verify_chain(chain, root.certificate)


def test_root_and_authority_say_whose_they_are() -> None:
    assert federation_of(ROOT.certificate) == FEDERATION
    assert organisation_of(LAB.certificate, ROOT.certificate) == "lab"


BELOW = Forgery(name=FEDERATION, is_authority=True, may_sign=True).signed_by(ROOT, KEY)


@pytest.mark.parametrize("found", [CLINIC.certificate, certificate_for(NODE), BELOW])
def test_no_other_certificate_is_a_root(found: x509.Certificate) -> None:
    with pytest.raises(Unauthenticated, match="not the root"):
        federation_of(found)


@pytest.mark.parametrize("found", [ROOT.certificate, certificate_for(NODE, ROOT), OTHER_ROOT.certificate])
def test_what_the_root_does_not_certify_to_certify_is_no_authority(found: x509.Certificate) -> None:
    with pytest.raises(Unauthenticated):
        organisation_of(found, ROOT.certificate)


def test_an_authority_can_certify_its_own_names_and_those_of_the_roles_only() -> None:
    constraints = CLINIC.certificate.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = {str(name.value) for name in constraints.value.permitted_subtrees or ()}
    assert permitted == {f"{each}.{FEDERATION}" for each in (ORGANISATION, *Role)}
    assert constraints.critical
    assert CLINIC.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


@pytest.mark.parametrize("lifetime_s", [0, -1, 90 * DAY_S + 1, float("nan"), float("inf")])
def test_no_certificate_is_made_for_a_wrong_time(lifetime_s: float) -> None:
    with pytest.raises(ConfigError, match="at most 90 days"):
        make_certificate(CLINIC, NODE, KEY.public_key(), NOW_S, lifetime_s)


def test_a_certificate_does_not_outlive_its_authority() -> None:
    end_s = CLINIC.certificate.not_valid_after_utc.timestamp()
    made = make_certificate(CLINIC, NODE, KEY.public_key(), end_s - 100, DAY_S)
    assert made.not_valid_after_utc.timestamp() == end_s
    with pytest.raises(ConfigError, match="has expired"):
        make_certificate(CLINIC, NODE, KEY.public_key(), end_s, DAY_S)


GOOD_PEM = to_pem(certificate_for(NODE))
GOOD_DER = certificate_for(NODE).public_bytes(Encoding.DER)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    for pem in (data, GOOD_PEM[: len(data)]):
        with pytest.raises(Unauthenticated):
            read_certificate(pem)


# The library warns of numbers that the standard forbids; it reads them all the same.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, len(GOOD_DER) - 1), st.integers(1, 255), st.integers(0, 3))
def test_a_certificate_with_a_changed_byte_is_read_or_refused(index: int, flip: int, num_dropped: int) -> None:
    der = bytearray(GOOD_DER)
    der[index] ^= flip
    pem = ssl.DER_cert_to_PEM_cert(bytes(der[: len(der) - num_dropped])).encode()
    with suppress(Unauthenticated):
        assert isinstance(read_certificate(pem), Certificate)
    with pytest.raises(Unauthenticated):
        verify_chain([*read_pem_certificates(pem), CLINIC.certificate], ROOT.certificate)


def test_too_long_a_certificate_is_not_looked_at() -> None:
    long = GOOD_PEM + b" " * MAX_PEM_BYTES
    for reader in (read_certificate, read_pem_certificates, read_request):
        with pytest.raises(Unauthenticated, match=str(MAX_PEM_BYTES)):
            reader(long)


def test_a_key_survives_its_file() -> None:
    assert key_from_pem(key_to_pem(KEY)).private_numbers() == KEY.private_numbers()


def test_another_kind_of_key_is_refused_without_showing_it() -> None:
    pem = key_to_pem(ed25519.Ed25519PrivateKey.generate())  # type: ignore[arg-type]  # what somebody put there
    for bad in (pem, pem[:60], b"", b"secret"):
        with pytest.raises(ConfigError) as refusal:
            key_from_pem(bad)
        assert "secret" not in str(refusal.value)


def test_a_request_says_what_it_asks_for() -> None:
    asked = read_request(make_request(KEY, ORGANISATION, Role.PEER, "1"))
    assert (asked.organisation, asked.role, asked.name) == (ORGANISATION, Role.PEER, "1")
    assert key_digest_of(asked.key) == key_digest_of(KEY.public_key())


def test_a_request_that_was_changed_is_refused() -> None:
    pem = make_request(KEY, ORGANISATION, Role.PEER, "1")
    der = bytearray(x509.load_pem_x509_csr(pem).public_bytes(Encoding.DER))
    der[-1] ^= 1
    broken = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    for bad in (b"", GOOD_PEM, pem[:-80], broken):
        with pytest.raises(Unauthenticated):
            read_request(bad)


def test_a_time_is_written_for_people() -> None:
    assert moment(NOW_S) == "2027-01-15 08:00:00 UTC"
