"""What the shared model is compared with: each peer training alone, and one machine with all data; same budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from raftgossip.cli.demo_plan import Plan
from raftgossip.learning.seeds import derive_seed
from raftgossip.learning.task import load_task
from raftgossip.learning.trainer import Trainer, use_one_thread


@dataclass(frozen=True, slots=True)
class Baselines:
    """Accuracies on the held-out data after every epoch's worth of training, from 0 to 1."""

    alone: dict[int, list[float]]
    """By the id of the peer whose data it is."""
    pooled: list[float]

    def alone_mean(self) -> list[float]:
        """The mean of the peers alone, after every epoch."""
        return [sum(column) / len(column) for column in zip(*self.alone.values(), strict=True)]


class Contestants:
    """The trainers of the comparison, with the very data that the peers have. Peer `n` has shard `n - 1`."""

    def __init__(self, plan: Plan) -> None:
        """Loads the data.

        Raises:
            ConfigError: the data cannot be divided among so many.
        """
        use_one_thread()
        self._plan = plan
        self.peers = {node: self._trainer(node - 1, plan.num_peers) for node in range(1, plan.num_peers + 1)}
        self.judge = self._trainer(0, 1)
        """Has all data; the held-out data is the same everywhere."""

    def train(self, stop: Callable[[], bool]) -> Baselines:
        """The same budget for everybody: as many epochs of as many passes over their data as the cluster's.

        Raises:
            TrainingStopped: `stop` said so.
        """
        alone = {node: self._curve(trainer, node, stop) for node, trainer in self.peers.items()}
        return Baselines(alone, self._curve(self.judge, 1, stop))

    def _trainer(self, shard: int, num_shards: int) -> Trainer:
        return Trainer(load_task(self._plan.task.name, shard, num_shards, self._plan.task.partition, self._plan.seed))

    def _curve(self, trainer: Trainer, node: int, stop: Callable[[], bool]) -> list[float]:
        """Accuracy after every epoch, from the model and with the random choices with which peer `node` begins."""
        vector = trainer.initial_vector(self._plan.seed)
        curve = []
        for epoch in range(1, self._plan.num_epochs + 1):
            seed = derive_seed(self._plan.seed, node, epoch, "train")
            vector = trainer.train(vector, self._plan.task.local_passes, seed, stop)
            curve.append(trainer.evaluate(vector)["accuracy"])
        return curve
