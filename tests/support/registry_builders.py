"""Registries, registrations and moments for tests of the gateway."""

from __future__ import annotations

import random
from collections.abc import Iterable

from gateway.registry import Memory, Moment, NodeRecord, Registration, Registry, RegistrySettings
from raftgossip.ids import Address, NodeId

TIMEOUT_MS = 1000


def at(ms: int) -> Moment:
    """A moment; the wall clock is 5000 s ahead."""
    return Moment(ms, 5000 + ms / 1000)


def node(
    node_id: int, port: int = 1, owner: str = "", *, identity: str = "", cluster_id: str = "", can_wait: bool = False
) -> Registration:
    """What a node says about itself."""
    return Registration(
        NodeId(node_id), Address("host", port), ("raft",), (("a", "b"),), owner, identity, cluster_id, can_wait
    )


def make_registry(
    max_nodes: int = 20_000,
    rebuild_grace_ms: int = 0,
    others: tuple[str, ...] = (),
    seed: int = 1,
    memory: Memory | None = None,
    started: Moment | None = None,
) -> Registry:
    """A registry that forgets after `TIMEOUT_MS` and, unless told otherwise, need not wait for members."""
    settings = RegistrySettings(TIMEOUT_MS, max_nodes, rebuild_grace_ms, others)
    return Registry(settings, random.Random(seed), started or at(0), memory)


def ids(records: Iterable[NodeRecord]) -> list[int]:
    """The records' node ids."""
    return [record.registration.node_id for record in records]


def listed(registry: Registry, now: Moment, asker: int = 0) -> list[int]:
    """Everybody who is listed to the asker."""
    return ids(registry.page(now, asker, 0, 100_000).records)
