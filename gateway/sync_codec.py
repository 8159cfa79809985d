"""What gateways tell each other: values <-> protobuf, with the limits of what one believes another.

The messages carry a claim as a node: `last_seen` is its stamp in seconds, `age_ms` how long ago the node was heard or
removed. The status says `joining` of an active node that waits to be named bootstrap, `leaving` of a removed one, and
`bootstrap` of the one that is named; the latter two have nothing but an id. `removed` are claims that were given up.
"""

from __future__ import annotations

import math
from dataclasses import replace

from gateway.registry_values import ACTIVE, SUSPECTED
from gateway.request_checks import cluster_id_from_proto, node_id_from_proto, registration_from_proto
from gateway.syncing import MAX_CHANGES, MAX_GATEWAY_IDS, Claim, ClaimChange, SyncAnswer
from raftgossip.errors import WireError
from raftgossip.ids import NodeId
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

WAITING = "joining"
REMOVED = "leaving"
NAMED = "bootstrap"

MAX_ANSWER_BYTES = 3 * 1024 * 1024
"""An answer stays below gRPC's default limit of 4 MiB; the rest is asked for next."""
MAX_NODE_BYTES = 64 * 1024
"""No node takes as much, see the limits in `request_checks.py`."""
MAX_CLUSTER_IDS = 64
MAX_ID_CHARACTERS = 64
MAX_OWNER_CHARACTERS = 512
MAX_STAMP_MS = 2**50
"""In the year 37,000. Up to here a stamp in seconds keeps its milliseconds."""
MAX_AGE_MS = 2**40


def answer_to_proto(answer: SyncAnswer) -> pb.SyncRegistryResponse:
    """As much of an answer as fits into `MAX_ANSWER_BYTES`, and at least one change."""
    response = pb.SyncRegistryResponse(
        gateway_id=answer.gateway_id,
        registry_id=answer.log_id,
        registry_version=answer.version,
        is_delta=answer.is_delta,
        leader_id=answer.leader_id,
        leader_term=answer.leader_term,
        cluster_ids=answer.cluster_ids,
        gateway_ids=answer.gateway_ids,
    )
    if answer.bootstrap is not None:
        response.nodes.append(pb.SyncedNode(node=pb.NodeInfo(node_id=answer.bootstrap, status=NAMED)))
    num_bytes = response.ByteSize()
    for place, change in enumerate(answer.changes):
        node = None if change.claim is None else _claim_to_proto(change.claim, answer.gateway_id)
        num_bytes += 8 if node is None else node.ByteSize() + 8  # with tag and length
        if num_bytes > MAX_ANSWER_BYTES and place > 0:
            response.registry_version = answer.changes[place - 1].version
            break
        if node is None:
            response.removed.append(change.node_id)
        else:
            response.nodes.append(node)
    return response


def may_be_cut(response: pb.SyncRegistryResponse) -> bool:
    """Whether there may be more to ask for at once."""
    num_changes = len(response.nodes) + len(response.removed)
    return num_changes >= MAX_CHANGES or response.ByteSize() > MAX_ANSWER_BYTES - MAX_NODE_BYTES


def answer_from_proto(response: pb.SyncRegistryResponse) -> SyncAnswer:
    """Check every field of an answer.

    Raises:
        WireError: a field is out of bounds; the text begins with its name.
    """
    if response.registry_version < 0:
        raise WireError(f"registry_version: {response.registry_version} is negative")
    _check_count("cluster_ids", len(response.cluster_ids), MAX_CLUSTER_IDS)
    _check_count("gateway_ids", len(response.gateway_ids), MAX_GATEWAY_IDS)
    if response.leader_id != 0:
        node_id_from_proto("leader_id", response.leader_id)
    version, named = response.registry_version, None
    changes = [ClaimChange(version, node_id_from_proto("removed", node_id), None) for node_id in response.removed]
    for synced in response.nodes:
        node_id = node_id_from_proto("node_id", synced.node.node_id)
        if synced.node.status == NAMED:
            named = node_id
        else:
            changes.append(ClaimChange(version, node_id, _claim_from_proto(node_id, synced)))
    return SyncAnswer(
        gateway_id=_text("gateway_id", response.gateway_id, 1, MAX_ID_CHARACTERS),
        log_id=_text("registry_id", response.registry_id, 1, MAX_ID_CHARACTERS),
        version=version,
        is_delta=response.is_delta,
        changes=tuple(changes),
        leader_id=response.leader_id,
        leader_term=response.leader_term,
        cluster_ids=tuple(cluster_id_from_proto(cluster_id) for cluster_id in response.cluster_ids),
        gateway_ids=tuple(_text("gateway_ids", text, 1, MAX_ID_CHARACTERS) for text in response.gateway_ids),
        bootstrap=named,
    )


def _claim_to_proto(claim: Claim, gateway_id: str) -> pb.SyncedNode:
    registration = claim.registration
    stamp_s = claim.stamp_ms / 1000
    if registration is None:
        node = pb.NodeInfo(node_id=claim.node_id, status=REMOVED, last_seen=stamp_s)
        return pb.SyncedNode(node=node, age_ms=claim.age_ms, gateway_id=gateway_id)
    waits = claim.status == ACTIVE and registration.can_wait and not registration.cluster_id
    node = pb.NodeInfo(
        node_id=claim.node_id,
        ip_address=registration.address.host,
        port=registration.address.port,
        capabilities=registration.capabilities,
        status=WAITING if waits else claim.status,
        last_seen=stamp_s,
        join_timestamp=claim.joined_seconds,
        metadata=dict(registration.metadata),
        identity=registration.identity,
    )
    return pb.SyncedNode(node=node, age_ms=claim.age_ms, owner=registration.owner, gateway_id=gateway_id)


def _claim_from_proto(node_id: NodeId, synced: pb.SyncedNode) -> Claim:
    node = synced.node
    stamp_ms = _milliseconds("last_seen", node.last_seen)
    age_ms = min(synced.age_ms, MAX_AGE_MS)
    if node.status == REMOVED:
        return Claim(node_id, None, stamp_ms, age_ms=age_ms)
    if node.status not in (ACTIVE, WAITING, SUSPECTED):
        raise WireError(f"status: {node.status[:40]!r} of node {node_id} is unknown")
    _milliseconds("join_timestamp", node.join_timestamp)
    request = pb.RegisterNodeRequest(
        node_id=node_id,
        ip_address=node.ip_address,
        port=node.port,
        capabilities=node.capabilities,
        metadata=node.metadata,
        can_wait=node.status == WAITING,
    )
    identity = _text("identity", node.identity, 0, MAX_OWNER_CHARACTERS)
    owner = _text("owner", synced.owner, 0, MAX_OWNER_CHARACTERS)
    registration = replace(registration_from_proto(request, identity), owner=owner)
    status = SUSPECTED if node.status == SUSPECTED else ACTIVE
    return Claim(node_id, registration, stamp_ms, status, node.join_timestamp, age_ms)


def _check_count(field: str, count: int, max_count: int) -> None:
    if count > max_count:
        raise WireError(f"{field}: {count} were given; at most {max_count} are allowed")


def _milliseconds(field: str, seconds: float) -> int:
    if not (math.isfinite(seconds) and 0 <= seconds * 1000 < MAX_STAMP_MS):
        raise WireError(f"{field}: {seconds} is no time")
    return round(seconds * 1000)


def _text(field: str, text: str, min_characters: int, max_characters: int) -> str:
    if not min_characters <= len(text) <= max_characters or not text.isprintable():
        raise WireError(f"{field}: {text[:80]!r} is not {min_characters} to {max_characters} printable characters")
    return text
