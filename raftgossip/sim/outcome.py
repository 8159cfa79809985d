"""What a simulated run consisted of, when nothing was violated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """The counts of one run."""

    seed: int
    num_steps: int
    num_events: int
    """Events that cores handled."""
    num_elections: int
    num_crashes: int
    num_committed: int
    num_changes: int
    """Membership changes that were committed."""
    num_joint: int
    """Those of them that were joint."""
    num_snapshots: int
    """Snapshots that were taken."""
    num_installed: int
    """Snapshots that were received and installed."""
    num_calls: int
    """Calls of clients in the history."""
    num_answered: int
    duration_ms: int
    """Virtual time."""
    calm_ms: int
    """Virtual time that the calm part needed."""
