"""The demo's federation: keys made on the fly, and a look at who was authenticated and who refuses strangers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from raftgossip.cli.demo_summary import Witnessed
from raftgossip.errors import RaftGossipError, TransportError
from raftgossip.ids import Address
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.grpc_gateway_operator import GatewayOperatorClient
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role

FEDERATION = "demo"
HOST = "host"
"""The organisation of the gateway and of the operator, who is this program."""
OPERATOR = "demo"
LOOK_MS = 1_000
KNOCK_MS = 500
"""A stranger is refused at once, or answered."""


def make_keys(path: Path, num_peers: int) -> KeyFolder:
    """A federation with one organisation per peer, and one for the gateway and the operator."""
    folder = KeyFolder(path)
    now_s = SystemClock().wall_ms() / 1000
    folder.init(FEDERATION, HOST, now_s)
    folder.issue(HOST, Role.GATEWAY, "gateway", now_s)
    folder.issue(HOST, Role.OPERATOR, OPERATOR, now_s)
    for node_id in range(1, num_peers + 1):
        folder.add_organisation(f"site-{node_id}", now_s)
        folder.issue(f"site-{node_id}", Role.PEER, str(node_id), now_s)
    return folder


def look_who_is_authenticated(keys: KeyFolder, gateway: Address, peers: Mapping[int, Address]) -> Witnessed | None:
    """Ask the gateway as the operator who its nodes are, and everybody as a stranger; None: not all are there yet."""
    client = GatewayOperatorClient(gateway, keys.credentials(Role.OPERATOR, OPERATOR), LOOK_MS)
    try:
        registered = {node["node_id"]: node["identity"] for node in client.look(max_nodes=0)["nodes"]}
    except RaftGossipError:
        return None
    finally:
        client.close()
    if not registered.keys() >= peers.keys():
        return None
    refusing = [f"node {node_id}" for node_id, address in sorted(peers.items()) if _refuses_strangers(address)]
    if _gateway_refuses_strangers(gateway):
        refusing = ["the gateway", *refusing]
    return Witnessed(FEDERATION, {node_id: registered[node_id] or "" for node_id in sorted(peers)}, tuple(refusing))


def _refuses_strangers(address: Address) -> bool:
    """Whether a peer gives no answer to a caller without a certificate."""
    stranger = OperatorClient(address, None, KNOCK_MS)
    try:
        stranger.status()
    except TransportError:
        return True
    finally:
        stranger.close()
    return False


def _gateway_refuses_strangers(address: Address) -> bool:
    stranger = GatewayOperatorClient(address, None, KNOCK_MS)
    try:
        stranger.look(max_nodes=1)
    except TransportError:
        return True
    finally:
        stranger.close()
    return False
