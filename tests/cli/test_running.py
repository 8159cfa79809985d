"""The stop signals of `raftgossip node`."""

from __future__ import annotations

import os
import signal

import pytest

from raftgossip.cli.running import STOP_SIGNALS, StopSignals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_asks_for_a_stop_and_the_second_is_the_systems_own(number: signal.Signals) -> None:
    asked: list[str] = []
    StopSignals().watch(lambda: asked.append("stop"))
    os.kill(os.getpid(), number)
    assert asked == ["stop"]
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == [signal.SIG_DFL, signal.SIG_DFL]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_before_anything_runs_ends_the_program_cleanly(number: signal.Signals) -> None:
    StopSignals()
    with pytest.raises(SystemExit) as caught:
        os.kill(os.getpid(), number)
    assert caught.value.code == 0
