"""What a learning algorithm is, and the table of those that are known.

The flow of one epoch: `init` from the common model, `local_update` after training, then for each step of the plan
`message` (what is sent to every neighbour of the step) and `mix` (what came of it), and `finish` at the end. `model`
is what is evaluated and kept. No method changes its arguments, so that an exchange can be repeated from a kept state.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Protocol

from raftgossip.errors import ConfigError
from raftgossip.learning.algorithms.dpsgd import DecentralisedSGD
from raftgossip.learning.algorithms.fedavg import FedAvg
from raftgossip.learning.state import State
from raftgossip.update import FloatVector

__all__ = ["ALGORITHMS", "Algorithm", "State", "make_algorithm"]


class Algorithm(Protocol):
    """One paper's method as pure functions of a state. Vectors: (…, P) float32, leading axes free, only read."""

    @property
    def needs_exact(self) -> bool:
        """Whether every epoch must end in the exact mean: then a broken exchange is repeated, never accepted."""
        ...

    def init(self, base: FloatVector, num_samples: int) -> State:
        """The state at the epoch's start: the model of the last closed epoch, and this peer's sample count."""
        ...

    def local_update(self, state: State, trained: FloatVector) -> State:
        """The state after local training gave `trained`."""
        ...

    def message(self, state: State) -> tuple[FloatVector, float]:
        """The vector that stands for what the peer holds in this step, and its mass; receivers take shares of both."""
        ...

    def mix(self, state: State, mixed: FloatVector, mass: float) -> State:
        """The state after a step: the weighted mean of what the peer kept and what arrived, and its mass.

        Shares that never came are simply not in it, and shares that could not be delivered are still in it.
        """
        ...

    def finish(self, state: State) -> State:
        """The state after the last step."""
        ...

    def model(self, state: State) -> FloatVector:
        """The vector to evaluate and to keep."""
        ...


ALGORITHMS: dict[str, Callable[[], Algorithm]] = {
    "dpsgd": DecentralisedSGD,
    "fedavg": FedAvg,
}
"""Every known algorithm by the name that stands in the run specification."""


def make_algorithm(name: str) -> Algorithm:
    """The algorithm of this name.

    Raises:
        ConfigError: there is none; names the nearest one and all that are known.
    """
    if name not in ALGORITHMS:
        nearest = difflib.get_close_matches(name.lower(), ALGORITHMS, n=1)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise ConfigError(f"algorithm {name!r} is unknown; {hint}known are {', '.join(sorted(ALGORITHMS))}")
    return ALGORITHMS[name]()
