"""The one place where gRPC's ports and channels are opened: with mutual TLS, or openly where the operator says so.

A dialler always says whom it wants to reach (`trust.identity`): one node, or anybody of a role. TLS verifies that name,
so host names and IP addresses need not stand in any certificate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials

Options = Sequence[tuple[str, int | str]]


def open_channel(
    address: Address, credentials: LiveCredentials | None, server_name: str, options: Options = ()
) -> grpc.Channel:
    """A channel for threads. `server_name`: whom TLS must find there; not used without credentials."""
    if credentials is None:
        return grpc.insecure_channel(str(address), options=tuple(options))
    return grpc.secure_channel(
        str(address), _channel_credentials(credentials), options=_options_for(server_name, options)
    )


def open_aio_channel(
    address: Address, credentials: LiveCredentials | None, server_name: str, options: Options = ()
) -> grpc.aio.Channel:
    """The same, for an event loop."""
    if credentials is None:
        return grpc.aio.insecure_channel(str(address), options=tuple(options))
    return grpc.aio.secure_channel(
        str(address), _channel_credentials(credentials), options=_options_for(server_name, options)
    )


def open_port(server: grpc.Server, target: str, credentials: LiveCredentials | None) -> int:
    """Bind a server to `host:port`; returns the port. With credentials, callers must show a certificate of the
    federation, and a renewed one of the server's own is shown from the next connection on.

    Raises:
        RuntimeError: the address cannot be bound.
    """
    if credentials is None:
        return server.add_insecure_port(target)
    return server.add_secure_port(target, _server_credentials(credentials))


def _channel_credentials(credentials: LiveCredentials) -> grpc.ChannelCredentials:
    now = credentials.current()
    return grpc.ssl_channel_credentials(now.root_pem, now.key_pem, now.chain_pem)


def _options_for(server_name: str, options: Options) -> tuple[tuple[str, int | str], ...]:
    return (*options, ("grpc.ssl_target_name_override", server_name))


def _server_credentials(credentials: LiveCredentials) -> grpc.ServerCredentials:
    shown = credentials.generation

    def configuration() -> grpc.ServerCertificateConfiguration:
        now = credentials.current()
        return grpc.ssl_server_certificate_configuration([(now.key_pem, now.chain_pem)], now.root_pem)

    def changed_configuration() -> grpc.ServerCertificateConfiguration | None:
        nonlocal shown
        if shown == credentials.generation:
            return None
        shown = credentials.generation
        return configuration()

    fetcher: Any = changed_configuration  # the stubs do not know that None means "as before"
    return grpc.dynamic_ssl_server_credentials(configuration(), fetcher, True)
