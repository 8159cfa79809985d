"""Every choice of a simulated run, drawn from its seed: how large the cluster is, and how bad its world."""

from __future__ import annotations

import random
from dataclasses import dataclass

from raftgossip.core.raft.config import RaftConfig

NUM_FAULTS = 9
"""Kinds of faults that the world chooses from."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """The choices of one run, all drawn from the seed. Spans are inclusive milliseconds, chances lie in 0..1."""

    num_voters: int
    num_spare: int
    """Machines that are there but outside the first configuration."""
    grows: bool
    """The cluster is founded by one voter; the operator adds the others."""
    config: RaftConfig
    is_serial: bool
    """A machine handles nothing while its disk writes, as the real driver does; else several Readys are out at once."""
    max_batch: int
    """Events that a machine handles before it takes a Ready."""
    delay_ms: tuple[int, int]
    loss: float
    duplicate: float
    straggle: float
    """A message takes up to 20 times as long, and so is overtaken."""
    replay: float
    """A message comes a second time, many elections later."""
    fsync_ms: tuple[int, int]
    slow_fsync: float
    rates: tuple[int, ...]
    """How fast each machine's clock runs, in thousandths."""
    proposal_gap_ms: int
    change_gap_ms: int
    """The operator's pause between membership changes; 0: there are none."""
    fault_gap_ms: int
    outage_ms: int
    num_clients: int
    client_gap_ms: int
    """A client's pause between two calls."""
    forwards: float
    """The chance that a machine passes a request on to the leader instead of naming it."""
    nemesis: float
    """The chance that a new leader is hit within `nemesis_ms` of its election."""
    nemesis_ms: int
    fault_weights: tuple[int, ...]
    """Relative frequencies of `World`'s faults, in their order; crashes are never left out."""

    @classmethod
    def draw(cls, rng: random.Random, num_machines: int | None = None) -> Knobs:
        """Draw a run, of `num_machines` if given, else of 3 to 7.

        In some runs everything goes in the smallest steps and hardly a leader survives its election, because the
        faults of commitment (thesis Figure 3.7) stay hidden while batches carry a new leader's own entry along.
        """
        is_stormy = rng.random() < 0.3
        heartbeat_ms = rng.choice((100, 150, 200))
        election_min_ms = heartbeat_ms * rng.randint(3, 6)
        num_voters = rng.choice((3, 3, 4, 5))
        has_changes = rng.random() < 0.5
        num_spare = rng.randint(0, 2) if has_changes else 0
        if num_machines is not None:
            num_voters = min(num_voters, num_machines)
            num_spare = num_machines - num_voters
        slowest, fastest = rng.choice(((1000, 1000), (900, 1100), (800, 1200), (600, 1600)))
        has_leases = fastest <= 1200 and rng.random() < 0.4
        config = _draw_config(rng, heartbeat_ms, election_min_ms, is_stormy=is_stormy, has_leases=has_leases)
        return cls(
            num_voters=num_voters,
            num_spare=num_spare,
            grows=has_changes and rng.random() < 0.4,
            config=config,
            is_serial=rng.random() < 0.5,
            max_batch=rng.choice((1, 1, 2, 4, 16)),
            delay_ms=(rng.randint(0, 3), rng.randint(3, heartbeat_ms)),
            loss=rng.choice((0.0, 0.01, 0.05, 0.15)),
            duplicate=rng.choice((0.0, 0.01, 0.05)),
            straggle=rng.choice((0.0, 0.02, 0.1)),
            replay=rng.choice((0.0, 0.01, 0.03)),
            fsync_ms=(0, rng.choice((0, 2, heartbeat_ms // 4))),
            slow_fsync=rng.choice((0.0, 0.0, 0.02)),
            rates=tuple(rng.randint(slowest, fastest) for _ in range(num_voters + num_spare)),
            proposal_gap_ms=(40 if is_stormy else rng.choice((6, 20, 60))) * heartbeat_ms // 20,
            change_gap_ms=election_min_ms * rng.randint(1, 4) // 2 if has_changes else 0,
            fault_gap_ms=election_min_ms * rng.randint(1, 3),
            outage_ms=election_min_ms * rng.randint(1, 8),
            num_clients=1 if is_stormy else rng.randint(2, 8),
            client_gap_ms=heartbeat_ms * (4 if is_stormy else rng.choice((1, 1, 2, 4))) // 2,
            forwards=rng.choice((0.0, 0.5, 1.0)),
            nemesis=0.95 if is_stormy else rng.choice((0.0, 0.5, 0.9)),
            nemesis_ms=heartbeat_ms * (rng.randint(1, 4) if is_stormy else rng.choice((1, 4, 8))) // 4,
            fault_weights=(3, 0, 1, 0, 0, 0, 0, 0, 0) if is_stormy else _draw_weights(rng),
        )


def _draw_weights(rng: random.Random) -> tuple[int, ...]:
    others = (rng.choice((0, 1, 1, 3)) for _ in range(NUM_FAULTS - 1))
    return (rng.choice((1, 1, 3)), *others)


def _draw_config(
    rng: random.Random, heartbeat_ms: int, election_min_ms: int, *, is_stormy: bool, has_leases: bool
) -> RaftConfig:
    return RaftConfig(
        heartbeat_ms=heartbeat_ms,
        election_min_ms=election_min_ms,
        election_max_ms=election_min_ms * rng.randint(4, 8) // 4 + rng.randint(0, 9),
        max_entries_per_append=1 if is_stormy else rng.choice((1, 1, 2, 3, 16)),
        max_append_bytes=rng.choice((1, 40, 1 << 20)),
        max_inflight=1 if is_stormy else rng.choice((1, 2, 4, 32)),
        max_uncommitted=rng.choice((4, 32, 4096)),
        unresponsive_after_ms=heartbeat_ms * rng.randint(2, 12),
        caught_up_lag=rng.choice((1, 16)),
        max_uncommitted_bytes=rng.choice((200, 1 << 20)),
        max_inflight_bytes=rng.choice((100, 1 << 20)),
        snapshot_entries=rng.choice((4, 10, 40, 8192)),
        snapshot_trailing=rng.choice((0, 0, 3, 20)),
        snapshot_chunk_bytes=rng.choice((300, 2000, 1 << 16)),
        snapshot_bytes_per_s=rng.choice((100_000, 1 << 26)),
        lease_drift_percent=20 if has_leases else 0,
    )
