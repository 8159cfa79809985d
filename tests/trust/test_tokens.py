"""Join tokens: for whom they are, how long, and that nothing else is taken for one."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import ConfigError, Unauthenticated
from raftgossip.trust.authority import Authority, make_organisation, make_root
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.tokens import MAX_LIFETIME_S, MAX_TOKEN_CHARACTERS, PREFIX, make_token, read_token
from tests.support.keys import FEDERATION, ORGANISATION

NOW_S = 1_800_000_000
SKEW_S = 60.0
ROOT = make_root(FEDERATION, NOW_S)
CLINIC = make_organisation(ROOT, ORGANISATION, NOW_S)
LAB = make_organisation(ROOT, "lab", NOW_S)
STRANGER = make_organisation(make_root(FEDERATION, NOW_S), ORGANISATION, NOW_S)
NODE = Identity(FEDERATION, ORGANISATION, Role.PEER, "1")
DIGEST = bytes(range(32))
TOKEN_ID = "0123456789abcdef" * 2
TOKEN = make_token(CLINIC, NODE, DIGEST, TOKEN_ID, NOW_S, 600)


def read(text: str, at_s: float = NOW_S) -> Any:
    return read_token(text, ROOT.certificate_pem, at_s, SKEW_S)


def base64_of(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def payload(**changes: object) -> bytes:
    found = json.loads(base64.urlsafe_b64decode(TOKEN.split(".")[1] + "=="))
    return json.dumps(found | changes, sort_keys=True, separators=(",", ":")).encode()


def signed(data: bytes, authority: Authority = CLINIC, prefix: bytes = PREFIX) -> str:
    """A token with this payload, whatever it says."""
    signature = authority.key.sign(prefix + data, ec.ECDSA(hashes.SHA256()))
    return ".".join(("v1", *map(base64_of, (data, signature, authority.certificate.public_bytes(Encoding.DER)))))


def test_a_token_says_what_it_was_made_for() -> None:
    token = read(TOKEN)
    assert (token.token_id, token.federation, token.organisation) == (TOKEN_ID, FEDERATION, ORGANISATION)
    assert (token.role, token.key_digest, token.expires_s) == (Role.PEER, DIGEST, NOW_S + 600)
    token.check(NODE, DIGEST)


def test_white_space_around_a_token_does_not_matter() -> None:
    assert read(f"  {TOKEN}\n") == read(TOKEN)


def test_a_token_fits_into_a_line_and_far_below_the_limit() -> None:
    assert len(TOKEN) < MAX_TOKEN_CHARACTERS / 4


@pytest.mark.parametrize(
    ("identity", "digest", "differing"),
    [
        (Identity("lungs.example", ORGANISATION, Role.PEER, "1"), DIGEST, "another federation than"),
        (Identity(FEDERATION, "lab", Role.PEER, "1"), DIGEST, "another organisation than"),
        (Identity(FEDERATION, ORGANISATION, Role.GATEWAY, "1"), DIGEST, "another role than"),
        (NODE, bytes(32), "another key than"),
        (NODE, b"", "another key than"),
        (Identity(FEDERATION, "lab", Role.PEER, "1"), bytes(32), "another organisation and key than"),
    ],
)
def test_a_token_lets_nobody_else_in(identity: Identity, digest: bytes, differing: str) -> None:
    with pytest.raises(Unauthenticated, match=differing):
        read(TOKEN).check(identity, digest)


@pytest.mark.parametrize("at_s", [NOW_S - SKEW_S, NOW_S + 600 + SKEW_S])
def test_a_token_counts_to_the_ends_of_its_time_and_the_clocks_skew(at_s: float) -> None:
    read(TOKEN, at_s)


@pytest.mark.parametrize(
    ("at_s", "reason"), [(NOW_S + 600 + SKEW_S + 1, "has expired.*keys token"), (NOW_S - SKEW_S - 1, "not valid yet")]
)
def test_a_token_of_another_time_is_refused(at_s: float, reason: str) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        read(TOKEN, at_s)


@pytest.mark.parametrize("lifetime_s", [0, -1, MAX_LIFETIME_S + 1])
def test_no_token_is_made_for_a_wrong_time(lifetime_s: int) -> None:
    with pytest.raises(ConfigError, match="1 to 900 seconds"):
        make_token(CLINIC, NODE, DIGEST, TOKEN_ID, NOW_S, lifetime_s)


def test_the_longest_token_is_read() -> None:
    assert read(make_token(CLINIC, NODE, DIGEST, TOKEN_ID, NOW_S, MAX_LIFETIME_S)).expires_s == NOW_S + MAX_LIFETIME_S


def test_a_token_of_an_authority_that_has_expired_is_refused() -> None:
    end_s = int(CLINIC.certificate.not_valid_after_utc.timestamp())
    token = make_token(CLINIC, NODE, DIGEST, TOKEN_ID, end_s, 600)
    with pytest.raises(Unauthenticated, match="the authority that made the join token"):
        read(token, end_s + SKEW_S + 1)


PARTS = TOKEN.split(".")
DEEP = b"[" * 5000
FORGED = {
    "empty": "",
    "too long": TOKEN + " " * MAX_TOKEN_CHARACTERS,
    "another version": TOKEN.replace("v1", "v2", 1),
    "a part less": ".".join(PARTS[:3]),
    "a part more": TOKEN + ".",
    "empty parts": "v1...",
    "padded": f"{PARTS[0]}.{PARTS[1]}==.{PARTS[2]}.{PARTS[3]}",
    "the other alphabet": TOKEN.replace("-", "+").replace("_", "/") + "+",
    "not ASCII": TOKEN + "é",
    "a space within": f"{TOKEN[:30]} {TOKEN[30:]}",
    "another signature": ".".join((*PARTS[:2], base64_of(bytes(64)), PARTS[3])),
    "signature of another payload": ".".join((PARTS[0], base64_of(payload(token_id="f" * 32)), *PARTS[2:])),
    "signature for something else": signed(payload(), prefix=b""),
    "another authority's signature": ".".join((*PARTS[:3], signed(payload(), LAB).split(".")[3])),
    "another organisation's authority": signed(payload(), LAB),
    "a namesake's": signed(payload(), STRANGER),
    "the root's": signed(payload(), ROOT),
    "another federation": signed(payload(federation="lungs.example")),
    "an unknown role": signed(payload(role="voter")),
    "longer than 15 minutes": signed(payload(expires_s=NOW_S + 901)),
    "ends before it begins": signed(payload(expires_s=NOW_S - 1)),
    "times that are no whole numbers": signed(payload(issued_s=float(NOW_S))),
    "times that are truth values": signed(payload(issued_s=True, expires_s=2)),
    "times that are text": signed(payload(issued_s=str(NOW_S))),
    "times beyond all clocks": signed(payload(issued_s=10**400, expires_s=10**400 + 1)),
    "times with too many digits": signed(payload().replace(str(NOW_S).encode(), b"9" * 5000)),
    "an id that is none": signed(payload(token_id="x")),
    "an id of another kind": signed(payload(token_id=5)),
    "a key digest that is none": signed(payload(key_digest="ab")),
    "one field more": signed(payload(more=1)),
    "one field less": signed(payload().replace(b'"role":"peer",', b"")),
    "a field twice": signed(payload().replace(b'"role":"peer"', b'"role":"peer","role":"peer"')),
    "another order": signed(json.dumps(dict(reversed(json.loads(payload()).items())), separators=(",", ":")).encode()),
    "spaces": signed(payload().replace(b":", b": ")),
    "no table": signed(b"[]"),
    "no JSON": signed(b"\xff"),
    "deep": signed(DEEP),
    "half a character": signed(payload(token_id="\ud800")),
}


@pytest.mark.parametrize("what", FORGED)
def test_nothing_else_is_taken_for_a_token(what: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        read(FORGED[what])
    assert all(part not in str(refusal.value) for part in (TOKEN_ID, "Traceback", "Error", "object", "\\x"))


def test_the_payload_that_the_forged_ones_change_is_a_good_one() -> None:
    assert read(signed(payload())) == read(TOKEN)


@given(st.integers(0, len(TOKEN) - 1), st.text(max_size=3))
def test_a_token_with_a_changed_character_is_refused(index: int, junk: str) -> None:
    changed = TOKEN[:index] + junk + TOKEN[index + 1 :]
    if changed.strip() != TOKEN:
        with pytest.raises(Unauthenticated):
            read(changed)


@given(st.text(max_size=200))
def test_any_text_is_refused_as_a_token(text: str) -> None:
    for junk in (text, f"v1.{text}", f"v1.{PARTS[1]}.{text}.{PARTS[3]}"):
        with pytest.raises(Unauthenticated):
            read(junk)
