"""The gateway's two programs as real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ([str(ROOT / "gateway" / "grpc_gateway_server.py")], ["-m", "gateway"])
"""Two ways to start the same program."""
CLIENT = [str(ROOT / "gateway" / "grpc_gateway_client.py")]


def run(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """A Python process that ends by itself."""
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=30)


class GatewayProcess:
    """A gateway as a process of its own, on a free port unless told otherwise."""

    def __init__(self, command: list[str], *arguments: str, folder: Path = ROOT) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command, "--port", "0", *arguments],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> GatewayProcess:
        assert self._process.stdout is not None
        self.first_line = self._process.stdout.readline()
        self.port = self.first_line.strip().rpartition(":")[2]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal twice; exit code and what was logged."""
        self._process.send_signal(number)
        self._process.send_signal(number)
        errors = self._process.communicate(timeout=20)[1]
        return self._process.returncode, errors
