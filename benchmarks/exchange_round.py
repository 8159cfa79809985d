"""What one exchange costs: wall time and peak memory of ours beside those of its baseline, on loopback.

Figures, as DESIGN.md section 12 names them; a ratio is ours / baseline:

- `exchange.exact4.45mb`: seconds in which 4 peer processes find the exact average of 11.7 million float32, by
  `run_attempt` over `ExchangeHub` and `PeerServer` (gRPC, topology base, fedavg), without Raft around it. Baseline:
  gloo's all_reduce (a sum) of the same vectors in 4 processes. Less is better.
- `exchange.rss.45mb`: the peak of resident memory in that exchange above the idle process, in models; the largest of
  the peers. Idle: everything is imported and connected, and there is no vector yet. Needs Linux.
- `exchange.step.grpc`: GB/s of payload, both directions together, of one step between 2 peers. Baseline: one bare gRPC
  bidirectional stream of the same bytes, in chunks of 1 MiB that nobody hashes or folds. More is better.

Another `--elements` than 11,700,000 changes the names (100,000,000: `.400mb`), so that figures of different sizes are
never mixed up.

Method: the processes of both sides start once and stay; each is idle while the other side works, in turn A B A B …,
after one pair that does not count. A run starts at an instant that all processes were told beforehand, and ends when
the last of them is done. Then each process checks its result; a wrong one ends the benchmark. Each figure is a median,
the ratio that of the pairs' ratios, since a busy machine slows neighbours in time alike. Standard error says how far
the ratios lie apart, and what processor time both sides took.

Example: python benchmarks/exchange_round.py --quick --json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol, cast

import grpc
import numpy as np

from raftgossip.cli.environment import environment_for_children
from raftgossip.ids import Address, NodeId
from raftgossip.learning.algorithm import State, make_algorithm
from raftgossip.peer.attempt import AttemptWork, run_attempt
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.exchange import Cancellation, ExchangeHub
from raftgossip.runtime.grpc_server import PeerServer
from raftgossip.runtime.service import PeerService
from raftgossip.topology.schedule import make_plan
from raftgossip.update import FloatVector

NUM_PAIRS, NUM_QUICK_PAIRS = 7, 2
ELEMENTS = 11_700_000
"""ResNet-18's size."""
SIZE_NAMES = {ELEMENTS: "45mb", 100_000_000: "400mb"}
NUM_SAMPLES = 100
"""Each peer's; not 1, which would spare it the division by the mass that every real exchange needs."""
TABLE_ELEMENTS = 65_521
"""A prime, so that a chunk that lands in the wrong place does not meet its equal there."""
CHUNK_BYTES = 1 << 20
LEAD_S = 0.05
"""From the message that names the start to the start itself: long enough to reach every process."""
TIMEOUT_S = 120.0
"""A run that takes longer has failed."""
EXCHANGE = "/Bare/Exchange"


def vector_of(rank: int, num_elements: int) -> FloatVector:
    """What process `rank` brings: (num_elements,) float32, a random table over and over."""
    return np.resize(_table(rank), num_elements)


def check_mean(vector: FloatVector, num_ranks: int, scale: float = 1.0) -> None:
    """Compare `vector` / `scale` with the mean of all ranks' vectors, piece by piece: a copy would count as memory.

    Raises:
        ValueError: an element is further away than float32 rounding explains.
    """
    expected = np.mean([_table(rank).astype(np.float64) for rank in range(num_ranks)], axis=0) * scale
    for start in range(0, len(vector), TABLE_ELEMENTS):
        piece = vector[start : start + TABLE_ELEMENTS]
        # Elements are about 1, and two steps of float32 arithmetic move them by a few 1e-7.
        wrong = np.abs(piece - expected[: len(piece)]) > 4e-6 * scale
        if wrong.any():
            raise ValueError(f"element {start + int(np.argmax(wrong))} is not the mean of {num_ranks} vectors")


def _table(rank: int) -> FloatVector:
    return np.random.default_rng(rank).standard_normal(TABLE_ELEMENTS, dtype=np.float32)


class Contestant(Protocol):
    """One process of one side. Between `prepare` and `check` it runs once."""

    address: str
    """Where the others reach it; empty if they find each other without."""

    def connect(self, addresses: list[str]) -> None:
        """All processes of this side are there, by rank."""

    def prepare(self, run: int) -> None:
        """Get ready for run number `run`; not timed."""

    def run(self) -> None:
        """What is timed."""

    def check(self) -> None:
        """Look at the result, then let go of it.

        Raises:
            ValueError: it is wrong.
        """

    def close(self) -> None:
        """Let go of everything."""


