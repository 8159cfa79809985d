"""The thread that beats: at its interval, and sooner when told to hurry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.clock import monotonic_seconds
from gateway.heartbeats import HURRY_S, Heartbeats
from tests.support.happened import Happened


@pytest.fixture
def beaten() -> Happened:
    """When beats came."""
    return Happened()


@pytest.fixture
def heartbeats(beaten: Happened) -> Iterator[Heartbeats]:
    """Beats every minute."""
    made = Heartbeats(lambda: beaten(monotonic_seconds()), 60.0)
    made.start()
    yield made
    made.stop(1.0)


def test_a_hurried_beat_does_not_wait_for_the_interval(heartbeats: Heartbeats, beaten: Happened) -> None:
    start = monotonic_seconds()
    heartbeats.hurry()
    beaten.wait(1, HURRY_S + 1)
    assert monotonic_seconds() - start <= HURRY_S + 0.5


def test_however_often_it_is_hurried_beats_keep_their_distance(heartbeats: Heartbeats, beaten: Happened) -> None:
    start = monotonic_seconds()
    while len(beaten.seen) < 2 and monotonic_seconds() - start < 10:
        heartbeats.hurry()
    first, second = beaten.seen[:2]
    assert isinstance(first, float) and isinstance(second, float)
    assert second - first >= HURRY_S - 0.05


def test_a_hurry_never_makes_beats_rarer(heartbeats: Heartbeats, beaten: Happened) -> None:
    heartbeats.interval = 0.05
    heartbeats.hurry()
    start = monotonic_seconds()
    beaten.wait(4, 2)
    assert monotonic_seconds() - start < 1.0
