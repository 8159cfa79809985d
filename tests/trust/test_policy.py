"""The table of rights, cell by cell, beside a second table that was written down on its own."""

from __future__ import annotations

import pytest

from raftgossip.errors import PermissionDenied
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role
from raftgossip.trust.policy import RIGHTS, require_own_node, require_right
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

# One column a role, in the order of `COLUMNS`; `x`: may call.
COLUMNS = (Role.GATEWAY, Role.PEER, Role.OPERATOR, Role.OBSERVER)
TABLE = """
/GatewayService/RegisterNode        . x . .
/GatewayService/Heartbeat           . x . .
/GatewayService/UpdateLeader        . x . .
/GatewayService/RemoveNode          . x x .
/GatewayService/GetNodes            . x x x
/GatewayService/GetLeader           . x x x
/GatewayService/WatchNodes          . x x x
/GatewayService/GetStats            . x x x
/GatewayService/HealthCheck         x x x x
/GatewayService/Configure           . . x .
/GatewayService/SyncRegistry        x . . .
/GatewayService/PublishRevocations  . x x .
/grpc.health.v1.Health/Check        x x x x
/grpc.health.v1.Health/Watch        x x x x
/PeerService/Raft                   . x . .
/PeerService/Exchange               . x . .
/PeerService/Propose                . x . .
/PeerService/Join                   . x . .
/PeerService/FetchModel             . x . .
/PeerService/FetchEpochs            . x x x
/PeerService/Status                 . x x x
/PeerService/FetchLog               . . x x
/PeerService/Leave                  . x x .
/PeerService/ChangeMembers          . . x .
/PeerService/TransferLeadership     . . x .
/PeerService/PublishRevocations     . x x .
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(row[0], role, mark == "x") for row in ROWS for role, mark in zip(COLUMNS, row[1:], strict=True)]
OPEN = Caller(None, address="10.0.0.1")


def caller(role: Role, name: str = "1") -> Caller:
    return Caller(Identity("hearts.example", "clinic", role, name))


@pytest.mark.parametrize(("method", "role", "may_call"), CELLS)
def test_each_role_may_call_what_the_table_says(method: str, role: Role, may_call: bool) -> None:
    if may_call:
        require_right(caller(role), method)
    else:
        with pytest.raises(PermissionDenied, match=f"rule method-by-role: {method} is open to .*/clinic/1 is a {role}"):
            require_right(caller(role), method)


def test_both_tables_have_the_same_rows() -> None:
    assert sorted(RIGHTS) == sorted(row[0] for row in ROWS)


def test_every_method_of_the_contract_is_in_the_table() -> None:
    services = pb.DESCRIPTOR.services_by_name.values()
    methods = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    ours = {method for method in RIGHTS if not method.startswith("/grpc.health")}
    assert ours == methods


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("method", ["", "/GatewayService/", "/GatewayService/Other", "GatewayService/GetNodes"])
def test_an_unknown_method_is_open_to_nobody(method: str, role: Role) -> None:
    with pytest.raises(PermissionDenied, match="open to nobody"):
        require_right(caller(role), method)
    with pytest.raises(PermissionDenied, match="open to nobody"):
        require_right(OPEN, method)


@pytest.mark.parametrize("method", RIGHTS)
def test_without_certificates_every_known_method_is_open(method: str) -> None:
    require_right(OPEN, method)


def test_a_peer_acts_for_its_own_node() -> None:
    require_own_node(caller(Role.PEER, "7"), 7, "leave")


@pytest.mark.parametrize("who", [caller(Role.PEER, "7"), caller(Role.GATEWAY, "8"), caller(Role.OBSERVER, "8")])
@pytest.mark.parametrize("node_id", [8, 0, -7, 2**31])
def test_nobody_else_acts_for_a_node(who: Caller, node_id: int) -> None:
    with pytest.raises(PermissionDenied, match=f"rule own-node: only node {node_id} may leave; spiffe://"):
        require_own_node(who, node_id, "leave")


@pytest.mark.parametrize("who", [caller(Role.OPERATOR, "8"), OPEN])
def test_an_operator_acts_for_any_node_and_so_does_anybody_without_certificates(who: Caller) -> None:
    require_own_node(who, 7, "leave")