class OurPeer:
    """A peer's own exchange: hub, server, algorithm and plan, driven by what the ledger would say."""

    def __init__(self, rank: int, num_ranks: int, num_elements: int) -> None:
        self._rank, self._num_elements = rank, num_elements
        self._participants = tuple(NodeId(other + 1) for other in range(num_ranks))
        self._node_id = self._participants[rank]
        self._addresses: dict[NodeId, Address] = {}
        self._hub = ExchangeHub(self._addresses.get)
        self._loop = asyncio.new_event_loop()
        # An exchange never asks the service or its loop; both are there for Raft and the operator.
        self._server = PeerServer(cast(PeerService, None), self._hub, self._loop)
        self.address = str(Address("127.0.0.1", self._server.start("127.0.0.1", 0)))
        self._algorithm = make_algorithm("fedavg")
        self._state: State | None = None
        self._work: AttemptWork | None = None
        self._mean: FloatVector | None = None

    def connect(self, addresses: list[str]) -> None:
        """Learn where the others are; the first exchange dials them."""
        self._addresses.update(zip(self._participants, map(Address.parse, addresses), strict=True))

    def prepare(self, run: int) -> None:
        """Make the state after local training, and what the ledger would say of epoch `run` + 1."""
        if self._state is None:
            trained = vector_of(self._rank, self._num_elements)
            start = self._algorithm.init(trained, NUM_SAMPLES)
            self._state = self._algorithm.local_update(start, trained)
        plan = make_plan("base", self._participants, run + 1, 0, self._num_elements, require_exact=True)
        deadline_ms = SystemClock().now_ms() + int(1000 * TIMEOUT_S)
        self._work = AttemptWork("benchmark", run + 1, 1, self._node_id, b"s" * 32, plan, deadline_ms)

    def run(self) -> None:
        """One attempt."""
        assert self._work is not None and self._state is not None
        result = run_attempt(self._work, self._algorithm, self._state, self._hub, SystemClock(), Cancellation())
        if result.model is None:
            raise ValueError(f"node {self._node_id} has no mean: {result.failed_edges}")
        self._mean = result.model

    def check(self) -> None:
        """It must be the mean."""
        assert self._mean is not None and len(self._mean) == self._num_elements
        check_mean(self._mean, len(self._participants))
        self._mean = None

    def close(self) -> None:
        """End server and hub."""
        self._server.stop(0)
        self._hub.close()
        self._loop.close()


class GlooPeer:
    """torch.distributed with gloo; the processes meet through a file."""

    def __init__(self, rank: int, num_ranks: int, num_elements: int, meeting_file: str) -> None:
        import torch  # no other contestant needs it, and it would count as their memory

        self.address = ""
        self._rank, self._num_ranks, self._num_elements = rank, num_ranks, num_elements
        self._meeting_file = meeting_file
        self._torch = torch
        self._sum: torch.Tensor | None = None
        torch.set_num_threads(1)

    def connect(self, addresses: list[str]) -> None:
        """Meet the others; they tell each other where they are."""
        del addresses
        self._torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{self._meeting_file}",
            rank=self._rank,
            world_size=self._num_ranks,
            timeout=timedelta(seconds=TIMEOUT_S),
        )

    def prepare(self, run: int) -> None:
        """The vector, anew: all_reduce works in place."""
        del run
        self._sum = self._torch.from_numpy(vector_of(self._rank, self._num_elements))

    def run(self) -> None:
        """One all_reduce."""
        self._torch.distributed.all_reduce(self._sum)

    def check(self) -> None:
        """It must be the mean, times the number of processes."""
        assert self._sum is not None and len(self._sum) == self._num_elements
        check_mean(self._sum.numpy(), self._num_ranks, scale=self._num_ranks)
        self._sum = None

    def close(self) -> None:
        """Part from the others."""
        self._torch.distributed.destroy_process_group()


