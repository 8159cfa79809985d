"""The gateway as a program: the registry behind gRPC, on one port, until it is told to stop.

`GRPCGatewayServer` runs it in the background of any program; `main` is its command line.
"""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

if not __package__:  # entered as a file of this folder, not as a part of the package
    import checkout_path  # type: ignore[import-not-found]  # noqa: F401

import grpc

from gateway.clock import now
from gateway.grpc_gateway_service import GatewayService
from gateway.registry import Registry
from raftgossip.errors import ConfigError
from raftgossip.ids import Address

MAX_MESSAGE_BYTES = 1024 * 1024
"""Larger requests are refused; a full registration has below 40 kB."""
MAX_METADATA_BYTES = 8 * 1024
MAX_CALLS = 512
"""Calls that wait or run at once; gRPC refuses more with RESOURCE_EXHAUSTED."""
STOP_GRACE_S = 0.5
"""Calls that run when the gateway stops may take so long."""

SERVER_OPTIONS = (
    # Without this two gateways on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    # Half-open sockets would otherwise hold their descriptors for minutes.
    ("grpc.server_handshake_timeout_ms", 3_000),
)

_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

logger = logging.getLogger(__name__)


class GRPCGatewayServer:
    """A gateway that runs in threads of its own.

    The registry lives as long as this object: a gateway that is stopped and started again still knows its nodes.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8090,
        node_timeout: float = 300,
        heartbeat_interval: float = 30,
        max_workers: int = 10,
        max_nodes: int = 20_000,
    ) -> None:
        """Nothing is bound before `start`.

        Args:
            host: the name or address to listen at; all addresses of a name are bound.
            port: 0 picks a free one, see `port`.
            node_timeout: seconds of silence after which a node is forgotten; below three heartbeat intervals a lost
                packet drops healthy nodes.
            heartbeat_interval: seconds between heartbeats, as nodes are asked to send them.
            max_workers: threads that answer; more let more slow callers in at once.
            max_nodes: registrations beyond this are refused.

        Raises:
            ConfigError: an argument is out of its range.
        """
        if port != 0:  # which lets the system pick one
            Address(host, port)
        for name, seconds in (("node_timeout", node_timeout), ("heartbeat_interval", heartbeat_interval)):
            if not 0 < seconds <= threading.TIMEOUT_MAX:
                raise ConfigError(f"{name} is {seconds} s; it must be positive and finite")
        if max_workers < 1:
            raise ConfigError(f"max_workers is {max_workers}; it must be at least 1")
        self.host = host
        self.node_timeout = node_timeout
        self.heartbeat_interval = heartbeat_interval
        self.max_workers = max_workers
        self._port = port
        self._registry = Registry(int(node_timeout * 1000), max_nodes)
        self._lock = threading.Lock()
        self._running: _Running | None = None

    @property
    def port(self) -> int:
        """Where it listens while it runs, else where it was told to."""
        running = self._running
        return self._port if running is None else running.port

    def start(self) -> None:
        """Listen and return; does nothing if it runs already.

        Raises:
            ConfigError: the port is in use, or the host is not an address of this machine.
        """
        with self._lock:
            if self._running is not None:
                return
            service = GatewayService(self._registry, now, self.heartbeat_interval)
            self._running = _Running(service, self.host, self._port, self.max_workers)
            address = Address(self.host, self._running.port)
            logger.info("listening on %s", address)
            if not address.is_loopback:
                logger.warning(
                    "OTHER MACHINES CAN REACH %s, AND NOTHING IS ENCRYPTED OR AUTHENTICATED: "
                    "anybody who can connect may change the list of nodes. Use it on trusted networks only.",
                    address,
                )

    def stop(self) -> None:
        """End what runs and wait until the port is free; does nothing if it does not run."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.stop()


class _Running:
    """One stretch between a start and a stop: gRPC's server, its threads, and the thread that forgets the silent."""

    def __init__(self, service: GatewayService, host: str, port: int, max_workers: int) -> None:
        self._service = service
        self._threads = ThreadPoolExecutor(max_workers, thread_name_prefix="gateway")
        self._server = grpc.server(self._threads, options=SERVER_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self._server.add_generic_rpc_handlers((service.handlers(),))
        try:
            self.port = _bind(self._server, host, port)
        except ConfigError:
            self._server.stop(None)
            self._threads.shutdown()
            raise
        self._server.start()
        self._stopping = threading.Event()
        self._cleaner = threading.Thread(target=self._clean_up, name="gateway-clean-up", daemon=True)
        self._cleaner.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.stop(STOP_GRACE_S).wait()
        self._threads.shutdown()
        self._cleaner.join()

    def _clean_up(self) -> None:
        while not self._stopping.wait(self._service.clean_up()):
            pass


def _bind(server: grpc.Server, host: str, port: int) -> int:
    """Bind all addresses of the host to one port; returns it.

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
            port = server.add_insecure_port(f"[{ip}]:{port}" if family == socket.AF_INET6 else f"{ip}:{port}")
        except (OSError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "somebody has just taken it"
            raise ConfigError(
                f"cannot listen on {host}:{port}: {reason}; choose another port, or end the program that holds it"
            ) from None
    return port


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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gateway",
        description="Run a gateway: where newcomers ask for peers. Training goes on without it.",
        epilog="example: python -m gateway --host 0.0.0.0 --port 8090 --node-timeout 300",
    )
    parser.add_argument("--host", default="localhost", help="name or address to listen at (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8090, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--max-workers", type=int, default=10, help="threads that answer (default: %(default)s)")
    parser.add_argument("--node-timeout", type=float, default=300.0, help="seconds of silence (default: %(default)g)")
    parser.add_argument("--heartbeat-interval", type=float, default=30.0, help="seconds (default: %(default)g)")
    parser.add_argument("--log-level", type=str.upper, choices=_LOG_LEVELS, default="INFO")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a gateway until SIGINT or SIGTERM; returns the exit code: 0, or 2 for wrong use."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # The signals are waited for, not handled: a handler could interrupt this thread at any line.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        server = GRPCGatewayServer(
            arguments.host,
            arguments.port,
            arguments.node_timeout,
            arguments.heartbeat_interval,
            arguments.max_workers,
        )
        server.start()
        print(f"gateway listening on {Address(server.host, server.port)}", flush=True)  # noqa: T201
        received = signal.sigwait(_STOP_SIGNALS)
        logger.info("stopping on %s", signal.Signals(received).name)
        server.stop()
    except ConfigError as error:
        print(f"raftgossip: {error}", file=sys.stderr)  # noqa: T201
        return 2
    finally:
        while signal.sigtimedwait(_STOP_SIGNALS, 0):
            pass  # an impatient second Ctrl-C must not become a traceback now
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
