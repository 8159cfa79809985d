"""What a stranger may say: turns a registration request into our values, or names the field that is wrong.

The limits bound what one node can make the gateway keep and send to all others; together a record stays below 40 kB.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Mapping

from gateway.registry_values import MAX_VERSION, OWNER_KEY, Registration
from raftgossip.errors import ConfigError, WireError
from raftgossip.ids import Address, NodeId, parse_node_id
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

MAX_CAPABILITIES = 32
MAX_CAPABILITY_CHARACTERS = 64
MAX_METADATA_ENTRIES = 32
MAX_METADATA_KEY_CHARACTERS = 64
MAX_METADATA_VALUE_CHARACTERS = 1024
MAX_HOST_CHARACTERS = 253
"""The longest name that DNS knows."""
MAX_CLUSTER_ID_CHARACTERS = 64
MAX_REGISTRY_ID_CHARACTERS = 64

_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")


def registration_from_proto(request: pb.RegisterNodeRequest, identity: str = "") -> Registration:
    """Check every field of a registration.

    Args:
        request: what the node sent.
        identity: the SPIFFE name in its certificate, which then is the owner; empty: it showed none.

    Raises:
        WireError: a field is out of bounds; the text begins with its name.
    """
    metadata = dict(request.metadata)
    _check_capabilities(request.capabilities)
    _check_metadata(metadata)
    secret = metadata.pop(OWNER_KEY, "")
    # Only a digest is kept, so that neither a gateway's disk nor another gateway ever holds the secret.
    owner = identity or (hashlib.sha256(secret.encode()).hexdigest() if secret else "")
    return Registration(
        node_id=node_id_from_proto("node_id", request.node_id),
        address=_address(request.ip_address, request.port),
        capabilities=tuple(request.capabilities),
        metadata=tuple(sorted(metadata.items())),
        owner=owner,
        identity=identity,
        cluster_id=cluster_id_from_proto(request.cluster_id),
        can_wait=request.can_wait,
    )


def node_id_from_proto(field: str, value: int) -> NodeId:
    """Check a node id.

    Raises:
        WireError: it is not between 1 and 2^31 - 1.
    """
    try:
        return parse_node_id(value)
    except ConfigError as error:
        raise WireError(f"{field}: {error}") from error


def asker_from_proto(value: int) -> int:
    """Check the id of whoever asks for the nodes; 0: somebody who is not registered.

    Raises:
        WireError: it is negative.
    """
    return 0 if value == 0 else node_id_from_proto("requesting_node_id", value)


def cluster_id_from_proto(text: str) -> str:
    """Check a cluster id; empty: none.

    Raises:
        WireError: it is too long or has control characters.
    """
    _check_text("cluster_id", text, 0, MAX_CLUSTER_ID_CHARACTERS)
    return text


def position_from_proto(version: int, registry_id: str) -> tuple[int, str]:
    """Check from where somebody wants to read on: a version, and the registry that counted it.

    Raises:
        WireError: one of them is out of bounds.
    """
    if not 0 <= version <= MAX_VERSION:
        raise WireError(f"since_version: {version} is not between 0 and {MAX_VERSION}")
    _check_text("registry_id", registry_id, 0, MAX_REGISTRY_ID_CHARACTERS)
    return version, registry_id


def count_from_proto(field: str, value: int) -> int:
    """Check a number of things, or an id to begin behind.

    Raises:
        WireError: it is negative.
    """
    if value < 0:
        raise WireError(f"{field}: {value} is negative")
    return value


def _address(host: str, port: int) -> Address:
    if not 0 < port < 65536:
        raise WireError(f"port: {port} is not between 1 and 65535")
    _check_text("ip_address", host, 1, MAX_HOST_CHARACTERS)
    if " " in host:
        raise WireError(f"ip_address: {host!r} has white space")
    try:
        if ipaddress.ip_address(host).is_unspecified:
            raise WireError(f"ip_address: nobody can dial {host}; give the address that other nodes reach you at")
    except ValueError:
        if not _HOST_NAME.fullmatch(host):
            raise WireError(f"ip_address: {host!r} is neither an IP address nor a host name") from None
    return Address(host, port)


def _check_capabilities(capabilities: Iterable[str]) -> None:
    names = list(capabilities)
    if len(names) > MAX_CAPABILITIES:
        raise WireError(f"capabilities: {len(names)} were given; at most {MAX_CAPABILITIES} are allowed")
    for name in names:
        _check_text("capabilities", name, 1, MAX_CAPABILITY_CHARACTERS)


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if len(metadata) > MAX_METADATA_ENTRIES:
        raise WireError(f"metadata: {len(metadata)} entries were given; at most {MAX_METADATA_ENTRIES} are allowed")
    for key, value in metadata.items():
        _check_text("metadata", key, 1, MAX_METADATA_KEY_CHARACTERS)
        _check_text(f"metadata {key!r}", value, 0, MAX_METADATA_VALUE_CHARACTERS)


def _check_text(field: str, text: str, min_characters: int, max_characters: int) -> None:
    """Refuse control characters too: what strangers write ends up in other people's terminals and logs."""
    if not min_characters <= len(text) <= max_characters:
        raise WireError(f"{field}: a text of {len(text)} characters; {min_characters} to {max_characters} are allowed")
    if not text.isprintable():
        raise WireError(f"{field}: {text!r} has control characters")