class BareStream:
    """One end of a gRPC stream that carries a vector each way as raw bytes; rank 0 dials, rank 1 answers."""

    def __init__(self, rank: int, num_ranks: int, num_elements: int) -> None:
        assert num_ranks == 2
        self._rank, self._num_elements = rank, num_elements
        self._threads = ThreadPoolExecutor(4)
        self._server = grpc.server(self._threads)
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Exchange": grpc.stream_stream_rpc_method_handler(self._answer)
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bare", handlers),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()
        self._channel: grpc.Channel | None = None
        self._vector: FloatVector | None = None
        self._received: Future[list[tuple[int, float]]] = Future()

    def connect(self, addresses: list[str]) -> None:
        """Rank 0 will dial rank 1."""
        self._channel = grpc.insecure_channel(addresses[1])

    def prepare(self, run: int) -> None:
        """The vector to send, and an empty place for what comes."""
        del run
        if self._vector is None:
            self._vector = vector_of(self._rank, self._num_elements)
        self._received = Future()

    def run(self) -> None:
        """Stream both ways; done when all has arrived here."""
        if self._rank == 0:
            assert self._channel is not None
            method: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(EXCHANGE)
            self._received.set_result(_receive(method(self._frames(), timeout=TIMEOUT_S)))
        self._received.result(TIMEOUT_S)

    def check(self) -> None:
        """Every chunk must have come, in order and in full, as far as its length and first element tell."""
        other = _table(1 - self._rank)
        chunk_elements = CHUNK_BYTES // 4
        due = [
            (4 * min(chunk_elements, self._num_elements - start), float(other[start % TABLE_ELEMENTS]))
            for start in range(0, self._num_elements, chunk_elements)
        ]
        if self._received.result() != due:
            raise ValueError("the bare stream lost something")

    def close(self) -> None:
        """Close the channel, then the server."""
        if self._channel is not None:
            self._channel.close()
        self._server.stop(None).wait()
        self._threads.shutdown()

    def _frames(self) -> Iterator[bytes]:
        assert self._vector is not None
        data = self._vector.data.cast("B")
        for offset in range(0, len(data), CHUNK_BYTES):
            yield bytes(data[offset : offset + CHUNK_BYTES])

    def _answer(self, frames: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        del context
        receiving = self._threads.submit(_receive, frames)
        yield from self._frames()
        self._received.set_result(receiving.result())


def _receive(frames: Iterator[bytes]) -> list[tuple[int, float]]:
    """Take all frames; keeps only each one's length and first element."""
    return [(len(frame), float(np.frombuffer(frame, "<f4", 1)[0])) for frame in frames]


def work_as(side: str, rank: int, num_ranks: int, num_elements: int, meeting_file: str) -> None:
    """Do what the lines on standard input say until there are no more: addresses first, then run after run."""
    makers: dict[str, Callable[[], Contestant]] = {
        "ours": lambda: OurPeer(rank, num_ranks, num_elements),
        "gloo": lambda: GlooPeer(rank, num_ranks, num_elements, meeting_file),
        "bare": lambda: BareStream(rank, num_ranks, num_elements),
    }
    contestant = makers[side]()
    _say({"address": contestant.address})
    contestant.connect(json.loads(sys.stdin.readline()))
    idle_bytes = _resident_bytes("VmRSS")
    _say({})
    for run, _ in enumerate(sys.stdin):  # a line to get ready, a line with the start
        contestant.prepare(run)
        _reset_peak()
        _say({})
        start_s = float(sys.stdin.readline())
        time.sleep(max(0.0, start_s - time.perf_counter()))
        cpu_s = time.process_time()
        contestant.run()
        end_s, cpu_s = time.perf_counter(), time.process_time() - cpu_s
        peak_bytes = _resident_bytes("VmHWM") - idle_bytes
        contestant.check()
        _say({"end_s": end_s, "cpu_s": cpu_s, "peak_bytes": peak_bytes})
    contestant.close()


def _say(answer: dict[str, object]) -> None:
    print(json.dumps(answer), flush=True)


def _resident_bytes(name: str) -> int:
    """A line of this process' memory status; 0 where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    line = next(line for line in status.read_text().splitlines() if line.startswith(name + ":"))
    return 1024 * int(line.split()[1])


def _reset_peak() -> None:
    peak = Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5")  # proc(5): resets VmHWM to what is resident now


@dataclass(frozen=True, slots=True)
class Run:
    """One side's run: seconds from the common start to the last process' end, and processor seconds of all."""

    wall_s: float
    cpu_s: float
    peak_bytes: float
    """The largest of the processes' peaks above idle."""


class Side:
    """The processes of one side. Ends them on exit."""

    def __init__(self, name: str, num_ranks: int, num_elements: int) -> None:
        self._name, self._num_ranks, self._num_elements = name, num_ranks, num_elements
        self._processes: list[subprocess.Popen[str]] = []
        self._resources = ExitStack()

    def __enter__(self) -> Side:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        folder = self._resources.enter_context(tempfile.TemporaryDirectory())
        shape = (str(self._num_ranks), str(self._num_elements), str(Path(folder, "meeting")))
        # gloo would otherwise listen where this machine's name points to.
        loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
        for rank in range(self._num_ranks):
            process = subprocess.Popen(
                [sys.executable, __file__, "--as", self._name, str(rank), *shape],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**environment_for_children(), "GLOO_SOCKET_IFNAME": loopback},
            )
            self._processes.append(process)
        self._tell(json.dumps([answer["address"] for answer in self._answers()]))
        self._answers()

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.close()
                process.wait(10)
            except (subprocess.TimeoutExpired, BrokenPipeError):
                process.kill()
                process.wait()
            process.stdout.close()
        self._resources.close()

    def run(self) -> Run:
        """Let all processes start at one instant.

        Raises:
            RuntimeError: a process ended, with its reason on standard error.
        """
        self._tell("")
        self._answers()
        start_s = time.perf_counter() + LEAD_S  # one clock for all processes of a machine
        self._tell(str(start_s))
        answers = self._answers()
        return Run(
            wall_s=max(answer["end_s"] for answer in answers) - start_s,
            cpu_s=sum(answer["cpu_s"] for answer in answers),
            peak_bytes=max(answer["peak_bytes"] for answer in answers),
        )

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()

    def _answers(self) -> list[dict[str, float]]:
        answers = []
        for rank, process in enumerate(self._processes):
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"process {rank} of {self._name} ended")
            answers.append(json.loads(line))
        return answers


