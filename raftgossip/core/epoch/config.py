"""What a run is: the settings that all its peers agree on, because they stand in the ledger."""

from __future__ import annotations

from dataclasses import dataclass, fields

from raftgossip.errors import ConfigError


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run, as the founder proposed it. Every peer reads it from the ledger, never from its own settings.

    Raises:
        ConfigError: a number is out of its range; names the key.
    """

    task: str
    """The task's name; a joiner with another task is refused."""
    algorithm: str
    """A name of `learning.algorithm`: `fedavg`, `dpsgd`."""
    topology: str
    """A name of `topology.schedule`: `base`, `exponential`, `full`, `ring`, `star`, `torus`."""
    num_epochs: int
    """The run is finished when so many epochs are closed; 0: it never finishes by itself."""
    min_participants: int
    """Fewer alive participants than this: no epoch opens, and an open one fails."""
    seed: int
    """Every other seed of the run is derived from it by name."""
    local_passes: int
    """Passes over the local data in one epoch."""
    train_deadline_ms: int
    """From the opening of an epoch: who has not finished training by then is dropped from it."""
    exchange_deadline_ms: int
    """From the end of training, and from each repetition: who has not reported by then is dropped."""
    min_epoch_ms: int
    """The leader opens the next epoch no sooner than this after it opened the last; 0: at once."""
    max_attempts: int
    """An epoch whose exchange was tried so often without success fails."""
    schema_digest: bytes
    """SHA-256 of the model's tensor names, shapes and dtypes: 32 bytes."""
    num_elements: int
    """P, the number of float32 elements that are averaged."""
    requires_token: bool = False
    """A node that was never in the roster, and for which no operator kept a place, needs a join token to enter."""

    def __post_init__(self) -> None:
        lower_bounds = {
            "num_epochs": 0,
            "min_participants": 1,
            "seed": 0,
            "local_passes": 1,
            "train_deadline_ms": 1,
            "exchange_deadline_ms": 1,
            "min_epoch_ms": 0,
            "max_attempts": 1,
            "num_elements": 1,
        }
        for key, bound in lower_bounds.items():
            value = getattr(self, key)
            if value < bound:
                raise ConfigError(f"{key} is {value}; it must be at least {bound}")
        if len(self.schema_digest) != 32:
            raise ConfigError(f"schema_digest has {len(self.schema_digest)} bytes; a SHA-256 digest has 32")


@dataclass(frozen=True, slots=True)
class EpochConfig:
    """How the leader's coordinator behaves; local to each node, all times in milliseconds.

    Raises:
        ConfigError: a number is out of its range or contradicts another; names the key.
    """

    unresponsive_grace_ms: int = 1_500
    """A new leader gives every participant this long before it believes that silence means failure. Longer: a dead
    participant holds up the first epoch after a leader change. Shorter than two heartbeats: false alarms."""
    rejoin_ms: int = 500
    """A peer that appears (also: to a new leader) gets this long to announce that it restarted, before the leader opens
    or retries an epoch. Shorter: an epoch is spoilt by a late announcement. Longer: leader changes cost that time."""
    proposal_timeout_ms: int = 2_000
    """A proposal whose effect has not shown in the ledger by then is proposed again; applying it twice is harmless."""
    max_voters: int = 5
    """More peers than this stay learners: they take part in epochs and do not vote. Odd numbers are worth their price:
    3 survive the loss of one voter, 5 of two; more cost every command time. Lowering it takes nobody's vote."""
    promote_after_ms: int = 30_000
    """A voter that a leader has not heard for this long loses its vote to a learner that has caught up, if there is
    one; a new leader counts anew. Longer: a cluster with a dead voter can bear the less for so long. Shorter than a
    restart takes: every restart costs two changes of who votes. At least `unresponsive_grace_ms`."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if type(value) is not int or value < 1:
                raise ConfigError(f"{each.name} is {value!r}; it must be a whole number from 1 on")
        if self.promote_after_ms < self.unresponsive_grace_ms:
            raise ConfigError(
                f"promote_after_ms is {self.promote_after_ms}; it must not be below unresponsive_grace_ms "
                f"({self.unresponsive_grace_ms}), or a new leader would replace voters that had no time to answer"
            )
