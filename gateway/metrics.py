"""What the gateway counts, and the page at which Prometheus reads it.

Counting needs no library; `prometheus_client` is loaded only where the page is asked for.
"""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper ends of the histogram's buckets, in seconds; most calls take less than one millisecond."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number that goes up and down."""

    name: str
    """Without the prefix `raftgossip_gateway_`."""
    about: str
    value: float


class CallCounts:
    """How many calls ended how, and how long they took; any number of threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ends: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: dict[str, float] = {}

    def note(self, method: str, code: str, seconds: float) -> None:
        """Count one call. `method`: one of the known ones, so that strangers cannot make new ones up."""
        position = bisect.bisect_left(BUCKETS_S, seconds)
        with self._lock:
            self._ends[method, code] += 1
            counts = self._buckets.get(method)
            if counts is None:
                counts = self._buckets[method] = [0] * (len(BUCKETS_S) + 1)
            counts[position] += 1
            self._seconds[method] = self._seconds.get(method, 0.0) + seconds

    def ends(self) -> Mapping[tuple[str, str], int]:
        """Calls by method and the name of the status code."""
        with self._lock:
            return dict(self._ends)

    def durations(self) -> Mapping[str, tuple[tuple[int, ...], float]]:
        """By method: calls in each bucket (the last: longer than all of them), and their seconds together."""
        with self._lock:
            return {method: (tuple(counts), self._seconds[method]) for method, counts in self._buckets.items()}


class MetricsPage:
    """The page in Prometheus's text format, made anew each time that it is read."""

    def __init__(self, counts: CallCounts, gauges: Callable[[], Iterator[Gauge]], version: str) -> None:
        """`gauges`: reads them now. `version`: of this program."""
        from prometheus_client import CollectorRegistry

        self._counts = counts
        self._gauges = gauges
        self._version = version
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """All numbers, as they are now."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """The families of numbers; called by the library."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        calls = CounterMetricFamily("raftgossip_gateway_calls", "Calls that ended.", labels=("method", "code"))
        for (method, code), number in sorted(self._counts.ends().items()):
            calls.add_metric((method, code), number)
        yield calls
        seconds = HistogramMetricFamily(
            "raftgossip_gateway_call_seconds", "How long calls took, from when a thread took them.", labels=("method",)
        )
        for method, (counts, total_s) in sorted(self._counts.durations().items()):
            seconds.add_metric((method,), list(_cumulated(counts)), total_s)
        yield seconds
        for gauge in self._gauges():
            yield GaugeMetricFamily(f"raftgossip_gateway_{gauge.name}", gauge.about, value=gauge.value)
        version = GaugeMetricFamily("raftgossip_gateway_build", "Which version runs.", labels=("version",))
        version.add_metric((self._version,), 1)
        yield version


def _cumulated(counts: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    """Prometheus's buckets hold all that is at or below their end."""
    total = 0
    for end, number in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
        total += number
        yield end, total
