"""Raft's timeouts and limits."""

from __future__ import annotations

from dataclasses import dataclass, fields

from raftgossip.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RaftConfig:
    """Settings of one node; equal on all nodes of a cluster unless there is a reason.

    Raises:
        ConfigError: a number is out of its range or contradicts another; names the key.
    """

    heartbeat_ms: int = 100
    """A leader is silent no longer than this; at most a third of `election_min_ms`, so that two may get lost."""
    election_min_ms: int = 500
    """A follower stands no sooner after it last heard a leader, and refuses others its vote that long (thesis 6.4)."""
    election_max_ms: int = 1000
    """Timeouts are drawn between the two; a leader that hears no majority for this long steps down."""
    max_entries_per_append: int = 256
    """Entries in one message."""
    max_append_bytes: int = 1 << 20
    """Bytes of entry data in one message; a single larger entry still goes, alone."""
    max_inflight: int = 16
    """Unacknowledged messages with entries to one follower: pipelining against memory."""
    max_uncommitted: int = 4096
    """Entries that a leader lets wait for a majority; proposals above it are refused as `busy`."""
    max_uncommitted_bytes: int = 64 << 20
    """The same in bytes of data; a single larger command still goes while nothing waits."""
    max_inflight_bytes: int = 16 << 20
    """Bytes of unacknowledged entries to one follower; a single larger entry still goes, alone."""
    snapshot_entries: int = 8192
    """A snapshot is taken when so many entries were applied since the last: restart time against work."""
    snapshot_bytes: int = 16 << 20
    """... or so many bytes of them."""
    snapshot_trailing: int = 1024
    """Entries that a snapshot covers but that are kept, so that a follower slightly behind needs no snapshot."""
    snapshot_chunk_bytes: int = 64 << 10
    """Of a snapshot in one message. Small, since heartbeats queue behind it."""
    snapshot_bytes_per_s: int = 64 << 20
    """A leader sends a snapshot to one follower no faster than this."""
    max_snapshot_bytes: int = 1 << 29
    """A follower refuses a larger snapshot: it is held in memory. Stores hold just under 10**9 bytes."""
    lease_drift_percent: int = 0
    """0: every linearizable read asks a majority. Above: a leader answers alone while a majority heard it recently
    enough, which is right only if no node's clock runs more than this faster or slower than real time (thesis section
    6.4.1). Equal on all nodes."""
    unresponsive_after_ms: int = 1000
    """A leader calls a follower unresponsive after this time without an acknowledgement."""
    caught_up_lag: int = 16
    """A learner that lacks at most so many entries counts as caught up."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("lease_drift_percent", "snapshot_trailing") else 1
            if type(value) is not int or value < least:
                raise ConfigError(f"{field.name} is {value!r}; it must be a whole number from {least} on")
        if self.lease_drift_percent >= 50:
            raise ConfigError(
                f"lease_drift_percent is {self.lease_drift_percent}; with clocks that differ by half and more no lease "
                "is worth having: give 0 to 49"
            )
        if self.election_min_ms < 3 * self.heartbeat_ms:
            raise ConfigError(
                f"election_min_ms is {self.election_min_ms}; it must be at least three times heartbeat_ms "
                f"({self.heartbeat_ms}), or one lost heartbeat would start an election"
            )
        if self.election_max_ms < self.election_min_ms:
            raise ConfigError(
                f"election_max_ms is {self.election_max_ms}; it must not be below election_min_ms "
                f"({self.election_min_ms})"
            )
        if self.unresponsive_after_ms < self.heartbeat_ms:
            raise ConfigError(
                f"unresponsive_after_ms is {self.unresponsive_after_ms}; it must not be below heartbeat_ms "
                f"({self.heartbeat_ms})"
            )
