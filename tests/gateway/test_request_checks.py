"""What a stranger may say, and how the gateway names what it may not."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.registry_values import OWNER_KEY
from gateway.request_checks import (
    MAX_CAPABILITIES,
    MAX_CAPABILITY_CHARACTERS,
    MAX_CLUSTER_ID_CHARACTERS,
    MAX_HOST_CHARACTERS,
    MAX_METADATA_ENTRIES,
    MAX_METADATA_KEY_CHARACTERS,
    MAX_METADATA_VALUE_CHARACTERS,
    asker_from_proto,
    cluster_id_from_proto,
    count_from_proto,
    node_id_from_proto,
    position_from_proto,
    registration_from_proto,
)
from raftgossip.errors import WireError
from raftgossip.ids import Address
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb


def request(**changes: object) -> pb.RegisterNodeRequest:
    """A good registration, but for the changes."""
    fields: dict[str, object] = {"node_id": 7, "ip_address": "10.0.0.7", "port": 8891, **changes}
    return pb.RegisterNodeRequest(**fields)  # type: ignore[arg-type] # protobuf checks them itself


def test_a_good_registration_is_taken_over_field_by_field() -> None:
    checked = registration_from_proto(request(capabilities=["raft", "gossip"], metadata={"b": "2", "a": "1"}))
    assert (checked.node_id, checked.address) == (7, Address("10.0.0.7", 8891))
    assert checked.capabilities == ("raft", "gossip")
    assert checked.metadata == (("a", "1"), ("b", "2"))


def test_of_the_owners_secret_only_a_digest_is_kept_apart_from_what_others_see() -> None:
    checked = registration_from_proto(request(metadata={OWNER_KEY: "secret", "a": "1"}))
    assert checked.owner == hashlib.sha256(b"secret").hexdigest()
    assert checked.metadata == (("a", "1"),)


def test_a_certificate_is_the_owner_whatever_secret_is_sent() -> None:
    checked = registration_from_proto(request(metadata={OWNER_KEY: "secret"}), "spiffe://f/o/7")
    assert (checked.owner, checked.identity, checked.metadata) == ("spiffe://f/o/7", "spiffe://f/o/7", ())


def test_what_the_node_knows_of_its_cluster_is_taken_over() -> None:
    checked = registration_from_proto(request(cluster_id="c1", can_wait=True))
    assert (checked.cluster_id, checked.can_wait) == ("c1", True)


@pytest.mark.parametrize("text", ["x" * (MAX_CLUSTER_ID_CHARACTERS + 1), "a\nb"])
def test_a_cluster_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(WireError, match="cluster_id"):
        cluster_id_from_proto(text)


@pytest.mark.parametrize(("version", "registry_id"), [(-1, "r"), (1, "x" * 65), (1, "a\x00b")])
def test_a_position_that_cannot_be_is_refused(version: int, registry_id: str) -> None:
    with pytest.raises(WireError, match=r"since_version|registry_id"):
        position_from_proto(version, registry_id)


def test_a_negative_count_is_refused_by_its_name() -> None:
    assert count_from_proto("limit", 0) == 0
    with pytest.raises(WireError, match="limit: -1"):
        count_from_proto("limit", -1)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::1", "fe80::1%eth0", "node-7.example.org", "localhost", "my_host", "a", "x" * 253]
)
def test_addresses_and_host_names_are_taken(host: str) -> None:
    assert registration_from_proto(request(ip_address=host)).address.host == host


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "::",
        "-host",
        "host-",
        "two words",
        "user@host",
        "host:1",
        "h\n",
        "h\x00",
        "höst",
        "x" * (MAX_HOST_CHARACTERS + 1),
        "fe80::1%\x1b[31m",
        "fe80::1% eth0",
    ],
)
def test_what_nobody_can_dial_or_would_spoil_a_terminal_is_refused(host: str) -> None:
    with pytest.raises(WireError, match=r"^ip_address: "):
        registration_from_proto(request(ip_address=host))


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_does_not_exist_is_refused(port: int) -> None:
    with pytest.raises(WireError, match=f"^port: {port} "):
        registration_from_proto(request(port=port))


@pytest.mark.parametrize("node_id", [0, -1, -(2**31)])
def test_an_id_below_one_is_refused(node_id: int) -> None:
    with pytest.raises(WireError, match=r"^node_id: "):
        registration_from_proto(request(node_id=node_id))
    with pytest.raises(WireError, match=r"^leader_id: "):
        node_id_from_proto("leader_id", node_id)


def test_zero_asks_for_the_nodes_without_being_one() -> None:
    assert [asker_from_proto(value) for value in (0, 1, 2**31 - 1)] == [0, 1, 2**31 - 1]
    with pytest.raises(WireError, match=r"^requesting_node_id: "):
        asker_from_proto(-1)


@pytest.mark.parametrize(
    ("field", "most", "too_much"),
    [
        ("capabilities", ["c"] * MAX_CAPABILITIES, ["c"] * (MAX_CAPABILITIES + 1)),
        ("capabilities", ["c" * MAX_CAPABILITY_CHARACTERS], ["c" * (MAX_CAPABILITY_CHARACTERS + 1)]),
        ("capabilities", ["c"], [""]),
        ("capabilities", ["c d"], ["c\td"]),
        (
            "metadata",
            {str(number): "" for number in range(MAX_METADATA_ENTRIES)},
            {str(number): "" for number in range(MAX_METADATA_ENTRIES + 1)},
        ),
        ("metadata", {"k" * MAX_METADATA_KEY_CHARACTERS: ""}, {"k" * (MAX_METADATA_KEY_CHARACTERS + 1): ""}),
        ("metadata", {"k": "v" * MAX_METADATA_VALUE_CHARACTERS}, {"k": "v" * (MAX_METADATA_VALUE_CHARACTERS + 1)}),
        ("metadata", {"k": ""}, {"": "v"}),
        ("metadata", {"k": "é"}, {"k": "\x1b[2J"}),
    ],
)
def test_texts_are_taken_up_to_their_limit_and_named_beyond(field: str, most: object, too_much: object) -> None:
    registration_from_proto(request(**{field: most}))
    with pytest.raises(WireError, match=f"^{field}"):
        registration_from_proto(request(**{field: too_much}))


@given(
    st.binary(max_size=200), st.text(max_size=50), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1)
)
def test_any_decodable_message_is_checked_or_refused_as_wire_error(
    junk: bytes, host: str, node_id: int, port: int
) -> None:
    candidates = [request(node_id=node_id, port=port, ip_address=host), request(ip_address=host)]
    try:
        candidates.append(pb.RegisterNodeRequest.FromString(junk))
    except Exception:  # noqa: BLE001 - undecodable bytes never get this far
        pass
    for candidate in candidates:
        try:
            checked = registration_from_proto(candidate)
        except WireError:
            continue
        assert str(checked.address).isprintable() and " " not in checked.address.host
