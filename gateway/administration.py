"""What a gateway has beside its registry: settings that change while it runs, keys that are renewed, a disk, limits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from gateway.limits import CallLimits
from gateway.live_settings import LiveSettings
from gateway.log_lines import Event
from gateway.metrics import Gauge
from gateway.registry_values import RegistrySettings
from gateway.request_checks import position_from_proto
from gateway.settings import GatewaySettings
from gateway.shared_registry import SharedRegistry
from gateway.sync_codec import answer_to_proto
from raftgossip.errors import CommandRefused, ConfigError, StorageError
from raftgossip.trust.callers import Caller
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

EXPIRES_SOON = 1 / 3
"""Of a certificate's lifetime: when less is left, somebody should have renewed it."""

logger = logging.getLogger(__name__)


class GatewayAdministration:
    """Of one gateway, from its start to its stop; any number of threads may share it."""

    def __init__(
        self,
        live: LiveSettings,
        shared: SharedRegistry,
        limits: CallLimits,
        credentials: LiveCredentials | None,
        states_of_others: Callable[[], list[str]],
    ) -> None:
        self._trouble = ""
        """What was last wrong with the keys, and told."""
        self._live = live
        self._shared = shared
        self._limits = limits
        self._credentials = credentials
        self._states_of_others = states_of_others
        self._warned: tuple[int, bool] | None = None
        """The generation of the credentials and whether they had expired, when that was told last."""

    # --- for the calls

    def settings(self) -> GatewaySettings:
        """Those in force."""
        return self._live.current()

    def change_settings(self, texts: Mapping[str, str], caller: Caller) -> dict[str, str]:
        """Change some of them, all or none; returns all that can be changed, as they are now.

        Raises:
            ConfigError: one is unknown, wrong, or needs a restart.
        """
        changed = self._live.change(texts)
        self._apply(changed, f"a call of {caller.principal}")
        return self._live.texts()

    def add_revocations(self, pem: bytes) -> bool:
        """Keep an organisation's revocation list, from the next call on; False: a newer one is known.

        Raises:
            CommandRefused: this gateway runs without certificates.
            Unauthenticated: the list is not signed by an organisation of the federation.
            StorageError: it cannot be kept.
        """
        if self._credentials is None:
            raise CommandRefused("this gateway runs without certificates, so there is nothing to revoke")
        is_new = KeyFolder(self._credentials.current().root_path.parent).add_revocations(pem)
        self._refresh(self._credentials)
        return is_new

    def other_gateways(self) -> list[str]:
        """The other gateways, and when they last answered, in words."""
        return self._states_of_others()

    def sync(self, request: pb.SyncRegistryRequest) -> pb.SyncRegistryResponse:
        """What another gateway should read.

        Raises:
            WireError: a field is out of bounds.
        """
        version, log_id = position_from_proto(request.since_version, request.registry_id)
        _, gateway_id = position_from_proto(0, request.gateway_id)
        with self._shared.lasting_operation() as (registry, now):
            answer = registry.response_for(gateway_id, version, log_id, now)
        return answer_to_proto(answer)

    # --- for the thread that keeps house

    def reload(self, *, even_if_unchanged: bool = False) -> None:
        """Read the settings' file again, if it has changed. What is wrong is only told."""
        try:
            changed, fixed = self._live.reread(even_if_unchanged=even_if_unchanged)
        except ConfigError as error:
            logger.error(Event("the settings are kept: the file is wrong", reason=str(error)))
            return
        self._apply(changed, "the file")
        if fixed:
            logger.warning(Event("settings that need a restart have changed in the file", settings=",".join(fixed)))

    def look_after_keys(self, wall_seconds: float) -> None:
        """Take up renewed certificates and new revocations; warn once of a certificate that ends soon, and again when
        it has ended."""
        if self._credentials is None:
            return
        self._refresh(self._credentials)
        now = self._credentials.current()
        left_s = now.not_after_s - wall_seconds
        lifetime_s = now.not_after_s - now.certificate.not_before_s
        state = self._credentials.generation, left_s <= 0
        if left_s > lifetime_s * EXPIRES_SOON or self._warned == state:
            return
        self._warned = state
        what = "HAS EXPIRED: nobody can connect" if left_s <= 0 else f"expires in {max(1, int(left_s / 60))} minutes"
        logger.warning(
            Event(f"this gateway's certificate {what}; run `raftgossip keys renew`", certificate=str(now.chain_path))
        )

    def save(self) -> None:
        """Put the registry on disk. A failure is only told: it is tried again."""
        with suppress(StorageError):  # told there
            self._shared.save()

    def gauges(self, num_watchers: int, wall_seconds: float) -> Iterator[Gauge]:
        """The numbers of the metrics that go up and down."""
        with self._shared.operation() as (registry, now):
            stats = registry.stats(now)
        yield Gauge("nodes", "Registered nodes.", stats.total_nodes)
        yield Gauge("active_nodes", "Nodes that were heard lately.", stats.active_nodes)
        yield Gauge("suspected_nodes", "Nodes that are silent for half their time limit.", stats.suspected_nodes)
        yield Gauge("watchers", "Callers that are told of every change.", num_watchers)
        yield Gauge("registry_version", "Moves when the list changes.", stats.registry_version)
        yield Gauge("knows_leader", "Whether a leader is known.", 1 if stats.leader_id else 0)
        if self._credentials is not None:
            left_s = self._credentials.current().not_after_s - wall_seconds
            yield Gauge("certificate_expiry_seconds", "Until this gateway's certificate expires.", left_s)

    def _refresh(self, credentials: LiveCredentials) -> None:
        try:
            if credentials.refresh():
                until_s = int(credentials.current().not_after_s)
                logger.info(Event("certificates and revocations were read again", not_after_s=until_s))
            self._trouble = ""
        except ConfigError as error:
            if str(error) != self._trouble:  # which is looked at every few seconds
                self._trouble = str(error)
                logger.error(Event("some of the keys cannot be used", reason=self._trouble))

    def _apply(self, changed: Mapping[str, str], by: str) -> None:
        """Let other settings count."""
        if not changed:
            return
        settings = self._live.current()
        if changed.keys() & {"node_timeout", "max_nodes", "rebuild_grace"}:
            with self._shared.operation() as (registry, _):
                registry.change_settings(registry_settings_of(settings))
        if changed.keys() & {"rate_per_s", "burst", "max_calls_per_caller"}:
            self._limits.change(settings)
        if "log_level" in changed:
            logging.getLogger("gateway").setLevel(settings.log_level)
        logger.info(Event("settings changed", by=by, **changed))


def registry_settings_of(settings: GatewaySettings) -> RegistrySettings:
    """The part that the registry wants."""
    return RegistrySettings(
        node_timeout_ms=max(2, int(settings.node_timeout * 1000)),
        max_nodes=settings.max_nodes,
        rebuild_grace_ms=int(settings.rebuild_grace * 1000),
        other_gateways=settings.gateways,
    )
