"""The baseline of the Raft benchmarks: PySyncObj 0.3.17 in processes of its own, at its fastest.

Its journal is on, so that a restarted process knows its log; batches do not wait (`appendEntriesUseBatch=False`, by
default it waits up to 100 ms); compaction never comes within a run. It never calls fsync, which ours does. Commands are
texts: its serialisation of bytes is several times slower. Load is made inside the leader's process: the callback of a
commit proposes the next command, on PySyncObj's own thread.

A process is told what to do by lines of JSON on standard input, and answers each with one line.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "PySyncObj"
INSTALL = "the baseline needs pysyncobj==0.3.17: pip install 'raftgossip[dev]', or leave it out with --no-baseline"
RETRY_S = 0.01
"""How often a proposal is tried again while there is no leader."""
PATIENCE_S = 30.0


def is_installed() -> bool:
    """Whether the baseline can be run here."""
    return importlib.util.find_spec("pysyncobj") is not None


class _Load:
    """Keeps a number of commands waiting until the time is up, and remembers how long each took."""

    def __init__(self, propose: Callable[..., None], num_proposers: int, seconds: float, num_bytes: int) -> None:
        self._propose, self._num_waiting = propose, num_proposers
        self._command = "x" * num_bytes
        self._latencies_ns: list[int] = []
        self._num_failed = 0
        self._done = threading.Event()
        self._start_ns = time.perf_counter_ns()
        self._end_ns = self._start_ns + int(1e9 * seconds)

    def run(self) -> dict[str, object]:
        """Until the last command is answered; blocks."""
        for _ in range(self._num_waiting):
            self._next()
        assert self._done.wait(PATIENCE_S), "PySyncObj lost a proposal"
        return latency_summary(self._latencies_ns, (time.perf_counter_ns() - self._start_ns) / 1e9, self._num_failed)

    def _next(self) -> None:
        start_ns = time.perf_counter_ns()
        self._propose(self._command, callback=lambda _, error: self._answered(start_ns, error))

    def _answered(self, start_ns: int, error: int) -> None:
        now_ns = time.perf_counter_ns()
        if error:
            self._num_failed += 1
        else:
            self._latencies_ns.append(now_ns - start_ns)
        if now_ns < self._end_ns:
            self._next()
            return
        self._num_waiting -= 1
        if self._num_waiting == 0:
            self._done.set()


def latency_summary(latencies_ns: list[int], seconds: float, num_failed: int) -> dict[str, object]:
    """What a load came to: how many per second, and how long one took."""
    ordered = sorted(latencies_ns) or [0]
    return {
        "count": len(latencies_ns),
        "failed": num_failed,
        "per_s": len(latencies_ns) / seconds,
        "p50_ms": ordered[len(ordered) // 2] / 1e6,
        "p99_ms": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1e6,
    }


def work_as_node(self_address: str, other_addresses: list[str], journal: str) -> None:
    """One node: do what the lines on standard input say until there are no more."""
    library = importlib.import_module("pysyncobj")

    class Register(library.SyncObj):  # type: ignore[name-defined, misc] # PySyncObj replicates its subclasses' methods
        """Keeps the last command."""

        value = ""

        @library.replicated  # type: ignore[untyped-decorator] # it has no types
        def put(self, command: str) -> None:
            """The replicated method."""
            self.value = command

    settings = library.SyncObjConf(
        journalFile=journal, appendEntriesUseBatch=False, logCompactionMinEntries=10**9, logCompactionMinTime=10**9
    )
    node = Register(self_address, other_addresses, settings)
    answers: dict[str, Callable[[dict[str, Any]], dict[str, object]]] = {
        "status": lambda _: {"is_leader": node.getStatus()["leader"] == node.selfNode, "is_ready": node.isReady()},
        "load": lambda ask: _Load(node.put, ask["proposers"], ask["seconds"], ask["bytes"]).run(),
        "next_commit": lambda _: {"at_s": _next_commit(node)},
    }
    for line in sys.stdin:
        ask = json.loads(line)
        print(json.dumps(answers[ask["op"]](ask)), flush=True)
    node.destroy()


def _next_commit(node: Any) -> float:
    """Propose until a command is committed; when that was, on the clock that all processes of a machine share."""
    committed = threading.Event()
    while not committed.is_set():
        node.put("y", callback=lambda _, error: None if error else committed.set())
        committed.wait(RETRY_S)
    return time.perf_counter()


class PySyncObjCluster:
    """`num_nodes` processes on loopback, journals in a folder of their own. Ends them on exit."""

    def __init__(self, num_nodes: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._addresses = [f"127.0.0.1:{port}" for port in _free_ports(num_nodes)]
        self._processes: dict[int, subprocess.Popen[str]] = {}

    def __enter__(self) -> PySyncObjCluster:
        try:
            for place in range(len(self._addresses)):
                self.start(place)
            self.leader()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for place in list(self._processes):
            self.kill(place)
        self._folder.cleanup()

    def start(self, place: int) -> None:
        """Start a node, or start it again with what its journal holds."""
        own = self._addresses[place]
        others = [address for address in self._addresses if address != own]
        journal = str(Path(self._folder.name, f"journal-{place}"))
        self._processes[place] = subprocess.Popen(
            [sys.executable, __file__, json.dumps([own, others, journal])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # where it says at every repeated message that it cuts applied entries off
            text=True,
        )

    def kill(self, place: int) -> None:
        """kill -9."""
        process = self._processes.pop(place)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()

    def leader(self) -> int:
        """Who leads; waits until somebody does and everybody has caught up."""
        deadline_s = time.perf_counter() + PATIENCE_S
        while time.perf_counter() < deadline_s:
            statuses = {place: self._ask(place, {"op": "status"}) for place in self._processes}
            leaders = [place for place, status in statuses.items() if status["is_leader"]]
            if len(leaders) == 1 and all(status["is_ready"] for status in statuses.values()):
                return leaders[0]
            time.sleep(RETRY_S)
        raise RuntimeError(f"{NAME} has no leader after {PATIENCE_S} s")

    def load(self, num_proposers: int, seconds: float, num_bytes: int) -> dict[str, Any]:
        """Let the leader commit as fast as it can; what `latency_summary` says."""
        ask = {"op": "load", "proposers": num_proposers, "seconds": seconds, "bytes": num_bytes}
        return self._ask(self.leader(), ask)

    def fail_over(self) -> float:
        """Kill the leader; seconds until somebody else commits. The victim is started again."""
        victim = self.leader()
        self._processes[victim].send_signal(signal.SIGKILL)
        killed_s = time.perf_counter()
        survivors = [place for place in self._processes if place != victim]
        for place in survivors:
            self._tell(place, {"op": "next_commit"})
        committed_s = min(self._answer(place)["at_s"] for place in survivors)
        self.kill(victim)
        self.start(victim)
        return float(committed_s) - killed_s

    def _ask(self, place: int, ask: dict[str, object]) -> dict[str, Any]:
        self._tell(place, ask)
        return self._answer(place)

    def _tell(self, place: int, ask: dict[str, object]) -> None:
        stream = self._processes[place].stdin
        assert stream is not None
        stream.write(json.dumps(ask) + "\n")
        stream.flush()

    def _answer(self, place: int) -> dict[str, Any]:
        stream = self._processes[place].stdout
        assert stream is not None
        line = stream.readline()
        if not line:
            raise RuntimeError(f"process {place} of {NAME} ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _free_ports(count: int) -> list[int]:
    """Ports that are free now: PySyncObj must know them all before the first process starts."""
    with_ports = [socket.socket() for _ in range(count)]
    try:
        for one in with_ports:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in with_ports]
    finally:
        for one in with_ports:
            one.close()


if __name__ == "__main__":
    work_as_node(*json.loads(sys.argv[1]))
