"""What the demo is asked to show: task, peers, epochs, and when which process is killed."""

from __future__ import annotations

from dataclasses import dataclass

from raftgossip.errors import ConfigError

EPOCH_MS = 1_000
"""Least time from epoch to epoch, so that a person can follow; the digits train in a tenth of it."""
TRAIN_DEADLINE_MS = 10_000
EXCHANGE_DEADLINE_MS = 5_000
MIN_PEERS = 2
MIN_EPOCHS = 2


@dataclass(frozen=True, slots=True)
class TaskChoice:
    """How the demo shows one of the built-in tasks."""

    name: str
    partition: str
    local_passes: int
    num_epochs: int
    target: float
    """Accuracy that the shared model must reach, from 0 to 1."""
    max_peers: int
    story: str
    """What is trained, for people."""


TASKS = {
    "digits": TaskChoice("digits", "dirichlet:0.5", 3, 30, 0.96, 12, "handwritten digits, unevenly spread"),
    "hospitals": TaskChoice("hospitals", "natural", 1, 24, 0.78, 4, "heart patients, one hospital per peer"),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """One demo.

    Raises:
        ConfigError: too few or too many peers or epochs; says how many there may be.
    """

    task: TaskChoice
    num_peers: int
    num_epochs: int
    seed: int
    kills: bool
    """Whether the leader and the gateway are killed."""
    tls: bool = False
    """Whether everybody gets keys, and speaks to nobody without."""

    def __post_init__(self) -> None:
        if not MIN_PEERS <= self.num_peers <= self.task.max_peers:
            raise ConfigError(
                f"--peers is {self.num_peers}; with the task {self.task.name} the demo takes "
                f"from {MIN_PEERS} to {self.task.max_peers}"
            )
        if self.num_epochs < MIN_EPOCHS:
            raise ConfigError(f"--epochs is {self.num_epochs}; the demo takes at least {MIN_EPOCHS}")
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}; it must be at least 0")

    @property
    def leader_dies_after(self) -> int:
        """So many epochs have closed when the leader is killed: a third."""
        return max(1, self.num_epochs // 3)

    @property
    def gateway_dies_after(self) -> int:
        """So many epochs have closed when the gateway is killed: a half."""
        return max(self.leader_dies_after + 1, self.num_epochs // 2)

    def peer_settings(self, node_id: int, gateway: str) -> list[str]:
        """Arguments of `raftgossip node`. `gateway`: host:port."""
        settings = {
            "task": self.task.name,
            "gateway": gateway,
            "expect": self.num_peers,
            "listen": "127.0.0.1:0",
            "epochs": self.num_epochs,
            "local-passes": self.task.local_passes,
            "seed": self.seed,
            "min-participants": max(1, self.num_peers - 1),
            "min-epoch-ms": EPOCH_MS,
            "train-deadline-ms": TRAIN_DEADLINE_MS,
            "exchange-deadline-ms": EXCHANGE_DEADLINE_MS,
            "shard": node_id - 1,
            "num-shards": self.num_peers,
            "partition": self.task.partition,
            "data-seed": self.seed,
        }
        return [text for name, value in settings.items() for text in (f"--{name}", str(value))]


def make_plan(task: str, num_peers: int, num_epochs: int | None, seed: int, kills: bool, tls: bool = False) -> Plan:
    """The plan that the arguments of the command line describe.

    Raises:
        ConfigError: an argument is not allowed; names it.
    """
    choice = TASKS.get(task)
    if choice is None:
        raise ConfigError(f"--task is {task!r}; the demo shows {' or '.join(TASKS)}")
    return Plan(choice, num_peers, choice.num_epochs if num_epochs is None else num_epochs, seed, kills, tls)
