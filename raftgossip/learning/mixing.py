"""Fold received shares into an accumulator, in place: the arithmetic of one step of push-sum.

Kempe, Dobra, Gehrke (2003), "Gossip-Based Computation of Aggregate Information", §2: every peer holds a sum s and a
weight w, sends shares of both that add up to what it holds, adds what it receives, and s / w is its estimate. Here a
peer holds (x·m, m): the model x travels as it is, beside its mass m, and the receiver multiplies by share · mass.

Accuracy: sums are float32, so that one accumulator is as large as one model. A coefficient is rounded to float32 once,
and the divisor is the sum of the rounded coefficients, so that rounding moves weights by 6e-8 but never biases the
mean: equal vectors stay equal. Each element suffers at most two roundings per share and one in the division: about
1e-7 of the largest element per step, whatever the sample counts.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from raftgossip.update import FloatVector

BLOCK_ELEMENTS = 1 << 16
"""Elements handled at a time: products of a block stay in the processor's cache, and scratch memory is bounded."""


@dataclass(slots=True)
class _Folded:
    """A range [start, stop) to which vectors were added with this coefficient."""

    start: int
    stop: int
    coefficient: float


class Accumulator:
    """The sum of one step at one peer. Thread-safe: several neighbours fold at once.

    `vector`: (P,) float32, the peer's own, only read, and kept until the step ends. `self_share`: the share of its
    mass that the peer keeps, from 0 to 1. Memory: one vector and a scratch block.

    Invariant: before `normalise`, each element is the sum of coefficient · element over all folded ranges that cover
    it; after it, nothing changes the vector any more.
    """

    def __init__(self, vector: FloatVector, mass: float, self_share: float) -> None:
        kept = _checked(self_share * mass)
        self._own = vector
        self._mass = kept
        self._sum = np.empty_like(vector, dtype=np.float32)
        np.multiply(vector, np.float32(kept), out=self._sum)
        self._folded = [_Folded(0, len(vector), float(np.float32(kept)))]
        self._scratch = np.empty(min(BLOCK_ELEMENTS, len(vector)), dtype=np.float32)
        self._finished = False
        self._lock = threading.Lock()

    def fold(self, start: int, span: FloatVector, weight: float) -> None:
        """Add weight · span to the elements from `start` on; `weight` is share · the sender's mass.

        `span`: (length,) float32, only read. A fold that comes after `normalise` is ignored: it belongs to a transfer
        that the step has given up.
        """
        stop = start + len(span)
        if start < 0 or stop > len(self._sum):
            raise ValueError(f"the span [{start}, {stop}) lies outside a vector of {len(self._sum)} elements")
        coefficient = np.float32(_checked(weight))
        with self._lock:
            if self._finished or start == stop:
                return
            for offset in range(0, len(span), BLOCK_ELEMENTS):
                block = span[offset : offset + BLOCK_ELEMENTS]
                product = np.multiply(block, coefficient, out=self._scratch[: len(block)])
                self._sum[start + offset : start + offset + len(block)] += product
            self._note(start, stop, float(coefficient))

    def add_mass(self, weight: float) -> None:
        """A transfer is complete: its mass, share · the sender's mass, is now this peer's."""
        with self._lock:
            self._mass += _checked(weight)

    def normalise(self) -> tuple[FloatVector, float]:
        """Divide every element by the weights that reached it: the mixed vector (P,) float32, read-only, and its mass.

        Elements that only some transfers covered are divided by the weights of those. An element that no weight
        reached keeps the peer's own value. In place; the accumulator takes nothing more.
        """
        with self._lock:
            if not self._finished:
                self._finished = True
                for start, stop, divisor in self._divisors():
                    self._divide(start, stop, divisor)
                self._sum.flags.writeable = False
            return self._sum, self._mass

    def _note(self, start: int, stop: int, coefficient: float) -> None:
        """Remember what was folded; the spans of one transfer follow each other and become one range."""
        for folded in self._folded[1:]:
            if folded.stop == start and folded.coefficient == coefficient:
                folded.stop = stop
                return
        self._folded.append(_Folded(start, stop, coefficient))

    def _divisors(self) -> list[tuple[int, int, float]]:
        """Ranges that cover the vector, each with the sum of the coefficients that reached it."""
        borders = sorted({border for folded in self._folded for border in (folded.start, folded.stop)})
        return [
            (start, stop, math.fsum(f.coefficient for f in self._folded if f.start <= start and stop <= f.stop))
            for start, stop in pairwise(borders)
        ]

    def _divide(self, start: int, stop: int, divisor: float) -> None:
        for offset in range(start, stop, BLOCK_ELEMENTS):
            block = slice(offset, min(offset + BLOCK_ELEMENTS, stop))
            if divisor > 0:
                # In float64: a divisor rounded to float32 would bias every element alike, in every step anew.
                np.divide(self._sum[block], divisor, out=self._sum[block], dtype=np.float64, casting="same_kind")
            else:
                self._sum[block] = self._own[block]


def _checked(weight: float) -> float:
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"the weight {weight} is not a finite number from 0 on")
    return float(weight)
