"""Gateways, as the commands for people see them: asked one after the other, their silence explained, drawn as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from rich.console import Group, RenderableType
from rich.table import Table

from raftgossip.cli.dialling import why_silent
from raftgossip.cli.operator import NO_SUCH_METHOD
from raftgossip.cli.output import make_table
from raftgossip.cli.tables import ABSENT, clock_time, duration
from raftgossip.errors import ClusterUnreachable, ConfigError, RemoteError, TransportError
from raftgossip.ids import Address
from raftgossip.observe.escape import printable
from raftgossip.runtime.grpc_gateway_operator import (
    GatewayDocument,
    GatewayOperatorClient,
    LeaderDocument,
    NodeDocument,
    NodeEventDocument,
)
from raftgossip.trust.credentials import LiveCredentials

REDIAL_S = 1.0
NUM_SHOWN = 100
"""Nodes in the table for people; `--json` has all."""
KINDS = {
    "reset": "everybody who is there:",
    "joined": "joined",
    "updated": "changed",
    "suspected": "is silent",
    "left": "left",
    "leader": "leads",
}

Answer = TypeVar("Answer")


def ask_gateway(
    text: str, credentials: LiveCredentials | None, act: Callable[[GatewayOperatorClient], Answer]
) -> Answer:
    """Do `act` at the first gateway of the list `host:port,host:port` that answers.

    Raises:
        ConfigError: the text is no list of addresses, or something else than a gateway answers.
        ClusterUnreachable: none answers; says what to do.
        RaftGossipError: the gateway refused.
    """
    silent: list[str] = []
    for address in _addresses(text):
        client = GatewayOperatorClient(address, credentials)
        try:
            return act(client)
        except TransportError as error:
            silent.append(why_silent(address, "gateway", credentials, error))
        except RemoteError as error:
            raise _not_a_gateway(address, error) from error
        finally:
            client.close()
    raise ClusterUnreachable("; ".join(silent))


def watch_gateway(text: str, credentials: LiveCredentials | None) -> Iterator[NodeEventDocument]:
    """What changes at the first gateway that answers, without end; a connection that breaks is resumed where it ended.

    Raises: as `ask_gateway`, before the first answer.
    """
    version, registry_id, newest_kind = 0, "", ""
    while True:
        silent: list[str] = []
        for address in _addresses(text):
            client = GatewayOperatorClient(address, credentials)
            try:
                for event in client.watch(version, registry_id):
                    version, registry_id = event["registry_version"], event["registry_id"]
                    if (event["kind"], newest_kind) != (
                        "reset",
                        "reset",
                    ):  # an empty list begins anew with its first node
                        yield event
                    newest_kind = event["kind"]
            except TransportError as error:
                silent.append(why_silent(address, "gateway", credentials, error))
            except RemoteError as error:
                raise _not_a_gateway(address, error) from error
            finally:
                client.close()
        if silent and not newest_kind:
            raise ClusterUnreachable("; ".join(silent))
        time.sleep(REDIAL_S)


def gateway_view(document: GatewayDocument) -> Group:
    """What a gateway knows: a list of facts, and the nodes."""
    parts: list[RenderableType] = [make_table(("", ""), [(name, value) for name, value in _facts(document) if value])]
    if document["nodes"]:
        parts += ["", _nodes_table(document["nodes"])]
    if document["total_nodes"] > len(document["nodes"]):
        parts += ["", f"{document['total_nodes']} nodes are registered; --json shows all that are active."]
    return Group(*parts)


def event_line(event: NodeEventDocument) -> str:
    """One change as one line, for a list that grows."""
    node = event["node"]
    words = [f"version {event['registry_version']}" if event["registry_version"] else ""]
    if event["node_id"] is not None:
        words.append(f"node {event['node_id']}")
    words.append(KINDS.get(event["kind"], event["kind"]))
    if event["kind"] == "leader" and event["node_id"] is None:
        words[-1] = "no leader is known"
    if node is not None:
        words.append(f"at {node['address']}, {node['status']}")
    if event["term"] is not None:
        words.append(f"in term {event['term']}")
    return printable(f"{words[0]:<15} {' '.join(words[1:])}")


def _facts(document: GatewayDocument) -> list[tuple[str, str]]:
    suspected = f", {document['suspected_nodes']} silent" if document["suspected_nodes"] else ""
    return [
        ("gateway", f"{document['gateway']}, version {document['version']}"),
        ("cluster", document["cluster_id"] or _unknown_cluster(document)),
        ("nodes", f"{document['total_nodes']} registered, {document['active_nodes']} active{suspected}"),
        ("leader", _leader(document["leader"])),
        (
            "registry",
            f"version {document['registry_version']}"
            + (f" of {document['registry_id']}" if document["registry_id"] else ""),
        ),
        ("watched by", str(document["watchers"]) if document["watchers"] else ""),
        ("gateways", ", ".join(document["gateways"])),
        ("settings", ", ".join(f"{name}={value}" for name, value in sorted(document["settings"].items()))),
        ("up", duration(int(document["uptime_s"] * 1000))),
    ]


def _unknown_cluster(document: GatewayDocument) -> str:
    if document["is_founding"]:
        return "its id is not known here yet; a node was named that may found it"
    return "none is known: the first node that registers may found one"


def _leader(leader: LeaderDocument | None) -> str:
    if leader is None:
        return "none was reported"
    term = f", term {leader['term']}" if leader["term"] is not None else ""
    age = f", reported {leader['age_ms'] / 1000:.1f} s ago" if leader["age_ms"] is not None else ""
    return f"node {leader['node_id']} at {leader['address']}{term}{age}"


def _nodes_table(nodes: list[NodeDocument]) -> Table:
    rows = [
        (
            str(node["node_id"]),
            node["status"],
            node["address"],
            node["identity"] or ABSENT,
            clock_time(int(node["last_seen"] * 1000)),
            ", ".join(node["capabilities"]) or ABSENT,
            ", ".join(f"{key}={value}" for key, value in sorted(node["metadata"].items())) or ABSENT,
        )
        for node in nodes
    ]
    return make_table(("node", "status", "address", "identity", "seen at", "capabilities", "metadata"), rows)


def _addresses(text: str) -> list[Address]:
    found = [Address.parse(part.strip()) for part in text.split(",") if part.strip()]
    if not found:
        raise ConfigError("no gateway to ask: give --gateway HOST:PORT, or set RAFTGOSSIP_GATEWAY")
    return found


def _not_a_gateway(address: Address, error: RemoteError) -> Exception:
    """The error, or what it means if the method is not known there."""
    if str(error).startswith(NO_SUCH_METHOD):
        return ConfigError(
            f"{address} is no gateway, or one of an earlier version that cannot do this: give the address of a gateway"
        )
    return error
