"""How often one caller may call: a token bucket each. Pure: the time is passed in."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from raftgossip.errors import ConfigError

MAX_PRINCIPALS = 50_000
"""Buckets that are kept; the one unused for longest is dropped first, which only fills it again."""

_ROUNDING = 1e-9
"""A call that sums of fractions miss by so little is there."""


@dataclass(slots=True)
class TokenBuckets:
    """A bucket per principal: it holds `burst` calls at most and is refilled with `rate_per_s` of them every second.

    Not thread-safe; hold a lock. Invariant: no bucket holds more than `burst`, or less than none.

    Raises:
        ConfigError: a number is not positive.
    """

    rate_per_s: float
    burst: float
    _buckets: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict, init=False)
    """Principal -> (calls left, when that was so, in ms); the longest unused first."""

    def __post_init__(self) -> None:
        if not (0 < self.rate_per_s < math.inf and 1 <= self.burst < math.inf):
            raise ConfigError(
                f"rate {self.rate_per_s}/s and burst {self.burst}: both must be positive, burst from 1 on"
            )

    def take(self, principal: str, now_ms: int) -> int:
        """Take one call; 0: taken. Else nothing was taken, and so many milliseconds later one will be there."""
        left, then_ms = self._buckets.get(principal, (self.burst, now_ms))
        left = min(self.burst, left + max(0, now_ms - then_ms) * self.rate_per_s / 1000)
        taken = left >= 1 - _ROUNDING
        self._buckets[principal] = (max(0.0, left - 1) if taken else left, max(now_ms, then_ms))
        self._buckets.move_to_end(principal)
        if len(self._buckets) > MAX_PRINCIPALS:
            self._buckets.popitem(last=False)
        return 0 if taken else max(1, math.ceil((1 - _ROUNDING / 2 - left) * 1000 / self.rate_per_s))
