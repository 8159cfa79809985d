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

__all__ = ["GRPCGatewayClient", "GRPCGatewayDiscoveryMixin", "GRPCGatewayServer"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