def run_pairs(ours: str, baseline: str, num_ranks: int, num_elements: int, num_pairs: int) -> list[tuple[Run, Run]]:
    """Ours and the baseline in turn, after one pair to warm up."""
    with Side(ours, num_ranks, num_elements) as one, Side(baseline, num_ranks, num_elements) as other:
        return [(one.run(), other.run()) for _ in range(num_pairs + 1)][1:]


def figure(
    name: str, unit: str, baseline: str, pairs: list[tuple[Run, Run]], value_of: Callable[[Run], float]
) -> dict[str, object]:
    """One line of the result; how the pairs differ goes to standard error."""
    ours, theirs = ([value_of(pair[side]) for pair in pairs] for side in (0, 1))
    ratios = sorted(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True))
    cpu_s = [statistics.median(pair[side].cpu_s for pair in pairs) for side in (0, 1)]
    print(
        f"{name}: {len(pairs)} pairs, ratios {ratios[0]:.2f} to {ratios[-1]:.2f}; "
        f"processor s {cpu_s[0]:.3f}, baseline {cpu_s[1]:.3f}",
        file=sys.stderr,
    )
    return {
        "figure": name,
        "value": statistics.median(ours),
        "unit": unit,
        "baseline": baseline,
        "baseline_value": statistics.median(theirs),
        "ratio": statistics.median(ratios),
    }


def measure(num_elements: int, num_pairs: int) -> Iterator[dict[str, object]]:
    """All figures, each as soon as it is known."""
    model_bytes = 4 * num_elements
    size = SIZE_NAMES.get(num_elements, f"{num_elements}e")
    pairs = run_pairs("ours", "gloo", 4, num_elements, num_pairs)
    yield figure(f"exchange.exact4.{size}", "s", "gloo all_reduce", pairs, lambda run: run.wall_s)
    if Path("/proc/self/clear_refs").exists():
        name = f"exchange.rss.{size}"
        yield figure(name, "models", "gloo all_reduce", pairs, lambda run: run.peak_bytes / model_bytes)
    name = "exchange.step.grpc" if num_elements == ELEMENTS else f"exchange.step.grpc.{size}"
    pairs = run_pairs("ours", "bare", 2, num_elements, num_pairs)
    yield figure(name, "GB/s", "bare gRPC stream", pairs, lambda run: 2 * model_bytes / run.wall_s / 1e9)


def main() -> int:
    """Measure and print, or be one of the processes that are measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{NUM_QUICK_PAIRS} pairs instead of {NUM_PAIRS}")
    parser.add_argument("--json", action="store_true", help="one JSON object per figure and line")
    parser.add_argument("--elements", type=int, default=ELEMENTS, help="length of the vectors; default: %(default)s")
    parser.add_argument("--as", dest="role", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        side, rank, num_ranks, num_elements, meeting_file = options.role
        work_as(side, int(rank), int(num_ranks), int(num_elements), meeting_file)
        return 0
    if options.elements < 1:
        parser.error("--elements must be 1 or more")
    num_pairs = NUM_QUICK_PAIRS if options.quick else NUM_PAIRS
    if options.quick:
        print(f"quick: {num_pairs} pairs, too few for a figure to quote", file=sys.stderr)
    for line in measure(options.elements, num_pairs):
        text = "{figure}: {value:.3f} {unit}; {baseline}: {baseline_value:.3f}; ratio {ratio:.2f}"
        print(json.dumps(line) if options.json else text.format(**line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
