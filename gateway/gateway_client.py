"""The client's names from the time when the gateway spoke HTTP; they still work, and say what replaced them.

An alias is a class, because users derive from the mixin and ask `isinstance`; it adds nothing but the warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

if not __package__:  # entered as a file of this folder, not as a part of the package
    import checkout_path  # type: ignore[import-not-found]  # noqa: F401

from gateway.answers import RegistrationDict
from gateway.client_keys import Keys
from gateway.former_names import renaming
from gateway.grpc_gateway_client import GRPCGatewayClient, GRPCGatewayDiscoveryMixin


class GatewayClient(GRPCGatewayClient):
    """The former name of `GRPCGatewayClient`."""

    def __init__(
        self,
        gateway_host: str | Sequence[str] = "localhost",
        gateway_port: int = 8090,
        timeout: float = 10.0,
        max_retry_attempts: int = 3,
    ) -> None:
        """Warns; else as `GRPCGatewayClient`."""
        text = renaming("GatewayClient", "gateway.GRPCGatewayClient", gateway_port)
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        super().__init__(gateway_host, gateway_port, timeout, max_retry_attempts)


class GatewayDiscoveryMixin(GRPCGatewayDiscoveryMixin):
    """The former name of `GRPCGatewayDiscoveryMixin`."""

    def initialize_gateway_discovery(
        self,
        gateway_host: str | Sequence[str],
        gateway_port: int,
        node_id: int,
        ip_address: str,
        port: int,
        capabilities: Sequence[str],
        metadata: Mapping[str, str] | None = None,
        on_registration_success: Callable[[RegistrationDict], object] | None = None,
        on_registration_failure: Callable[[str], object] | None = None,
        *,
        gateways: Sequence[str] = (),
        keys: Keys = None,
        cluster_id: str = "",
        can_wait: bool = False,
    ) -> bool:
        """Warns; else as in `GRPCGatewayDiscoveryMixin`."""
        text = renaming("GatewayDiscoveryMixin", "gateway.GRPCGatewayDiscoveryMixin", gateway_port)
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return super().initialize_gateway_discovery(
            gateway_host,
            gateway_port,
            node_id,
            ip_address,
            port,
            capabilities,
            metadata,
            on_registration_success,
            on_registration_failure,
            gateways=gateways,
            keys=keys,
            cluster_id=cluster_id,
            can_wait=can_wait,
        )
