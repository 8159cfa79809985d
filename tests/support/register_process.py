"""One node of a replicated set of registers, as a process: the production parts of Raft, without the rest of a peer.

`python -m tests.support.register_process ARGUMENTS`, where ARGUMENTS is the JSON of a `NodeArguments`. It prints one
line, `{"raft": "host:port", "clients": port}`, and then reads lines `{"peers": {"2": "host:port", ...}}` on standard
input, as often as an address changes; it ends when there are no more. Nobody has to guess a free port.

Clients connect to the other port and send lines of JSON, each answered by one line, in order:

- `{"op": "write", "key", "value", "client", "sequence"}`, `cas` (with `expected` and `value`), `increment` (with
  `amount`): -> `{"result", "index"}`; a repeated sequence is executed once, and its answer is the first one's;
- `{"op": "read", "key"}` -> `{"result"}`, linearizable, at any node; `{"op": "stale_read", "key"}`: what is here now;
- `{"op": "status"}`, `{"op": "executions", "client", "from", "to"}`, `{"op": "transfer", "target"}`;
- `{"op": "load", "kind": "write" or "read", "proposers", "seconds", "bytes", "keys"}`: as fast as this node can, from
  inside; `keys`: of each proposer, one if left out.

Whatever fails is answered by `{"error": its class, "text"}`, with the `leader` that a `NotLeader` names. `timeout_ms`
may stand in every question.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from raftgossip.core.raft.config import RaftConfig
from raftgossip.core.raft.message import (
    Configuration,
    Entry,
    EntryKind,
    HardState,
    Message,
    RaftEvent,
    Ready,
    Received,
    Tick,
)
from raftgossip.core.raft.node import RaftNode
from raftgossip.errors import CommandRefused, RaftGossipError
from raftgossip.facts import Fact
from raftgossip.ids import Address, LogIndex, NodeId, Term
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.driver import Driver
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_client import PeerLinks
from raftgossip.runtime.grpc_server import PeerServer
from raftgossip.runtime.raft_host import RaftHost
from raftgossip.runtime.raft_socket import RaftSockets
from raftgossip.runtime.store import SqliteStore
from raftgossip.sim import registers
from raftgossip.sim.registers import Answer, Command, Operation, RegisterMachine

CLUSTER_ID = "registers"
TIMEOUT_MS = 2_000
MAX_LINE_BYTES = 4 << 20

Ask = dict[str, Any]


@dataclass(frozen=True, slots=True)
class NodeArguments:
    """What a process is told at its start."""

    node_id: int
    folder: str
    """For its store; kept over restarts."""
    voters: tuple[int, ...]
    """Who founds the cluster, the same at every node."""
    settings: dict[str, int] = field(default_factory=dict)
    """Of `RaftConfig`, where they are not the defaults."""

    def encode(self) -> str:
        """As a command line argument."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> NodeArguments:
        """What `encode` wrote."""
        values = json.loads(text)
        return cls(**{**values, "voters": tuple(values["voters"])})


