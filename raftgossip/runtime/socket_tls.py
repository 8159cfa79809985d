"""Mutual TLS for sockets of the event loop: the same certificates, checks and names as on gRPC's ports."""

from __future__ import annotations

import asyncio
import ssl

from raftgossip.errors import TransportError
from raftgossip.trust.credentials import LiveCredentials


class SocketTls:
    """What both ends show and demand. Belongs to the event loop's thread.

    A renewed certificate counts for the next connection.
    """

    def __init__(self, credentials: LiveCredentials) -> None:
        self._credentials = credentials
        self._contexts: dict[ssl._SSLMethod, tuple[int, ssl.SSLContext]] = {}

    def server_context(self) -> ssl.SSLContext:
        """For who answers: callers must show a certificate of the federation.

        Raises:
            TransportError: there never was a usable pair of key and certificate in the files.
        """
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client_context(self) -> ssl.SSLContext:
        """For who dials: it must find the server name that it asks for.

        Raises:
            TransportError: as `server_context`.
        """
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _context(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        generation = self._credentials.generation
        known = self._contexts.get(protocol)
        if known is not None and known[0] == generation:
            return known[1]
        try:
            context = self._load(protocol)
        except OSError as error:  # ssl.SSLError is one, too
            if known is None:
                raise TransportError(f"no usable key and certificate: {error}") from None
            return known[1]  # the files are just being renewed
        self._contexts[protocol] = (generation, context)
        return context

    def _load(self, protocol: ssl._SSLMethod) -> ssl.SSLContext:
        now = self._credentials.current()
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3  # both ends are this program
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=now.root_pem.decode("ascii"))
        context.load_cert_chain(now.chain_path, now.key_path)
        if protocol is ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # each connection proves anew who it is
        return context


def certificate_of(transport: asyncio.BaseTransport) -> bytes:
    """The certificate at the other end, PEM; empty: there is none."""
    session: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    data = session.getpeercert(binary_form=True) if session is not None else None
    return ssl.DER_cert_to_PEM_cert(data).encode() if data else b""


def address_of(transport: asyncio.BaseTransport) -> str:
    """Where the other end is, as gRPC writes it."""
    host, port, *_ = transport.get_extra_info("peername") or ("", 0)
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
