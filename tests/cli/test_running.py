"""The stop signals of `raftgossip node`, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from raftgossip.cli.running import REPEATED_MS, STOP_SIGNALS

PROGRAM = """
import os, sys
from raftgossip.cli.running import StopSignals

class Clock:
    ms = 0
    def now_ms(self): return self.ms
    def wall_ms(self): return self.ms

clock = Clock()
signals = StopSignals(clock)
if "early" not in sys.argv:
    signals.watch(lambda: print("asked", flush=True))
number = int(sys.argv[1])
for text in sys.argv[2].split(","):
    clock.ms = int(text)
    os.kill(os.getpid(), number)
    print("still here", flush=True)
"""


def run(number: signal.Signals, times_ms: str, *more: str) -> tuple[int, list[str]]:
    """A program that gets the signal at these times; its exit code and lines."""
    command = [sys.executable, "-c", PROGRAM, str(int(number)), times_ms, *more]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.stderr == ""
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_the_first_signal_asks_for_a_stop_and_its_echo_changes_nothing(number: signal.Signals) -> None:
    assert run(number, f"0,{REPEATED_MS - 1}") == (0, ["asked", "still here", "still here"])


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    assert run(number, f"0,{REPEATED_MS}") == (-number, ["asked", "still here"])


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_before_anything_runs_ends_the_program_cleanly(number: signal.Signals) -> None:
    assert run(number, "0", "early") == (0, [])