class _Door:
    """What this node offers to its neighbours over gRPC: it takes Raft messages, and nothing else."""

    def __init__(self) -> None:
        self.driver: Driver[RaftEvent, Ready] | None = None

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand Raft messages to the driver."""
        if self.driver is not None:
            for message in messages:
                self.driver.submit(Received(message))

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*_: object, **__: object) -> NoReturn:
            raise CommandRefused(f"a node of registers has no {name}")

        return refuse


class RegisterNode:
    """The parts of one node, and what it answers to clients."""

    def __init__(
        self,
        node: RaftNode,
        host: RaftHost[Answer],
        machine: RegisterMachine,
        links: PeerLinks,
        driver: Driver[RaftEvent, Ready],
    ) -> None:
        self._node, self._host, self._machine, self._links, self.driver = node, host, machine, links, driver
        self._answers: dict[str, Callable[[Ask], Awaitable[object]]] = {
            "write": self._execute,
            "cas": self._execute,
            "increment": self._execute,
            "read": self._read,
            "stale_read": self._stale_read,
            "status": self._status,
            "executions": self._executions,
            "transfer": self._transfer,
            "load": self._load,
        }

    async def run(self, lines: asyncio.StreamReader, sockets: RaftSockets) -> None:
        """Drive Raft until there are no more lines."""
        async with asyncio.TaskGroup() as group:
            parts = (self.driver.run(), self._host.run(), self._links.run(), sockets.run("127.0.0.1"))
            tasks = [group.create_task(part) for part in parts]
            while line := await lines.readline():
                for node_id, address in json.loads(line)["peers"].items():
                    self._links.set_address(NodeId(int(node_id)), Address.parse(address))
            for task in tasks:
                task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client until it goes."""
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(self, ask: Ask) -> object:
        try:
            return await self._answers[ask["op"]](ask)
        except RaftGossipError as error:
            return {"error": type(error).__name__, "text": str(error), "leader": getattr(error, "leader", None)}

    # --- what clients ask

    async def _execute(self, ask: Ask) -> object:
        sequence = int(ask["sequence"])
        command = Command(ask["client"], sequence, ask.get("first_unanswered", sequence), _operation(ask))
        outcome = await self._host.propose(command.encode(), _timeout_ms(ask))
        if outcome.result.status != "executed":
            raise CommandRefused(f"the command was not executed: {outcome.result.status}")
        return {"result": outcome.result.result, "index": outcome.index}

    async def _read(self, ask: Ask) -> object:
        await self._host.read(_timeout_ms(ask))
        return {"result": self._machine.read(ask["key"])}

    async def _stale_read(self, ask: Ask) -> object:
        return {"result": self._machine.read(ask["key"])}

    async def _status(self, _: Ask) -> object:
        status = self._node.status()
        followers = {str(one.node_id): [one.match_index, one.flow, one.responsive] for one in status.followers}
        return {**_plain(status), "followers": followers, "voters": status.configuration.voters}

    async def _executions(self, ask: Ask) -> object:
        """How often each sequence in a half-open span was executed here."""
        span = range(int(ask["from"]), int(ask["to"]))
        return {"counts": [self._machine.num_executions(ask["client"], sequence) for sequence in span]}

    async def _transfer(self, ask: Ask) -> object:
        target = ask.get("target")
        await self._host.transfer(NodeId(int(target)) if target else None, _timeout_ms(ask))
        return {}

    async def _load(self, ask: Ask) -> object:
        load = _Load(
            self._host, self._machine, float(ask["seconds"]), int(ask.get("bytes", 256)), int(ask.get("keys", 1))
        )
        return await load.run(load.read if ask.get("kind") == "read" else load.write, int(ask["proposers"]))


class _Load:
    """Keeps a number of proposals or reads waiting until the time is up, and remembers how long each took."""

    def __init__(
        self, host: RaftHost[Answer], machine: RegisterMachine, seconds: float, num_bytes: int, num_keys: int
    ) -> None:
        self._host, self._machine, self._num_bytes = host, machine, num_bytes
        self._life = secrets.token_hex(4)
        self._num_keys = num_keys
        self._latencies_ns: list[int] = []
        self._num_failed = 0
        self._start_ns = time.perf_counter_ns()
        self._end_ns = self._start_ns + int(1e9 * seconds)

    async def run(self, work: Callable[[int], Coroutine[Any, Any, None]], count: int) -> dict[str, object]:
        """`count` times `work` side by side; returns when the last answer is there."""
        async with asyncio.TaskGroup() as group:
            for place in range(count):
                group.create_task(work(place))
        seconds = (time.perf_counter_ns() - self._start_ns) / 1e9
        ordered = sorted(self._latencies_ns) or [0]
        return {
            "count": len(self._latencies_ns),
            "failed": self._num_failed,
            "per_s": len(self._latencies_ns) / seconds,
            "p50_ms": ordered[len(ordered) // 2] / 1e6,
            "p99_ms": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] / 1e6,
        }

    async def write(self, place: int) -> None:
        """One client: a write after the other, to registers of its own in turn."""
        client, sequence = f"load-{self._life}-{place}", 0
        value = "x" * max(0, self._num_bytes - 64)
        operations = [registers.write(f"load-{place}-{key}", value) for key in range(self._num_keys)]
        while (start_ns := time.perf_counter_ns()) < self._end_ns:
            sequence += 1
            operation = operations[sequence % self._num_keys]
            data = Command(client, sequence, sequence, operation).encode(self._num_bytes)
            try:
                await self._host.propose(data, TIMEOUT_MS)
            except RaftGossipError:
                self._num_failed += 1
                await asyncio.sleep(0.01)
            else:
                self._latencies_ns.append(time.perf_counter_ns() - start_ns)

    async def read(self, place: int) -> None:
        """One client: a linearizable read after the other."""
        while (start_ns := time.perf_counter_ns()) < self._end_ns:
            try:
                await self._host.read(TIMEOUT_MS)
            except RaftGossipError:
                self._num_failed += 1
                await asyncio.sleep(0.01)
            else:
                self._machine.read(f"load-{place}")
                self._latencies_ns.append(time.perf_counter_ns() - start_ns)


