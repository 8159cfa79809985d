"""Clusters of real register processes on loopback: start, kill, freeze and ask them.

Everything here blocks and may be used from several threads, one client per thread. What the processes are told and
answer is described in `register_process.py`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.register_process import NodeArguments

ROOT = Path(__file__).resolve().parents[2]
START_S = 30.0
PAUSE_S = 0.005
"""Between two looks at, or two questions to, processes that are not ready."""

Answer = dict[str, Any]


class Unanswered(Exception):
    """The connection broke or no answer came in time: what was asked may have been done, or will be."""


class RegisterClient:
    """A connection to one node; opened anew when it broke."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self._port, self._timeout_s = port, timeout_s
        self._socket: socket.socket | None = None
        self._unread = b""

    def ask(self, op: str, **fields: object) -> Answer:
        """Ask, and wait for the answer; one that holds `error` is an answer, too.

        Raises:
            ConnectionError: nobody listens; nothing was asked.
            Unanswered: it may have been heard.
        """
        if self._socket is None:
            self._socket, self._unread = self._connect(), b""
        try:
            self._socket.sendall(json.dumps({"op": op, **fields}).encode() + b"\n")
            while b"\n" not in self._unread:
                data = self._socket.recv(1 << 16)
                if not data:
                    raise ConnectionResetError("the node closed the connection")
                self._unread += data
        except OSError as error:
            self.close()
            raise Unanswered(f"{op}: {error}") from None
        line, _, self._unread = self._unread.partition(b"\n")
        answer: Answer = json.loads(line)
        return answer

    def _connect(self) -> socket.socket:
        try:
            connection = socket.create_connection(("127.0.0.1", self._port), self._timeout_s)
        except OSError as error:
            raise ConnectionRefusedError(f"port {self._port}: {error}") from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def close(self) -> None:
        """Close the connection. Harmless when repeated."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class RegisterProcess:
    """One node; its store and its complaints (`stderr`) lie in its folder and survive it."""

    def __init__(self, arguments: NodeArguments) -> None:
        self.node_id = arguments.node_id
        self.folder = Path(arguments.folder)
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None
        self.raft_address = ""
        self.client_port = 0

    @property
    def is_running(self) -> bool:
        """Whether it was started and not killed; it may be frozen."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, f"node {self.node_id} does not run"
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it listens; it does not know its neighbours yet."""
        assert self._process is None, f"node {self.node_id} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stderr").open("a") as complaints:
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.register_process", self._arguments.encode()],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            self.kill()
            raise RuntimeError(f"node {self.node_id} did not start: {self.complaints()}")
        said = json.loads(line)
        self.raft_address, self.client_port = said["raft"], said["clients"]

    def tell_peers(self, addresses: dict[int, str]) -> None:
        """Say where the neighbours are; a frozen process hears it later, and a dead one not at all."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"peers": addresses}) + "\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass

    def kill(self) -> None:
        """kill -9, also if it is frozen. Harmless when repeated."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        process.stdout.close()

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def complaints(self) -> str:
        """What it wrote on standard error, over all its lives."""
        return (self.folder / "stderr").read_text()

    def client(self, timeout_s: float = 5.0) -> RegisterClient:
        """A new connection to it."""
        return RegisterClient(self.client_port, timeout_s)

    def ask(self, op: str, timeout_s: float = 5.0, **fields: object) -> Answer | None:
        """One question on a connection of its own; None: no answer."""
        client = self.client(timeout_s)
        try:
            return client.ask(op, **fields)
        except (Unanswered, ConnectionError):
            return None
        finally:
            client.close()

    def cpu_s(self) -> float:
        """Processor seconds that it has used so far. Needs Linux."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class RegisterCluster:
    """Nodes 1 to `num_voters`, which found the cluster, in a folder that is removed at the end. Ends them on exit."""

    def __init__(self, num_voters: int, settings: dict[str, int] | None = None) -> None:
        """`settings`: of `RaftConfig`, where they are not the defaults."""
        self._folder = tempfile.TemporaryDirectory()
        self._voters = tuple(range(1, num_voters + 1))
        self._settings = settings or {}
        self.nodes: dict[int, RegisterProcess] = {}
        for node_id in self._voters:
            self._add(node_id)

    def _add(self, node_id: int) -> RegisterProcess:
        folder = str(Path(self._folder.name, f"node-{node_id}"))
        arguments = NodeArguments(node_id, folder, self._voters, self._settings)
        node = self.nodes[node_id] = RegisterProcess(arguments)
        return node

    def __enter__(self) -> RegisterCluster:
        try:
            for node in self.nodes.values():
                node.start()
            self.tell_all()
            self.leader()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes.values():
            node.kill()
        self._folder.cleanup()

    def start(self, node_id: int) -> None:
        """Start a node again with what its disk holds, or a new one, which is no voter yet; tell everybody of it."""
        node = self.nodes.get(node_id) or self._add(node_id)
        node.start()
        self.tell_all()

    def tell_all(self) -> None:
        """Tell every node where all are."""
        addresses = {node.node_id: node.raft_address for node in self.nodes.values() if node.is_running}
        for node in self.nodes.values():
            node.tell_peers(addresses)

    def others(self, node: RegisterProcess) -> list[RegisterProcess]:
        """All but one."""
        return [other for other in self.nodes.values() if other is not node]

    def statuses(self, among: Sequence[RegisterProcess] | None = None) -> dict[int, Answer]:
        """What the nodes that answer know of themselves."""
        asked = {
            node.node_id: node.ask("status", timeout_s=1.0)
            for node in (self.nodes.values() if among is None else among)
            if node.is_running
        }
        return {node_id: status for node_id, status in asked.items() if status is not None}

    def leader(self, among: Sequence[RegisterProcess] | None = None) -> RegisterProcess:
        """Who leads in the newest term; waits until somebody does.

        Raises:
            RuntimeError: nobody within `START_S`.
        """
        deadline_s = time.perf_counter() + START_S
        while time.perf_counter() < deadline_s:
            leading = {
                status["term"]: node_id
                for node_id, status in self.statuses(among).items()
                if status["role"] == "leader"
            }
            if leading:
                return self.nodes[leading[max(leading)]]
            time.sleep(PAUSE_S)
        raise RuntimeError(f"no leader within {START_S} s; {self.statuses()}")

    def wait_applied(self, node: RegisterProcess, index: int, seconds: float = START_S) -> float:
        """Wait until a node has applied so far; returns how long that took.

        Raises:
            RuntimeError: it has not within `seconds`.
        """
        start_s = time.perf_counter()
        client = node.client()
        try:
            while (waited_s := time.perf_counter() - start_s) < seconds:
                try:
                    if client.ask("status")["applied_index"] >= index:
                        return time.perf_counter() - start_s
                except (Unanswered, ConnectionError):
                    pass
                time.sleep(PAUSE_S)
        finally:
            client.close()
        raise RuntimeError(f"node {node.node_id} has not applied entry {index} within {waited_s:.1f} s")
