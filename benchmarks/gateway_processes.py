"""The processes of the gateway benchmarks: the gateway as its users start it, the bare server, and the callers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raft_figures import ROOT

CALLERS = ROOT / "benchmarks" / "gateway_callers.py"
START_LINE = "gateway listening on "
UNLIMITED = ("--rate-per-s", "1000000", "--burst", "1000000", "--max-calls-per-caller", "100000")
"""Where the server's own speed is measured, the limit per caller would be what is seen."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that runs."""

    address: str
    process: subprocess.Popen[str]

    def rss_mb(self) -> float:
        """Resident memory now, in MB (10^6 bytes). Needs Linux."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("the server has ended")


def _start(command: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@contextmanager
def _served(command: Sequence[str]) -> Iterator[Served]:
    process = _start(command)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"{' '.join(command)} did not start")
        address = line.removeprefix(START_LINE)
        yield Served(address if ":" in address else f"127.0.0.1:{address}", process)
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def gateway(*flags: str, keys: Path | None = None, port: int = 0) -> Iterator[Served]:
    """A gateway, killed at the end."""
    trust = ("--insecure",) if keys is None else ("--keys", str(keys))
    command = ("-m", "gateway", "--host", "127.0.0.1", "--port", str(port), "--log-level", "ERROR", *trust, *flags)
    with _served(command) as served:
        yield served


@contextmanager
def bare_server(keys: Path | None = None, num_workers: int = 10) -> Iterator[Served]:
    """A server with empty handlers on the same stack."""
    trust = () if keys is None else ("--keys", str(keys))
    with _served((str(CALLERS), "bare", "--workers", str(num_workers), *trust)) as served:
        yield served


def start_callers(
    what: str, address: str, nodes: tuple[int, int], keys: Path | None = None, **options: object
) -> subprocess.Popen[str]:
    """Begin to call; `options` are flags of gateway_callers.py, True for one without a value."""
    flags = [part for name, value in options.items() for part in _flag(name, value)]
    trust = [] if keys is None else ["--keys", str(keys)]
    return _start((str(CALLERS), what, "--address", address, "--nodes", *map(str, nodes), *trust, *flags))


def results_of(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What callers saw, when they have ended."""
    output, _ = process.communicate()
    if process.returncode != 0:
        raise RuntimeError("the callers failed")
    return [json.loads(line) for line in output.splitlines()]


def call(
    what: str, address: str, nodes: tuple[int, int], keys: Path | None = None, **options: object
) -> dict[str, Any]:
    """Call and wait for the end; what was seen."""
    return results_of(start_callers(what, address, nodes, keys, **options))[-1]


def _flag(name: str, value: object) -> tuple[str, ...]:
    return (f"--{name}",) if value is True else (f"--{name}", str(value))