def _operation(ask: Ask) -> Operation:
    match ask["op"]:
        case "write":
            return registers.write(ask["key"], ask["value"])
        case "cas":
            return registers.compare_and_set(ask["key"], ask["expected"], ask["value"])
        case _:
            return registers.increment(ask["key"], int(ask["amount"]))


def _timeout_ms(ask: Ask) -> int:
    return int(ask.get("timeout_ms", TIMEOUT_MS))


def _plain(status: object) -> dict[str, object]:
    names = ("node_id", "role", "term", "leader", "commit_index", "applied_index", "last_index", "first_index")
    return {name: getattr(status, name) for name in (*names, "snapshot_index")}


def found(store: SqliteStore, voters: Sequence[int]) -> None:
    """Write on an empty disk of a voter what all voters' disks begin with: who they are, already committed."""
    if store.load().hard_state is None:
        data = Configuration(tuple(NodeId(voter) for voter in voters)).encode()
        first = Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, data)
        store.save(HardState(Term(1), None, LogIndex(1)), (first,))


async def live(arguments: NodeArguments) -> None:
    """Be the node until standard input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with AsyncExitStack() as stack:
        store = SqliteStore(Path(arguments.folder, "raft.sqlite"))
        stack.callback(store.close)
        if arguments.node_id in arguments.voters:
            found(store, arguments.voters)
        node_id = NodeId(arguments.node_id)
        links = PeerLinks(node_id)
        hub = ExchangeHub(links.address_of)
        stack.push_async_callback(asyncio.to_thread, hub.close)
        door = _Door()
        server = PeerServer(door, hub, loop)
        links.cluster_id = server.cluster_id = CLUSTER_ID
        port = server.start("127.0.0.1", 0)
        stack.push_async_callback(asyncio.to_thread, server.stop, 0)
        disk = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="disk"))
        node = _assemble(arguments, store, disk, links)
        door.driver = node.driver
        clients = await asyncio.start_server(node.serve, "127.0.0.1", 0, limit=MAX_LINE_BYTES)
        stack.callback(clients.close)
        print(json.dumps({"raft": f"127.0.0.1:{port}", "clients": clients.sockets[0].getsockname()[1]}), flush=True)
        await node.run(lines, server.sockets)


def _assemble(arguments: NodeArguments, store: SqliteStore, disk: ThreadPoolExecutor, links: PeerLinks) -> RegisterNode:
    """Core, host and driver over what the disk holds."""
    clock = SystemClock()
    config = RaftConfig(**arguments.settings)
    stored = store.load()
    node = RaftNode(
        NodeId(arguments.node_id),
        config,
        random.Random(secrets.randbits(64)),
        hard_state=stored.hard_state,
        snapshot=stored.snapshot,
        entries=stored.entries,
        now_ms=clock.now_ms(),
    )
    machine = RegisterMachine()
    snapshot_index = LogIndex(0)
    if stored.snapshot is not None:
        snapshot_index = stored.snapshot.snapshot.last_index
        machine.restore(stored.snapshot.snapshot.data)()
    host = RaftHost(
        store,
        disk,
        links,
        machine,
        on_facts=_ignore,
        on_replayed=_ignore,
        config=config,
        last_snapshot_index=snapshot_index,
        wall_ms=clock.wall_ms,
    )
    driver: Driver[RaftEvent, Ready] = Driver(node, host.perform, Tick(), clock)
    host.connect(driver.submit, driver.feed)
    return RegisterNode(node, host, machine, links, driver)


def _ignore(_: Sequence[Fact]) -> None:
    """Facts are for people."""


if __name__ == "__main__":
    asyncio.run(live(NodeArguments.decode(sys.argv[1])))
