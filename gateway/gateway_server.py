"""The server's name from the time when the gateway spoke HTTP; it still works, and says what replaced it."""

from __future__ import annotations

import warnings

if not __package__:  # entered as a file of this folder, not as a part of the package
    import checkout_path  # type: ignore[import-not-found]  # noqa: F401

from gateway.former_names import renaming
from gateway.grpc_gateway_server import GRPCGatewayServer


class GatewayServer(GRPCGatewayServer):
    """The former name of `GRPCGatewayServer`."""

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8090,
        node_timeout: float = 300,
        heartbeat_interval: float = 30,
        max_workers: int = 10,
    ) -> None:
        """Warns; else as `GRPCGatewayServer`."""
        text = renaming("GatewayServer", "gateway.GRPCGatewayServer", port)
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        super().__init__(host, port, node_timeout, heartbeat_interval, max_workers)
