"""A few gateways' registries that read each other, with time, skewed clocks and lost contact, without any network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from gateway.registry import Moment, Registry
from gateway.sync_codec import answer_from_proto, answer_to_proto
from gateway.syncing import SyncAnswer, join_answers
from raftgossip.ids import NodeId
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.registry_builders import TIMEOUT_MS, make_registry

SKEW_S = (0.0, 3600.0, -40.0)
"""How wrong each machine's wall clock is."""


class GatewayGroup:
    """Gateways 0 to n-1; each has a clock of its own."""

    def __init__(self, size: int, rebuild_grace_ms: int = 0) -> None:
        self.now_ms = 1000
        self.registries: list[Registry] = []
        for place in range(size):
            others = tuple(f"gateway:{other}" for other in range(size) if other != place)
            registry = make_registry(20, rebuild_grace_ms, others, seed=place + 1, started=self.now(place))
            self.registries.append(registry)

    def now(self, place: int) -> Moment:
        """The time, as gateway `place` reads it."""
        return Moment(self.now_ms + 10_000 * place, 5000 + self.now_ms / 1000 + SKEW_S[place])

    def sync(self, reader: int, source: int) -> SyncAnswer:
        """Let one read another over the wire's messages; returns what it read."""
        reading, told = self.registries[reader], self.registries[source]
        version, _ = reading.sync_position(f"gateway:{source}")
        answers = (pb.SyncRegistryResponse.FromString(data) for data in self._ask(told, reading, source))
        answer = join_answers([answer_from_proto(each) for each in answers])
        assert answer.version >= version or not answer.is_delta
        reading.merge(f"gateway:{source}", answer, self.now(reader))
        return answer

    def _ask(self, told: Registry, reading: Registry, source: int) -> Iterator[bytes]:
        """Two changes at a time, so that answers consist of parts."""
        version, log_id = reading.sync_position(f"gateway:{source}")
        while True:
            answer = told.response_for(reading.gateway_id, version, log_id, self.now(source))
            changes = answer.changes[:2]
            if len(changes) < len(answer.changes):
                answer = replace(answer, version=changes[-1].version, changes=changes)
            yield answer_to_proto(answer).SerializeToString()
            if len(changes) < 2:
                return
            version, log_id = answer.version, answer.log_id

    def sync_all(self) -> None:
        """Let each read each."""
        for reader in range(len(self.registries)):
            for source in range(len(self.registries)):
                if reader != source:
                    self.sync(reader, source)

    def settle(self, max_rounds: int = 6) -> None:
        """Let all read each other until nothing changes any more, in a bounded number of rounds."""
        for _ in range(max_rounds):
            before = self.positions()
            self.sync_all()
            if self.positions() == before:
                return
        raise AssertionError(f"not at rest after {max_rounds} rounds")

    def hand_over(self) -> None:
        """Let superseded claims be given up, and all read of it; nodes that nobody hears become suspected."""
        self.now_ms += TIMEOUT_MS // 2
        self.settle()

    def positions(self) -> list[tuple[int, int]]:
        """The versions of all lists and of all claims."""
        return [(registry.version, registry.unsaved(None).step) for registry in self.registries]

    def view(self, place: int) -> dict[str, object]:
        """What one gateway shows, without what only it can know (when it heard of it)."""
        registry = self.registries[place]
        nodes: dict[int, object] = {}
        for node_id in range(1, 10):
            record = registry.record(NodeId(node_id))
            if record is not None:
                holder = record.gateway_id or registry.gateway_id
                nodes[node_id] = (
                    record.registration.address,
                    record.registration.owner,
                    record.status,
                    record.joined_seconds,
                    record.stamp_ms,
                    holder,
                )
        leader = registry.leader(self.now(place))
        return {
            "nodes": nodes,
            "leader": None if leader is None else (leader.record.registration.node_id, leader.term),
            "clusters": sorted(registry.cluster_ids),
            "gateways": registry.gateway_ids,
        }
