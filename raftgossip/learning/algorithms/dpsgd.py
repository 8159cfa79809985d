"""D-PSGD: every peer keeps a model of its own and averages it with its neighbours.

Lian, Zhang, Zhang, Hsieh, Zhang, Liu (2017), "Can Decentralized Algorithms Outperform Centralized Algorithms?",
Algorithm 1, over all peers' models X (n, P):

    X_{k+1} = W X_k - γ ∂F(X_k; ξ_k),    W symmetric and doubly stochastic.

Cost per step: one model to every neighbour. Assumptions: the graphs of the plan are connected over time; the error
falls with the spectral gap of W. Where we differ: a peer makes many local steps before it mixes, and mixes what it has
trained (X ← W (X - γ ∂F), "adapt then combine", whose rate is the same). When a share is lost, what arrived is
renormalised to a mean and mass starts at 1 again: each row of W then still sums to 1, which keeps consensus models
fixed, at the price of a small bias towards peers with good links.
"""

from __future__ import annotations

from dataclasses import replace

from raftgossip.learning.state import State
from raftgossip.update import FloatVector


class DecentralisedSGD:
    """Uniform mixing with mass 1; an epoch closes with the edges that completed."""

    needs_exact = False

    def init(self, base: FloatVector, num_samples: int) -> State:
        """Start from the peer's own model; how many samples it has does not count."""
        del num_samples
        return State(base, 1.0)

    def local_update(self, state: State, trained: FloatVector) -> State:
        """X - γ ∂F: the model after local training."""
        return replace(state, vector=trained)

    def message(self, state: State) -> tuple[FloatVector, float]:
        """The model, with mass 1."""
        return state.vector, state.mass

    def mix(self, state: State, mixed: FloatVector, mass: float) -> State:
        """W X: take the mean; its mass is 1 whether or not every share came."""
        del mass
        return replace(state, vector=mixed)

    def finish(self, state: State) -> State:
        """Nothing more to do."""
        return state

    def model(self, state: State) -> FloatVector:
        """This peer's own model."""
        return state.vector
