"""One stretch of a gateway between a start and a stop: gRPC's server, its threads, and the thread that keeps house."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import grpc

from gateway.administration import GatewayAdministration
from gateway.clock import monotonic_seconds, now
from gateway.grpc_calls import CallGate, Routes
from gateway.grpc_gateway_service import GatewayService
from gateway.grpc_health_service import HealthService
from gateway.grpc_sync import RegistrySync
from gateway.grpc_watch import Watch
from gateway.limits import MAX_HELD, CallLimits
from gateway.listening import bind_all, first_address
from gateway.live_settings import LiveSettings
from gateway.long_reads import LongReads
from gateway.metrics import CallCounts, MetricsPage
from gateway.metrics_port import MetricsPort
from gateway.node_messages import node_to_proto
from gateway.shared_registry import SharedRegistry
from gateway.worker_threads import WorkerThreads
from raftgossip import __version__
from raftgossip.errors import ConfigError
from raftgossip.ids import Address
from raftgossip.trust.callers import Callers
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.wire.channels import open_port

MAX_MESSAGE_BYTES = 1024 * 1024
"""Larger requests are refused; a full registration has below 40 kB."""
MAX_METADATA_BYTES = 8 * 1024
STOP_GRACE_S = 0.5
"""Calls that run when the gateway stops may take so long."""
ROUND_S = 1.0
"""The thread that keeps house goes around so often: the disk is never further behind."""
BEHIND_S = 0.2
"""The same while calls wait for a thread: those that wait for silent callers are replaced then."""
FILES_S = 2.0
"""So often it looks whether keys, revocations and settings have changed."""

# The calls of one connection are not limited: a burst on a new one, whose caller has not heard of the limit yet, would
# fail as if the gateway were down. What is too much is refused by the count of all calls, with a sentence.
SERVER_OPTIONS = (
    # Without this two gateways on one port would share its connections silently.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
    # Half-open sockets would otherwise hold their descriptors for minutes.
    ("grpc.server_handshake_timeout_ms", 3_000),
    # Nodes may look whether an idle connection still lives.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
)
TLS_OPTIONS = (
    # So everybody proves anew who he is, and sees a renewed certificate; callers do not notice.
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 60_000),
)

logger = logging.getLogger(__name__)


class Running:
    """Begins to listen when it is made."""

    def __init__(
        self, live: LiveSettings, port: int, shared: SharedRegistry, credentials: LiveCredentials | None
    ) -> None:
        """Raises:
        ConfigError: a port is in use, or the host is not an address of this machine.
        """
        settings = live.current()
        started = now()
        callers = Callers(credentials, lambda: now().wall_seconds)
        self._shared = shared
        self._threads = WorkerThreads(settings.max_workers, MAX_HELD, "gateway")
        self._limits = CallLimits(settings, lambda: int(monotonic_seconds() * 1000), self._threads.waiting)
        self._counts = CallCounts()
        self._health = HealthService()
        long_reads = LongReads(lambda: int(monotonic_seconds() * 1000))
        self._watch = Watch(shared, node_to_proto, settings.max_watchers, long_reads)
        others = [Address.parse(each) for each in settings.gateways]
        self._sync = RegistrySync(shared, others, credentials)
        self.administration = GatewayAdministration(live, shared, self._limits, credentials, self._sync.states)
        self._gate = CallGate(callers, self._limits, self._counts)
        service = GatewayService(shared, self.administration, self._watch, long_reads, started)
        self._server = grpc.server(
            cast(ThreadPoolExecutor, self._threads),  # it only ever submits
            options=SERVER_OPTIONS if credentials is None else (*SERVER_OPTIONS, *TLS_OPTIONS),
            maximum_concurrent_rpcs=settings.max_calls + settings.max_watchers,
        )
        self._server.add_generic_rpc_handlers((Routes(self._gate, service.handlers(self._gate, self._health)),))
        self._metrics: MetricsPort | None = None
        self._stopping = threading.Event()
        self._house_keeper = threading.Thread(target=self._keep_house, name="gateway-house", daemon=True)
        try:
            self.port = bind_all(settings.host, port, lambda target: open_port(self._server, target, credentials))
            if settings.metrics_port is not None:
                host = first_address(settings.host)
                page = MetricsPage(self._counts, self._gauges, __version__)
                self._metrics = MetricsPort(host, settings.metrics_port, page, credentials, callers)
        except ConfigError:
            self._server.stop(None)
            self._threads.shutdown()
            self._watch.threads.shutdown()
            raise
        self._start()

    @property
    def metrics_port(self) -> int | None:
        """Where the metrics are; None: nowhere."""
        return None if self._metrics is None else self._metrics.port

    def stop(self) -> None:
        """End what runs and wait until the ports are free."""
        self._health.stop()
        self._stopping.set()
        self._sync.stop()
        self._shared.stop()
        self._limits.stop()
        self._server.stop(STOP_GRACE_S).wait()
        self._threads.shutdown()
        self._watch.threads.shutdown()
        if self._metrics is not None:
            self._metrics.stop()
        self._house_keeper.join()
        self.administration.save()

    def _start(self) -> None:
        self.administration.look_after_keys(now().wall_seconds)
        self._shared.begin()
        self._server.start()
        if self._metrics is not None:
            self._metrics.start()
        self._sync.start()
        self._house_keeper.start()

    def _gauges(self) -> Any:
        return self.administration.gauges(self._watch.num_watchers, now().wall_seconds)

    def _keep_house(self) -> None:
        looked_s, pause_s = monotonic_seconds(), 0.0
        while not self._stopping.wait(pause_s):
            is_behind = self._threads.num_queued > 0
            pause_s = BEHIND_S if is_behind else ROUND_S
            try:
                self._threads.look_after(self._gate.num_silent() if is_behind else 0)
                pause_s = min(pause_s, self._shared.pass_time())
                self.administration.save()
                if monotonic_seconds() - looked_s >= FILES_S:
                    looked_s = monotonic_seconds()
                    self._look_around()
            except Exception:  # the gateway must go on; nobody would notice that this thread has ended
                logger.exception("keeping house failed")

    def _look_around(self) -> None:
        self.administration.reload()
        self.administration.look_after_keys(now().wall_seconds)
        self._gate.cut_off_silent()
        self._watch.cut_off_slow()
