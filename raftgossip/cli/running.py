"""What `raftgossip node` does once its settings are known: load the task, run the peer, stop on a signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType

from raftgossip.cli.output import print_json, print_table
from raftgossip.cli.settings import Settings, table
from raftgossip.errors import ConfigError
from raftgossip.facts import EpochClosed, Fact
from raftgossip.runtime.clock import Clock, SystemClock

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEATED_MS = 1_000


class StopSignals:
    """The first SIGINT or SIGTERM asks for a clean stop; another one, a second later or more, ends the process at once.

    At once does no harm: whatever a peer has promised to others is on its disk already. Sooner ones are the same
    request, said twice: a terminal's Ctrl-C reaches a launcher and its nodes, and the launcher passes it on.
    """

    def __init__(self, clock: Clock) -> None:
        """From now on the signals are handled; before `ask` is known they end the program, for nothing runs yet."""
        self._ask: Callable[[], None] | None = None
        self._clock = clock
        self._asked_ms: int | None = None
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    def watch(self, ask: Callable[[], None]) -> None:
        """`ask` is called by the first signal."""
        self._ask = ask

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        now_ms = self._clock.now_ms()
        if self._asked_ms is None:
            self._asked_ms = now_ms
            if self._ask is None:
                os._exit(0)  # an exception here could be swallowed by whatever is being imported
            self._ask()
        elif now_ms - self._asked_ms >= REPEATED_MS:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def run_node(settings: Settings) -> None:
    """Run the peer until it is stopped, finished or left; its log goes to standard output.

    Raises:
        RaftGossipError: it cannot start or go on; says why and what to do.
    """
    signals = StopSignals(SystemClock())
    reference = settings.values.get("task")
    if not isinstance(reference, str):
        raise ConfigError("no task: give --task digits, --task hospitals or a class of your own, my_task.py:MyTask")
    config = settings.peer_config(reference)  # first, so that a mistake need not wait for torch
    options = _data_options(settings)

    from raftgossip.learning.task import load_task
    from raftgossip.observe.log import fact_logger
    from raftgossip.peer.peer import Peer

    log_format, log_level = str(settings.command("log_format")), str(settings.command("log_level"))
    task = load_task(reference, **options)  # type: ignore[arg-type]  # each was read by the rule of its key
    peer = Peer(task, replace(config, task=type(task).__name__))  # by class, as a script's Peer(task) does it

    def metrics(fact: Fact) -> Mapping[str, object]:
        """What the ledger adds to the line of an epoch."""
        record = peer.node.record(fact.epoch) if isinstance(fact, EpochClosed) and peer.node is not None else None
        return {"metrics": dict(record.metrics)} if record is not None and record.metrics else {}

    peer.subscribe(fact_logger(sys.stdout, SystemClock().wall_ms, log_format, log_level, metrics))
    signals.watch(peer.request_stop)
    peer.run()


def print_settings(settings: Settings) -> None:
    """Every setting, its value, and where it came from.

    Raises:
        ConfigError: two values contradict each other.
    """
    rows = [(key, _plain(value), origin) for key, value, origin in table(settings)]
    if settings.command("log_format") == "json":
        print_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
    else:
        print_table(("setting", "value", "from"), [(key, _shown(value), origin) for key, value, origin in rows])


def _data_options(settings: Settings) -> dict[str, object]:
    """This node's part of the data, for `load_task`.

    Raises:
        ConfigError: a part without the number of parts, or the other way round.
    """
    options = {key: settings.command(key) for key in ("shard", "num_shards", "partition", "data_seed")}
    if (options["shard"] is None) != (options["num_shards"] is None):
        raise ConfigError("shard and num_shards belong together: give --shard I and --num-shards N, or neither")
    return {key: value for key, value in options.items() if value is not None}


def _plain(value: object) -> object:
    match value:
        case Path():
            return str(value)
        case tuple():
            return list(value)
        case Mapping():
            return dict(value)
        case _:
            return value


def _shown(value: object) -> str:
    match value:
        case None | [] | {}:
            return "-"
        case list():
            return ", ".join(str(each) for each in value)
        case dict():
            return ", ".join(f"{key}={each}" for key, each in value.items())
        case bool():
            return str(value).lower()
        case _:
            return str(value)
