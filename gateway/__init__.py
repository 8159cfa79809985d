"""Where newcomers ask for peers: a small program of its own, and the client and mixin that talk to it.

Everything that the gateway says is a hint which the dialled peer proves; when it is gone, nothing that runs stops.
The public names are loaded when first used, so that importing the package costs next to nothing; torch is never loaded.
"""

from __future__ import annotations

import importlib

_HOMES = {
    "GRPCGatewayClient": "gateway.grpc_gateway_client",
    "GRPCGatewayDiscoveryMixin": "gateway.grpc_gateway_client",
    "GRPCGatewayServer": "gateway.grpc_gateway_server",
}
_FORMER_HOMES = {
    "GatewayClient": "gateway.gateway_client",
    "GatewayDiscoveryMixin": "gateway.gateway_client",
    "GatewayServer": "gateway.gateway_server",
}
"""Names from the time of the HTTP gateway; who uses them is told what replaced them."""

__all__ = ["GRPCGatewayClient", "GRPCGatewayDiscoveryMixin", "GRPCGatewayServer"]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name) or _FORMER_HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
