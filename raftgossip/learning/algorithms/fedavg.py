"""FedAvg without a server: the exact sample-weighted mean of the peers' models.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas (2017), "Communication-Efficient Learning of Deep Networks from
Decentralized Data", Algorithm 1:

    x_{t+1} = Σ_k (n_k / n) x^k_{t+1},    n = Σ_k n_k,

where peer k trains from x_t over its n_k samples. The mean is taken by push-sum (Kempe et al. 2003, §2) with mass n_k
over a plan that is exact after its last step: Σ_k n_k x^k and Σ_k n_k travel together, and their quotient is the mean.

Cost per epoch: what the plan sends; one model per peer and step on a base(1) graph, 2(n-1)/n models when sharded.
Assumptions: all contributors complete every edge of the plan; if one does not, the epoch is not this mean, and the
survivors repeat the exchange (`needs_exact`). Where we differ: every peer takes part in every epoch (C = 1).
"""

from __future__ import annotations

from dataclasses import replace

from raftgossip.learning.state import State
from raftgossip.update import FloatVector


class FedAvg:
    """Sample-weighted mean; the mass is the sample count."""

    needs_exact = True

    def init(self, base: FloatVector, num_samples: int) -> State:
        """Start from the common model, with the sample count as mass."""
        return State(base, 1.0 * num_samples)

    def local_update(self, state: State, trained: FloatVector) -> State:
        """x^k: the model after local training."""
        return replace(state, vector=trained)

    def message(self, state: State) -> tuple[FloatVector, float]:
        """The model and the mass that it stands for."""
        return state.vector, state.mass

    def mix(self, state: State, mixed: FloatVector, mass: float) -> State:
        """Push-sum: both the model and the mass move on."""
        del state
        return State(mixed, mass)

    def finish(self, state: State) -> State:
        """Nothing more to do: the plan is exact."""
        return state

    def model(self, state: State) -> FloatVector:
        """The weighted mean."""
        return state.vector
