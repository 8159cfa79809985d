"""The demo's processes: a gateway and its peers on loopback, killed on purpose, and none of them left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import raftgossip
from raftgossip.cli import demo_guardian
from raftgossip.cli.operator import ask_epochs, ask_status
from raftgossip.errors import RaftGossipError
from raftgossip.ids import Address
from raftgossip.observe.run_files import open_log, read_lines
from raftgossip.runtime.grpc_documents import EpochDocument, StatusDocument
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role

STOP_S = 6.0
"""A process that was asked to stop is killed after so long; a leader hands over within 1.5 s."""
STATUS_TIMEOUT_MS = 1_000
GATEWAY_LINE = "gateway listening on "


class Guardian:
    """Sees to it that no process outlives the demo, not even if the demo is killed with -9."""

    def __init__(self) -> None:
        """Start the guarding program; it is out of reach of the terminal's Ctrl-C."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", demo_guardian.__file__],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def started(self, group: int) -> None:
        """This process group exists from now on."""
        self._tell(group)

    def ended(self, group: int) -> None:
        """This process group is gone, and its number may soon belong to somebody else."""
        self._tell(-group)

    def close(self) -> None:
        """End the guarding program, and whatever it still guards."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # somebody has ended the guardian; the processes are stopped without it
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, number: int) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{number}\n")
            self._process.stdin.flush()


class Child:
    """One process of the demo with its log. It may be started again after its end."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        guardian: Guardian,
        address_in: Callable[[str], str | None],
        environment: Mapping[str, str],
    ) -> None:
        """`command`: a command line of `raftgossip`; `address_in` finds in a line of the log where it listens."""
        self.name = name
        self.log = log
        self._command = command
        self._guardian = guardian
        self._address_in = address_in
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def is_started(self) -> bool:
        """Whether it was started, and not ended by the demo since."""
        return self._process is not None

    def start(self) -> None:
        """Start it; it listens some time later."""
        with open_log(self.log) as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, *_import_options(), "-m", "raftgossip.cli.main", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,  # the terminal's Ctrl-C is for the demo alone, which stops them in order
            )
        self._guardian.started(self._process.pid)

    def address(self) -> Address | None:
        """Where it listens; None: not yet."""
        for line in read_lines(self.log, self._log_start):
            text = self._address_in(line)
            if text is not None:
                return Address.parse(text)
        return None

    def check(self) -> None:
        """Do nothing if it is as it should be.

        Raises:
            RaftGossipError: it ended by itself; says why, as far as its log does.
        """
        code = self._process.poll() if self._process is not None else None
        if code is not None:
            said = [line.strip() for line in read_lines(self.log, self._log_start) if line.strip()]
            last = said[-1] if said else "it said nothing"
            raise RaftGossipError(f"{self.name} ended by itself with code {code}: {last}")

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL if that takes too long."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            process.send_signal(number)
            process.wait(STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # whatever it has started itself, too
        process.wait()
        self._guardian.ended(process.pid)


class PeerProcess:
    """One peer: its process, and the connection over which it is asked."""

    def __init__(self, node_id: int, process: Child, data_dir: Path, credentials: LiveCredentials | None) -> None:
        """Nothing is started yet. `credentials`: as whom it is asked; None: in the open."""
        self.node_id = node_id
        self.process = process
        self.data_dir = data_dir
        self._credentials = credentials
        self._client: OperatorClient | None = None

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next question opens one to wherever the peer listens then."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def status(self) -> StatusDocument | None:
        """What it knows; None: it is not there, or does not answer now."""
        client = self._connected()
        try:
            return ask_status(client) if client is not None else None
        except RaftGossipError:
            return None

    def epochs(self, first: int) -> list[EpochDocument] | None:
        """The ended epochs in its ledger from `first` on; None: it does not answer now."""
        client = self._connected()
        try:
            return ask_epochs(client, first) if client is not None else None
        except RaftGossipError:
            return None

    def _connected(self) -> OperatorClient | None:
        address = self.process.address() if self._client is None and self.process.is_started else None
        if address is not None:
            self._client = OperatorClient(address, self._credentials, STATUS_TIMEOUT_MS)
        return self._client


class Cast:
    """All processes of the demo."""

    def __init__(self, folder: Path, environment: Mapping[str, str], keys: KeyFolder | None) -> None:
        """Nothing is started yet but the guardian. `folder`: for logs and the peers' states; `keys`: everybody's; None:
        all speak in the open."""
        self._folder = folder
        self._environment = environment
        self._guardian = Guardian()
        self.keys = keys
        self._credentials = keys.credentials(Role.OPERATOR) if keys is not None else None
        # Keys of the user's own, which may lie in this folder, are none of the demo's business.
        self._trust = ["--keys", str(keys.path)] if keys is not None else ["--insecure"]
        data_dir = str(folder / "gateway")
        command = ["gateway", "--host", "127.0.0.1", "--port", "0", "--new", "--data-dir", data_dir, *self._trust]
        self.gateway = self._child("the gateway", "gateway", command, _address_of_gateway)
        self.peers: dict[int, PeerProcess] = {}

    def add_peer(self, node_id: int, settings: Sequence[str]) -> None:
        """Start a peer with these settings of `raftgossip node`."""
        name = f"node-{node_id}"
        data_dir = self._folder / name
        own = ["node", "--node-id", str(node_id), "--data-dir", str(data_dir), "--json", *self._trust, *settings]
        process = self._child(f"node {node_id}", name, own, _address_of_node)
        self.peers[node_id] = PeerProcess(node_id, process, data_dir, self._credentials)
        process.start()

    def check(self) -> None:
        """Do nothing if all is as it should be.

        Raises:
            RaftGossipError: a process ended by itself; says which and why.
        """
        for child in self._children():
            child.check()

    def stop(self) -> None:
        """End all of them cleanly, the peers first; those that do not end in time are killed."""
        for child in self._children():
            child.ask_to_stop()
        for child in self._children():
            child.stop()
        for peer in self.peers.values():
            peer.disconnect()

    def close(self) -> None:
        """Stop, and end the guardian."""
        try:
            self.stop()
        finally:
            self._guardian.close()

    def _children(self) -> list[Child]:
        return [*(peer.process for peer in self.peers.values()), self.gateway]

    def _child(self, name: str, log: str, command: Sequence[str], address_in: Callable[[str], str | None]) -> Child:
        return Child(name, command, self._folder / f"{log}.log", self._guardian, address_in, self._environment)


def _import_options() -> list[str]:
    """-P keeps the user's folder, with whatever modules lie there, out of the search; a bare checkout needs it in."""
    package_parent = Path(raftgossip.__file__).resolve().parent.parent
    return [] if package_parent == Path.cwd() else ["-P"]


def _address_of_gateway(line: str) -> str | None:
    return line.removeprefix(GATEWAY_LINE).strip() if line.startswith(GATEWAY_LINE) else None


def _address_of_node(line: str) -> str | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    listens = isinstance(entry, dict) and entry.get("event") == "listening"
    return str(entry["address"]) if listens else None
