"""Real peers in one process that speak mutual TLS, and somebody who holds a connection open in a node's name."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import grpc

from raftgossip import Peer
from raftgossip.facts import ConfigurationChanged, EpochClosed, Fact, Listening, Notice
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role, role_server_name
from raftgossip.wire.channels import open_channel
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from tests.support.target_task import TargetTask

SETTINGS: dict[str, object] = {"num_epochs": 0, "min_participants": 1, "min_epoch_ms": 300}
T = TypeVar("T")


class SecuredCluster:
    """Peers with the keys of one folder; the first one founds."""

    def __init__(self, group: asyncio.TaskGroup, keys: KeyFolder) -> None:
        self._group = group
        self._keys = keys
        self.peers: dict[int, Peer] = {}
        self.lives: dict[int, asyncio.Task[None]] = {}
        self.addresses: dict[int, str] = {}
        self.configurations: dict[int, ConfigurationChanged] = {}
        self.closed: dict[int, list[EpochClosed]] = {}
        self.told: list[str] = []
        self._news = asyncio.Event()

    async def start(self, number: int, **settings: object) -> None:
        """Returns when it listens."""
        known: dict[str, object] = {"found": True} if number == 1 else {"peers": [self.addresses[1]]}
        chosen = {"keys": self._keys.path, **known, **SETTINGS, **settings}
        peer = self.peers[number] = Peer(TargetTask(number - 1, 1_000), node_id=number, **chosen)
        self.addresses.pop(number, None)

        def on_fact(fact: Fact) -> None:
            match fact:
                case Listening():
                    self.addresses[number] = fact.address
                case ConfigurationChanged():
                    self.configurations[number] = fact
                case EpochClosed():
                    self.closed.setdefault(number, []).append(fact)
                case Notice():
                    self.told.append(fact.text)
            self._news.set()

        peer.subscribe(on_fact)
        self.lives[number] = self._group.create_task(peer.run_async())
        await self.until(lambda: number in self.addresses)

    async def refused(self, number: int, **settings: object) -> BaseException:
        """Start a peer that does not get in; returns why."""
        chosen = {"keys": self._keys.path, "peers": [self.addresses[1]], **SETTINGS, **settings}
        try:
            await Peer(TargetTask(number - 1, 1_000), node_id=number, **chosen).run_async()
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            return error
        raise AssertionError(f"node {number} got in and ended")

    async def stop(self, number: int) -> None:
        """Returns when it has ended."""
        self.peers[number].request_stop()
        await self.lives[number]

    def stop_all(self) -> None:
        for peer in self.peers.values():
            peer.request_stop()

    async def until(self, predicate: Callable[[], bool]) -> None:
        """Return when a fact has made it true."""
        while not predicate():
            await self._news.wait()
            self._news.clear()

    async def voters_are(self, *numbers: int) -> None:
        """Return when each of these knows that they are the voters."""
        await self.until(lambda: all(self._voters(number) == numbers for number in numbers))

    def _voters(self, number: int) -> tuple[NodeId, ...]:
        known = self.configurations.get(number)
        return known.voters if known is not None and not known.outgoing else ()

    async def ask(
        self, number: int, act: Callable[[OperatorClient], T], credentials: LiveCredentials | None = None
    ) -> T:
        """Ask one peer, as the operator alice unless somebody else is given."""
        shown = credentials or self._keys.credentials(Role.OPERATOR)

        def work() -> T:
            client = OperatorClient(Address.parse(self.addresses[number]), shown)
            try:
                return act(client)
            finally:
                client.close()

        return await asyncio.to_thread(work)


class HeldConnection:
    """A connection that somebody holds open in a node's name, with a Raft stream on it."""

    def __init__(self, address: str, credentials: LiveCredentials) -> None:
        federation = credentials.current().identity.federation
        self._channel = open_channel(Address.parse(address), credentials, role_server_name(Role.PEER, federation))
        self._stub = pb_grpc.PeerServiceStub(self._channel)
        self._frames: queue.Queue[None] = queue.Queue()
        raft = self._channel.stream_stream("/PeerService/Raft")
        self._stream = raft(self._wait(), timeout=60)
        self._stream.initial_metadata()  # so the server has taken it

    def _wait(self) -> Iterator[bytes]:
        self._frames.get()
        yield from ()

    def call(self) -> str:
        """Ask for the status on it; returns what came of it, `OK` or a code with its sentence."""
        return _outcome(lambda: self._stub.Status(pb.StatusRequest(), timeout=10))

    def end_of_stream(self) -> str:
        """Wait until the server ends the stream; returns how."""
        return _outcome(lambda: list(self._stream))

    def close(self) -> None:
        self._frames.put(None)
        self._channel.close()


def _outcome(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"  # type: ignore[attr-defined] # missing in the stubs
    return "OK"


@contextmanager
def held_connection(address: str, credentials: LiveCredentials) -> Iterator[HeldConnection]:
    """Blocks until it is open."""
    held = HeldConnection(address, credentials)
    try:
        yield held
    finally:
        held.close()
