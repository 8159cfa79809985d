"""The addresses at which a gateway listens: all that its host's name stands for, and nobody else's."""

from __future__ import annotations

import socket
from collections.abc import Callable

from raftgossip.errors import ConfigError


def bind_all(host: str, port: int, open_port: Callable[[str], int]) -> int:
    """Bind all addresses of the host to one port; returns it. `open_port` binds one target and returns its port.

    gRPC is content when it could bind one of them. Then `localhost` would be served by two programs, one on 127.0.0.1
    and one on ::1, and which of them answers would depend on the caller. So each address is tried by itself first.

    Raises:
        ConfigError: the port is in use, or this machine has no such address.
    """
    for family, ip in _addresses(host):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((ip, port))
                probe.listen(1)  # binding alone succeeds at an address that another binds but does not listen at
            port = open_port(f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}")
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "somebody has just taken it"
            raise ConfigError(
                f"cannot listen on {host}:{port}: {reason}; choose another port, or end the program that holds it"
            ) from None
    return port


def first_address(host: str) -> str:
    """One IP address of the host, for what listens at one only.

    Raises:
        ConfigError: this machine has no such address.
    """
    return _addresses(host)[0][1]


def _addresses(host: str) -> list[tuple[int, str]]:
    """The (family, IP) pairs of a host that this machine has: `localhost` may have ::1 where IPv6 is switched off.

    Raises:
        ConfigError: there are none.
    """
    reason: str | None = "it has no address"
    here: list[tuple[int, str]] = []
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family) as probe:
                    probe.bind(address)
                here.append((family, str(address[0])))
            except OSError as error:
                reason = error.strerror
    except (OSError, UnicodeError) as error:
        reason = str(error)
    if not here:
        raise ConfigError(f"cannot listen on {host!r}: {reason}; give a name or an address of this machine")
    return here
