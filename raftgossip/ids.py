"""The identifiers that every part of the system shares.

Plain numbers with a name of their own, so that a type checker tells a term from an index. How they are assigned is
not decided here.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import NewType

from raftgossip.errors import ConfigError

NodeId = NewType("NodeId", int)
"""A node of the system, from 1 on; 0 means "none" in messages and is refused as an id."""

Term = NewType("Term", int)
"""A Raft term, from 0 on (0: before the first election)."""

LogIndex = NewType("LogIndex", int)
"""A position in the Raft log, from 1 on; 0 is the position before the first entry."""

Epoch = NewType("Epoch", int)
"""A coordinated aggregation round, from 1 on; 0 is the state before the first."""

Incarnation = NewType("Incarnation", str)
"""One life of a node's process: differs between two starts of the same node."""

MAX_NODE_ID = 2**31 - 1
"""The largest node id: the gateway's messages carry it as an int32."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a peer or gateway can be dialled: host name or IP address, and a TCP port from 1 to 65535.

    Raises:
        ConfigError: the host is empty or has white space, or the port is out of range.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        if not self.host or self.host != "".join(self.host.split()):
            raise ConfigError(f"the host {self.host!r} is empty or has white space; give host:port")
        if not 0 < self.port < 65536:
            raise ConfigError(f"the port {self.port} of host {self.host!r} is not between 1 and 65535")

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Address:
        """Read `host:port`, `[v6]:port` or, with a default port, `host` alone.

        Raises:
            ConfigError: the text has no port and no default is given, is a URL, or one of the parts is malformed.
        """
        scheme, has_scheme, _ = text.partition("://")
        if has_scheme:
            raise ConfigError(f"the address {text!r} begins with {scheme}://; give host:port alone")
        host, separator, port_text = text.rpartition(":")
        if not separator or (":" in host and not host.startswith("[")) or port_text.endswith("]"):
            host, port_text = text, ""
        if not port_text:
            if default_port is None:
                raise ConfigError(f"the address {text!r} has no port; give host:port")
            port_text = str(default_port)
        if not port_text.isdecimal():
            raise ConfigError(f"the port {port_text!r} in {text!r} is not a number; give host:port")
        return cls(host.removeprefix("[").removesuffix("]"), int(port_text))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_node_id(value: int) -> NodeId:
    """Check a number that claims to be a node id.

    Raises:
        ConfigError: it is not between 1 and `MAX_NODE_ID`.
    """
    if not 1 <= value <= MAX_NODE_ID:
        raise ConfigError(f"the node id {value} is not between 1 and {MAX_NODE_ID} (0 means 'none')")
    return NodeId(value)
