"""The port at which Prometheus reads the metrics: plain HTTP in the open, mutual TLS where there are certificates.

Each connection is handled in a thread of its own with a time limit, the handshake too: with one that never ends, the
library's own server would stand still for everybody.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gateway.log_lines import Event
from gateway.metrics import CONTENT_TYPE, MetricsPage
from raftgossip.errors import ConfigError, RaftGossipError
from raftgossip.trust.callers import Callers
from raftgossip.trust.credentials import Credentials, LiveCredentials
from raftgossip.trust.policy import require_right

PATIENCE_S = 5.0
"""A reader that says nothing for so long is cut off."""
POLL_S = 0.1
"""How late it notices that it is stopped."""
MAX_READERS = 8
"""Connections at once; more are closed at once."""
SAME_RIGHT_AS = "/GatewayService/GetStats"
"""Who may ask for the statistics may read the metrics."""

logger = logging.getLogger(__name__)


class MetricsPort:
    """Listens from its construction on, and answers between `start` and `stop`."""

    def __init__(
        self, host: str, port: int, page: MetricsPage, credentials: LiveCredentials | None, callers: Callers
    ) -> None:
        """`credentials` None: anybody may read.

        Raises:
            ConfigError: the port is in use, or the host is not an address of this machine.
        """
        tls = None if credentials is None else _Tls(credentials)
        try:
            self._server = _Listener((host, port), _Reader)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"metrics_port: cannot listen on {host}:{port}: {error}; choose another port") from None
        self._server.page, self._server.tls, self._server.callers = page, tls, callers
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="gateway-metrics", daemon=True
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Listener(ThreadingHTTPServer):
    """Threads, but not without end."""

    daemon_threads = True
    page: MetricsPage
    callers: Callers
    tls: _Tls | None

    def __init__(self, address: tuple[str, int], reader: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(MAX_READERS)
        super().__init__(address, reader)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread, if there is one for it."""
        if self._slots.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's signature
        """A reader that broke off, or was no member of the federation."""
        logger.debug(Event("a reader of the metrics broke off", address=client_address[0]), exc_info=True)


class _Reader(BaseHTTPRequestHandler):
    """One connection."""

    server: _Listener

    def setup(self) -> None:
        """Shake hands, if it is TLS."""
        self.request.settimeout(PATIENCE_S)
        if self.server.tls is not None:
            self.request = self.server.tls.context().wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        """Close what the handshake has made; the library closes only what it was given."""
        super().finish()
        if self.server.tls is not None:
            self.request.close()

    def do_GET(self) -> None:
        """Answer the only page that there is."""
        status, kind, body = 404, "text/plain", b"the metrics are at /metrics\n"
        if self.path.partition("?")[0] == "/metrics":
            status, kind, body = self._page()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _page(self) -> tuple[int, str, bytes]:
        if self.server.tls is not None:
            der = self.request.getpeercert(binary_form=True)
            pem = ssl.DER_cert_to_PEM_cert(der).encode() if der else b""
            try:
                caller = self.server.callers.of_certificate(pem, f"ipv4:{self.client_address[0]}:0")
                require_right(caller, SAME_RIGHT_AS)
            except RaftGossipError as error:
                return 403, "text/plain", f"{error}\n".encode()
        return 200, CONTENT_TYPE, self.server.page.text()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Nothing: a line each 15 seconds would hide the others."""


class _Tls:
    """The context for the next connection: made anew when the certificate was renewed."""

    def __init__(self, credentials: LiveCredentials) -> None:
        self._credentials = credentials
        self._generation = credentials.generation
        self._context = _context_of(credentials.current())

    def context(self) -> ssl.SSLContext:
        if self._generation != self._credentials.generation:
            try:
                self._context = _context_of(self._credentials.current())
                self._generation = self._credentials.generation
            except (OSError, ssl.SSLError) as error:  # in the middle of a renewal; the old one counts for a while
                logger.info(Event("the metrics still show the old certificate", reason=str(error)))
        return self._context


def _context_of(now: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=now.root_pem.decode())
    context.load_cert_chain(now.chain_path, now.key_path)
    return context
