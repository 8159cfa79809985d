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
    unresponsive_after_ms: int = 1000
    """A leader calls a follower unresponsive after this time without an acknowledgement."""
    caught_up_lag: int = 16
    """A learner that lacks at most so many entries counts as caught up."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{field.name} is {value!r}; it must be a whole number from 1 on")
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
