"""The gateway as a program: the registry behind gRPC, on one port, until it is told to stop.

`GRPCGatewayServer` runs it in the background of any program; `main` is its command line.
"""

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # entered as a file of this folder, not as a part of the package
    import checkout_path  # type: ignore[import-not-found]  # noqa: F401

from gateway.administration import registry_settings_of
from gateway.clock import now
from gateway.grpc_running import MAX_MESSAGE_BYTES, MAX_METADATA_BYTES, Running
from gateway.live_settings import LiveSettings
from gateway.log_lines import Event, set_up_logging
from gateway.program import read_arguments
from gateway.registry import Registry
from gateway.registry_store import FILE_NAME, RegistryStore
from gateway.settings import GatewaySettings, load_toml, make_settings
from gateway.shared_registry import SharedRegistry
from raftgossip.errors import ConfigError
from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role

__all__ = ["MAX_MESSAGE_BYTES", "MAX_METADATA_BYTES", "GRPCGatewayServer", "main"]

_STOP_SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_RELOAD_SIGNALS = frozenset({signal.SIGHUP})

logger = logging.getLogger(__name__)


class GRPCGatewayServer:
    """A gateway that runs in threads of its own.

    The registry lives as long as this object, and with a data directory longer: a gateway that is stopped and started
    again still knows its nodes.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 8090,
        node_timeout: float = 300,
        heartbeat_interval: float = 30,
        max_workers: int = 10,
        max_nodes: int = 20_000,
        *,
        keys: Path | str | KeyFolder | LiveCredentials | None = None,
        config: Path | str | None = None,
        **others: object,
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
            keys: the key folder, or this gateway's own credentials: every caller must then show a certificate of the
                federation. None: anybody may call.
            config: a TOML file; its values stand in for the arguments that are not given here or as they are by
                default, and those that may change are followed when it changes.
            others: any further setting of `GatewaySettings`, e.g. `data_dir`, `gateways`, `rebuild_grace`,
                `metrics_port`, `rate_per_s`, `max_watchers`.

        Raises:
            ConfigError: an argument is unknown or out of its range, or there is no certificate for a gateway.
        """
        given: dict[str, object] = {
            "host": host,
            "port": port,
            "node_timeout": node_timeout,
            "heartbeat_interval": heartbeat_interval,
            "max_workers": max_workers,
            "max_nodes": max_nodes,
            **others,
        }
        folder = keys.path if isinstance(keys, KeyFolder) else keys
        if isinstance(folder, Path | str):
            given["keys"] = folder
        path = None if config is None else Path(config)
        if path is not None:
            defaults = GatewaySettings()
            given = {key: value for key, value in given.items() if value != getattr(defaults, key, None)}
            given = load_toml(path) | given
        self._set_up(make_settings(**given), path, folder if isinstance(folder, LiveCredentials) else None)

    @classmethod
    def from_settings(cls, settings: GatewaySettings, config: Path | None = None) -> GRPCGatewayServer:
        """One with exactly these settings. `config`: the file that they were read from, to be followed.

        Raises:
            ConfigError: there is no certificate for a gateway in the key folder.
        """
        server = cls.__new__(cls)
        server._set_up(settings, config, None)  # noqa: SLF001 - its own class
        return server

    def _set_up(self, settings: GatewaySettings, config: Path | None, credentials: LiveCredentials | None) -> None:
        if settings.port != 0:  # which lets the system pick one
            Address(settings.host, settings.port)
        if credentials is None and settings.keys is not None and not settings.insecure:
            credentials = _credentials_of(settings.keys, settings.name)
        self.host = settings.host
        self.max_workers = settings.max_workers
        self._live = LiveSettings(settings, config)
        self._credentials = credentials
        self._registry: Registry | None = None
        self._store: RegistryStore | None = None
        self._lock = threading.Lock()
        self._running: Running | None = None

    @property
    def settings(self) -> GatewaySettings:
        """Those in force now."""
        return self._live.current()

    @property
    def node_timeout(self) -> float:
        """Seconds of silence after which a node is forgotten."""
        return self.settings.node_timeout

    @property
    def heartbeat_interval(self) -> float:
        """Seconds between heartbeats, as nodes are asked to send them."""
        return self.settings.heartbeat_interval

    @property
    def port(self) -> int:
        """Where it listens while it runs, else where it was told to."""
        running = self._running
        return self.settings.port if running is None else running.port

    @property
    def metrics_port(self) -> int | None:
        """Where Prometheus finds /metrics while it runs; None: nowhere."""
        running = self._running
        return None if running is None else running.metrics_port

    def start(self) -> None:
        """Listen and return; does nothing if it runs already.

        Raises:
            ConfigError: the port is in use, the host is not an address of this machine, or the data directory cannot
                be used.
            StorageError: it has no room.
        """
        with self._lock:
            if self._running is not None:
                return
            shared = self._open_registry()
            try:
                self._running = Running(self._live, self.settings.port, shared, self._credentials)
            except ConfigError:
                self._close_store()
                raise
            address = Address(self.host, self._running.port)
            logger.info(Event("listening", address=address, tls=self._credentials is not None))
            if self._credentials is None and not address.is_loopback:
                logger.warning(
                    "OTHER MACHINES CAN REACH %s, AND NOTHING IS ENCRYPTED OR AUTHENTICATED: anybody who can connect "
                    "may change the list of nodes. Make keys with `raftgossip keys init`, or use it on trusted "
                    "networks only.",
                    address,
                )

    def stop(self) -> None:
        """End what runs and wait until the port is free; does nothing if it does not run."""
        with self._lock:
            running, self._running = self._running, None
            if running is not None:
                running.stop()
                self._close_store()

    def reload(self) -> None:
        """Read the settings' file and the keys again now; what is wrong with them is only told in the log."""
        running = self._running
        if running is not None:
            running.administration.reload(even_if_unchanged=True)
            running.administration.look_after_keys(now().wall_seconds)

    def _open_registry(self) -> SharedRegistry:
        settings = self.settings
        if settings.data_dir is not None:
            self._store = RegistryStore(settings.data_dir / FILE_NAME)
        if self._registry is None:
            memory = None if self._store is None else self._store.load()
            # Ids must be such that nobody can guess them, and samples such that nobody can choose his neighbours.
            self._registry = Registry(registry_settings_of(settings), random.SystemRandom(), now(), memory)
        return SharedRegistry(self._registry, now, self._store)

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _credentials_of(path: Path, name: str | None) -> LiveCredentials:
    folder = KeyFolder(path)
    if not folder.exists():
        raise ConfigError(
            f"keys: {path} is no key folder, it has no federation.pem; make one with `raftgossip keys init`, or give "
            "--insecure"
        )
    try:
        credentials = folder.credentials(Role.GATEWAY, name)
    except ConfigError as error:
        raise ConfigError(f"{error}; or give --insecure") from None
    credentials.current().require_valid(now().wall_seconds)
    return credentials


def main(argv: Sequence[str] | None = None) -> int:
    """Run a gateway until SIGINT or SIGTERM; returns the exit code: 0, or 2 for wrong use."""
    try:
        settings, config = read_arguments(argv)
    except ConfigError as error:
        print(f"raftgossip: {error}", file=sys.stderr)  # noqa: T201
        return 2
    set_up_logging(settings)
    # The signals are waited for, not handled: a handler could interrupt this thread at any line. Without a file to read
    # again, the end of a terminal ends the gateway.
    awaited = _STOP_SIGNALS if config is None else _STOP_SIGNALS | _RELOAD_SIGNALS
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        server = GRPCGatewayServer.from_settings(settings, config)
        server.start()
        print(f"gateway listening on {Address(server.host, server.port)}", flush=True)  # noqa: T201
        while (received := signal.sigwait(awaited)) in _RELOAD_SIGNALS:
            server.reload()
        logger.info(Event("stopping", signal=signal.Signals(received).name))
        server.stop()
    except ConfigError as error:
        print(f"raftgossip: {error}", file=sys.stderr)  # noqa: T201
        return 2
    finally:
        while signal.sigtimedwait(awaited, 0):
            pass  # an impatient second Ctrl-C must not become a traceback now
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
