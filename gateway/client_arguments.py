"""What a client is given, made into what it works with: gateways' addresses, a registration, and the command line."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.answers import ClusterDict, StatsDict
from raftgossip.errors import ConfigError, RaftGossipError, TransportError, WireError
from raftgossip.ids import Address
from raftgossip.trust import DEFAULT_KEYS
from raftgossip.trust.files import KeyFolder
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

MAX_GATEWAYS = 16
"""More would only make a call slower in which all are silent."""


def gateway_addresses(hosts: str | Sequence[str], port: int, more: Sequence[str]) -> tuple[Address, ...]:
    """Each gateway once, in the order given; `port` is for those without one of their own. None at all: localhost.

    Raises:
        ConfigError: an address is malformed, or there are more than `MAX_GATEWAYS`.
    """
    if isinstance(more, str):
        raise ConfigError(f"gateways is {more!r}; give a list, as in [{more!r}]")
    texts = [*([hosts] if isinstance(hosts, str) else hosts), *more] or ["localhost"]
    addresses = tuple(dict.fromkeys(Address.parse(text, port) for text in texts))
    if len(addresses) > MAX_GATEWAYS:
        raise ConfigError(f"{len(addresses)} gateways are given; at most {MAX_GATEWAYS} are tried")
    return addresses


def registration_to_proto(
    node_id: int,
    ip_address: str,
    port: int,
    capabilities: Sequence[str],
    metadata: Mapping[str, str] | None,
    cluster_id: str,
    can_wait: bool,
) -> pb.RegisterNodeRequest:
    """The message; whether the gateway accepts what it says is the gateway's matter.

    Raises:
        WireError: no message can carry this.
    """
    try:
        return pb.RegisterNodeRequest(
            node_id=node_id,
            ip_address=ip_address,
            port=port,
            capabilities=capabilities,
            metadata=metadata or {},
            cluster_id=cluster_id,
            can_wait=can_wait,
        )
    except (TypeError, ValueError) as error:
        raise WireError(f"this is no registration: {error}") from None


@dataclass(frozen=True, slots=True)
class ClientArguments:
    """The command line of the client's program."""

    gateways: tuple[str, ...]
    gateway_port: int
    node_id: int
    ip: str
    port: int
    keys: str | None
    """Path of the key folder; None: in the open."""
    log_level: str


def parse(argv: Sequence[str] | None) -> ClientArguments:
    """Read the command line. Ends the process with code 2 where it is malformed."""
    parser = argparse.ArgumentParser(
        description="Register a node at a gateway and print what the gateway says. The gateway forgets the node again "
        "after its timeout, because nobody goes on sending heartbeats.",
        epilog="example: python gateway/grpc_gateway_client.py --gateway-port 8090 --node-id 1 --port 8891",
    )
    parser.add_argument(
        "--gateway-host",
        action="append",
        metavar="HOST[:PORT]",
        help="default: localhost; may be given several times, the next is asked where one does not answer",
    )
    parser.add_argument("--gateway-port", type=int, default=8090, help="of hosts without one (default: %(default)s)")
    parser.add_argument("--node-id", type=int, required=True, help="from 1 on")
    parser.add_argument("--ip", default="127.0.0.1", help="where other nodes reach this one (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8891, help="likewise (default: %(default)s)")
    trust = parser.add_mutually_exclusive_group()
    trust.add_argument(
        "--keys", help=f"key folder with the node's certificate (default: {DEFAULT_KEYS} if it is there)"
    )
    trust.add_argument("--insecure", action="store_true", help="speak in the open, whatever keys are there")
    parser.add_argument("--log-level", type=str.upper, choices=("DEBUG", "INFO", "WARNING", "ERROR"), default="ERROR")
    given = parser.parse_args(argv)
    keys = given.keys
    if keys is None and not given.insecure and KeyFolder(Path(DEFAULT_KEYS)).exists():
        keys = DEFAULT_KEYS
    gateways = tuple(given.gateway_host or ("localhost",))
    return ClientArguments(gateways, given.gateway_port, given.node_id, given.ip, given.port, keys, given.log_level)


def explain(error: RaftGossipError, arguments: ClientArguments) -> tuple[str, int]:
    """One line for people, and the exit code: 3: no gateway answered, 2: wrong use, 1: it refused."""
    if isinstance(error, TransportError):
        names = ", ".join(str(Address.parse(text, arguments.gateway_port)) for text in arguments.gateways)
        return f"no gateway answers at {names}; start one, or give another address ({error})", 3
    return str(error), 2 if isinstance(error, ConfigError | WireError) else 1


def report(is_bootstrap: bool, cluster: ClusterDict, stats: StatsDict | None) -> str:
    """What the gateway said, as lines."""
    leader = cluster["leader"]
    num_others = len(cluster["nodes"]) if not cluster["total_nodes"] else cluster["total_nodes"] - 1
    lines = [
        f"bootstrap: {is_bootstrap}",
        f"other nodes: {num_others}",
        "leader: " + ("none" if leader is None else f"node {leader['node_id']} at {leader['ip_address']}"),
        "stats: " + ", ".join(f"{name} {value}" for name, value in (stats or {}).items()),
    ]
    return "\n".join(lines)
