"""Keeps a gateway's list equal to those of the other gateways: a thread for each asks it every second what changed.

What is made of the answers is decided in `syncing.py`. A gateway that does not answer is asked on and on; that is told
once in the log, and once when it answers again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import grpc

from gateway.clock import monotonic_seconds
from gateway.log_lines import Event
from gateway.shared_registry import SharedRegistry
from gateway.sync_codec import answer_from_proto, may_be_cut
from gateway.syncing import SyncAnswer, join_answers
from raftgossip.errors import RaftGossipError, TransportError
from raftgossip.ids import Address
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.status import error_from_rpc

INTERVAL_S = 1.0
"""How late one gateway learns what another hears. Shorter: more calls, which cost little while nothing changes."""
ANSWER_TIMEOUT_S = 5.0
MAX_PARTS = 100
"""Answers that are put together; a list of so many times 3 MiB is beyond all bounds."""
CHANNEL_OPTIONS = (
    # A gateway that is back is to be noticed within a second or two, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

logger = logging.getLogger(__name__)


class RegistrySync:
    """The threads that ask the other gateways. Started and stopped once."""

    def __init__(
        self,
        shared: SharedRegistry,
        others: Sequence[Address],
        credentials: LiveCredentials | None,
        interval_s: float = INTERVAL_S,
    ) -> None:
        """Nothing is dialled before `start`.

        Args:
            shared: the registry to keep equal; its settings name the same gateways, by `str(address)`.
            others: where the other gateways listen.
            credentials: of this gateway; whoever answers must be a gateway of the same federation. None: in the open.
            interval_s: seconds between two questions to one of them.
        """
        self._stopping = threading.Event()
        self._links = [_Link(shared, address, credentials) for address in others]
        self._threads = [
            threading.Thread(
                target=self._run, args=(link, interval_s), name=f"gateway-sync-{link.address}", daemon=True
            )
            for link in self._links
        ]

    def start(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End what runs and wait for it. Harmless when repeated."""
        self._stopping.set()
        for link in self._links:
            link.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def states(self) -> list[str]:
        """Each of them and when it last answered, for people: `host:port, 0.8 s ago` or `host:port, never`."""
        now_s = monotonic_seconds()
        return [
            f"{link.address}, never"
            if link.answered_s is None
            else f"{link.address}, {now_s - link.answered_s:.1f} s ago"
            for link in self._links
        ]

    def _run(self, link: _Link, interval_s: float) -> None:
        while not self._stopping.is_set():
            try:
                link.exchange()
                link.note(None)
            except RaftGossipError as error:
                if not self._stopping.is_set():
                    link.note(error)
            except Exception:
                logger.exception(Event("reading another gateway failed", gateway=link.address))
            self._stopping.wait(interval_s)


class _Link:
    """One other gateway; `exchange` is called by one thread."""

    def __init__(self, shared: SharedRegistry, address: Address, credentials: LiveCredentials | None) -> None:
        self.address = address
        self.answered_s: float | None = None
        self._shared = shared
        self._credentials = credentials
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._generation = 0
        self._is_closed = False
        self._is_silent = False

    def exchange(self) -> None:
        """Ask for all that is new there, and take it up as a whole.

        Raises:
            RaftGossipError: it did not answer, or with something that cannot be right, or the own disk failed.
        """
        source = str(self.address)
        with self._shared.operation() as (registry, _):
            gateway_id = registry.gateway_id
            version, log_id = registry.sync_position(source)
        parts: list[SyncAnswer] = []
        while True:
            request = pb.SyncRegistryRequest(gateway_id=gateway_id, since_version=version, registry_id=log_id)
            response = self._ask(request)
            parts.append(answer_from_proto(response))
            version, log_id = parts[-1].version, parts[-1].log_id
            if not may_be_cut(response):
                break
            if len(parts) == MAX_PARTS:
                raise TransportError(f"the gateway {source} goes on telling without an end")
        with self._shared.lasting_operation() as (registry, now):
            registry.merge(source, join_answers(parts), now)
        self.answered_s = monotonic_seconds()

    def note(self, error: RaftGossipError | None) -> None:
        """Tell once that it does not answer, and once that it does again."""
        if error is None and self._is_silent:
            logger.info(Event("another gateway answers again", gateway=self.address))
        elif error is not None and not self._is_silent:
            logger.warning(Event("another gateway cannot be read", gateway=self.address, reason=str(error)))
        self._is_silent = error is not None

    def close(self) -> None:
        """End the question that runs, and refuse more."""
        with self._lock:
            self._is_closed = True
            if self._channel is not None:
                self._channel.close()

    def _ask(self, request: pb.SyncRegistryRequest) -> pb.SyncRegistryResponse:
        try:
            stub = pb_grpc.GatewayServiceStub(self._open())
            response: pb.SyncRegistryResponse = stub.SyncRegistry(request, timeout=ANSWER_TIMEOUT_S)
            return response
        except grpc.RpcError as failure:
            raise error_from_rpc(failure) from None
        except ValueError:  # what a closed channel raises
            raise TransportError("the connection was closed") from None

    def _open(self) -> grpc.Channel:
        """The channel, a new one if this gateway's certificate is."""
        credentials = self._credentials
        generation = 0 if credentials is None else credentials.generation
        with self._lock:
            if self._is_closed:
                raise TransportError("the connection was closed")
            if self._channel is not None and generation == self._generation:
                return self._channel
            if self._channel is not None:
                self._channel.close()
            federation = "" if credentials is None else credentials.current().identity.federation
            name = role_server_name(Role.GATEWAY, federation)
            self._channel = open_channel(self.address, credentials, name, CHANNEL_OPTIONS)
            self._generation = generation
            return self._channel
