"""One table: which role may call which method. What is not in it is forbidden to everybody.

Some rights end at the caller's own node; `require_own_node` holds those. Pure rules: a refusal names its rule.
"""

from __future__ import annotations

from collections.abc import Mapping

from raftgossip.errors import PermissionDenied
from raftgossip.ids import NodeId
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Role

_GATEWAY, _PEER, _OPERATOR, _OBSERVER = Role.GATEWAY, Role.PEER, Role.OPERATOR, Role.OBSERVER
_ANYBODY = frozenset(Role)
_READERS = frozenset({_PEER, _OPERATOR, _OBSERVER})

RIGHTS: Mapping[str, frozenset[Role]] = {
    # The gateway. A peer registers, renews, removes and reports only itself.
    "/GatewayService/RegisterNode": frozenset({_PEER}),
    "/GatewayService/Heartbeat": frozenset({_PEER}),
    "/GatewayService/UpdateLeader": frozenset({_PEER}),
    "/GatewayService/RemoveNode": frozenset({_PEER, _OPERATOR}),
    "/GatewayService/GetNodes": _READERS,
    "/GatewayService/GetLeader": _READERS,
    "/GatewayService/WatchNodes": _READERS,
    "/GatewayService/GetStats": _READERS,
    "/GatewayService/HealthCheck": _ANYBODY,
    "/GatewayService/Configure": frozenset({_OPERATOR}),
    "/GatewayService/SyncRegistry": frozenset({_GATEWAY}),
    "/GatewayService/PublishRevocations": frozenset({_OPERATOR, _PEER}),
    "/grpc.health.v1.Health/Check": _ANYBODY,
    "/grpc.health.v1.Health/Watch": _ANYBODY,
    # The peers.
    "/PeerService/Raft": frozenset({_PEER}),
    "/PeerService/Exchange": frozenset({_PEER}),
    "/PeerService/Propose": frozenset({_PEER}),
    "/PeerService/Join": frozenset({_PEER}),
    "/PeerService/FetchModel": frozenset({_PEER}),
    "/PeerService/FetchEpochs": _READERS,
    "/PeerService/Status": _READERS,
    "/PeerService/FetchLog": frozenset({_OPERATOR, _OBSERVER}),
    "/PeerService/Leave": frozenset({_OPERATOR, _PEER}),
    "/PeerService/ChangeMembers": frozenset({_OPERATOR}),
    "/PeerService/TransferLeadership": frozenset({_OPERATOR}),
    "/PeerService/PublishRevocations": frozenset({_OPERATOR, _PEER}),
}
"""By the name of the method on the wire."""


def require_right(caller: Caller, method: str) -> None:
    """Refuse a call that the caller's role does not allow. Without certificates (`--insecure`) every known method is
    open to everybody.

    Raises:
        PermissionDenied: names the rule `method-by-role`.
    """
    allowed = RIGHTS.get(method, frozenset())
    if caller.identity is None:
        if not allowed:
            raise PermissionDenied(f"rule method-by-role: {method} is open to nobody")
    elif caller.identity.role not in allowed:
        roles = ", ".join(sorted(allowed)) or "nobody"
        raise PermissionDenied(
            f"rule method-by-role: {method} is open to {roles}; {caller.identity.uri} is a {caller.identity.role}"
        )


def require_own_node(caller: Caller, node_id: int, what: str) -> None:
    """Refuse a peer that acts for another node; an operator may act for any. `what`: completes "only node 7 may …".

    Raises:
        PermissionDenied: names the rule `own-node`.
    """
    if caller.identity is None or caller.identity.role is Role.OPERATOR:
        return
    if caller.identity.node_id != NodeId(node_id):
        raise PermissionDenied(f"rule own-node: only node {node_id} may {what}; {caller.identity.uri} called")
