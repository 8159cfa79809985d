"""Names of holders: what may be one, and how they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import ConfigError
from raftgossip.trust.identity import Identity, Role, check_federation, check_organisation, role_server_name

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
ORGANISATIONS = LABELS.filter(lambda text: text not in frozenset(Role))


@given(LABELS, ORGANISATIONS, st.sampled_from([role for role in Role if role is not Role.PEER]), LABELS)
def test_a_uri_says_everything_but_the_role(federation: str, organisation: str, role: Role, name: str) -> None:
    identity = Identity(federation, organisation, role, name)
    assert Identity.of_uri(identity.uri, role) == identity


def test_a_peers_uri_gives_its_node_id() -> None:
    peer = Identity.of_peer("spiffe://hearts.example/clinic/12")
    assert peer.node_id == 12
    assert peer.server_name == "12.peer.clinic.hearts.example"


def test_nobody_but_a_peer_has_a_node_id() -> None:
    assert Identity("hearts.example", "clinic", Role.OPERATOR, "12").node_id is None


def test_anybody_of_a_role_is_one_name_in_the_federation() -> None:
    assert role_server_name(Role.GATEWAY, "hearts.example") == "gateway.hearts.example"


@pytest.mark.parametrize("name", ["0", "01", "-1", "+1", "1.0", "2147483648", "alice", "", "١"])
def test_a_peers_name_is_a_node_id(name: str) -> None:
    with pytest.raises(ConfigError):
        Identity("hearts.example", "clinic", Role.PEER, name)


@pytest.mark.parametrize("name", ["", "..", "a/b", "a.b", "A", "-a", "a-", "a b", "a\n", "a\0", "é", "a" * 64])
def test_a_name_is_a_label(name: str) -> None:
    with pytest.raises(ConfigError):
        Identity("hearts.example", "clinic", Role.OPERATOR, name)
    with pytest.raises(ConfigError):
        check_organisation(name)


@pytest.mark.parametrize("role", Role)
def test_no_organisation_is_named_as_a_role(role: Role) -> None:
    with pytest.raises(ConfigError, match="is a role"):
        check_organisation(role)


@pytest.mark.parametrize("text", ["", ".", "a..b", ".a", "a.", "A.b", "a_b", "a/b", ".".join("ab" * 20)])
def test_a_federation_is_a_short_domain_name(text: str) -> None:
    with pytest.raises(ConfigError):
        check_federation(text)


def test_the_longest_server_name_fits_into_dns() -> None:
    identity = Identity("f" * 31 + "." + "f" * 32, "o" * 63, Role.OPERATOR, "n" * 63)
    assert len(identity.server_name) <= 253


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "spiffe",
        "spiffe://",
        "spiffe://hearts.example",
        "spiffe://hearts.example/clinic",
        "spiffe://hearts.example/clinic/1/2",
        "spiffe://hearts.example/clinic/1?a",
        "spiffe://hearts.example/clinic/1#a",
        "spiffe://hearts.example:80/clinic/1",
        "spiffe://a@hearts.example/clinic/1",
        "spiffe://hearts.example//1",
        "SPIFFE://hearts.example/clinic/1",
        "https://hearts.example/clinic/1",
    ],
)
def test_another_uri_names_nobody(uri: str) -> None:
    with pytest.raises(ConfigError):
        Identity.of_peer(uri)
