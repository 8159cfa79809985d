"""The public face of one node: builds its parts, runs it, stops it cleanly.

peer = Peer(task=MyTask(), node_id=1, gateway="10.0.0.5:8090", data_dir="state")
for record in peer.epochs():
    print(record.epoch, dict(record.metrics))
"""

from __future__ import annotations

import asyncio
import queue
import random
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from raftgossip.core.epoch.command import EpochRecord
from raftgossip.core.raft.membership import founding
from raftgossip.errors import ConfigError, RaftGossipError, TransportError
from raftgossip.facts import ClusterEntered, EpochClosed, Fact, Listening, Notice
from raftgossip.ids import Address
from raftgossip.learning.task import LearningTask
from raftgossip.learning.trainer import Trainer, use_one_thread
from raftgossip.peer.config import PeerConfig, make_config
from raftgossip.peer.discovery import CachedDiscovery, Discovery, open_discoveries
from raftgossip.peer.founding import FoundingRules, enter_cluster
from raftgossip.peer.front import Front
from raftgossip.peer.identity import Identity, load_identity, new_cluster_id
from raftgossip.peer.models import Models
from raftgossip.peer.node import Node
from raftgossip.peer.own_keys import explained, load_own_keys, warning_about
from raftgossip.peer.parts import Parts
from raftgossip.peer.planning import check_names
from raftgossip.peer.restoring import restore
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.credential_renewal import refresh_credentials
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_client import PeerLinks, ask_to_join
from raftgossip.runtime.grpc_server import PeerServer
from raftgossip.runtime.model_store import ModelStore
from raftgossip.runtime.service import JoinAnswer, JoinAsk
from raftgossip.runtime.store import MemoryStore, SqliteStore, Storage
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.identity import name_in_owner, owner_of
from raftgossip.update import ParameterSchema

SERVER_GRACE_S = 0.3


class Peer:
    """One node that trains together with others.

    `task` is the user's own `LearningTask`; every other setting is a keyword of `PeerConfig` (or a whole `config`).
    `run()` blocks, `run_async()` is its twin for programs with an event loop, `epochs()` iterates over ended epochs.
    """

    def __init__(self, task: LearningTask, config: PeerConfig | None = None, **settings: object) -> None:
        """Nothing is opened or dialled yet.

        Raises:
            ConfigError: an unknown keyword, or a value out of range; names the key.
        """
        if not isinstance(task, LearningTask):
            raise ConfigError(f"task is {task!r}; it must be an instance of a class derived from LearningTask")
        if config is not None and settings:
            raise ConfigError("give either a config or keywords, not both")
        self.config = config if config is not None else make_config(task_name=type(task).__name__, **settings)
        self.task = task
        self.node: Node | None = None
        self._observers: list[Callable[[Fact], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stop_requested = False

    def subscribe(self, observer: Callable[[Fact], None]) -> None:
        """Call `observer` with every fact, on the event loop: it must be quick and must not raise."""
        self._observers.append(observer)

    def run(self) -> None:
        """Take part until stopped, finished or left; blocks.

        Raises:
            RaftGossipError: this node cannot start or go on; says why and what to do.
        """
        asyncio.run(self.run_async())

    def request_stop(self) -> None:
        """Stop cleanly soon: a leader hands over first. Safe from any thread and from signal handlers."""
        self._stop_requested = True
        if self._loop is not None and self._stop is not None:
            try:
                self._loop.call_soon_threadsafe(self._stop.set)
            except RuntimeError:
                pass  # the loop is closed already

    def epochs(self) -> Iterator[EpochRecord]:
        """Run in a background thread and yield every epoch as it ends; leaving the loop stops the peer.

        Raises:
            RaftGossipError: as `run`.
        """
        mail: queue.Queue[EpochRecord | BaseException | None] = queue.Queue()

        def on_fact(fact: Fact) -> None:
            if isinstance(fact, EpochClosed) and self.node is not None:
                record = self.node.record(fact.epoch)
                if record is not None:
                    mail.put(record)

        def work() -> None:
            try:
                self.run()
            except BaseException as error:  # noqa: BLE001 - handed to the iterating thread
                mail.put(error)
            mail.put(None)

        self.subscribe(on_fact)
        thread = threading.Thread(target=work, name="raftgossip-peer")
        thread.start()
        try:
            while (item := mail.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self._observers.remove(on_fact)
            self.request_stop()
            thread.join()

    async def run_async(self) -> None:
        """As `run`, on the caller's event loop. Cancellation stops the peer at once, without handing over."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._stop_requested:
            self._stop.set()
        try:
            async with asyncio.TaskGroup() as group:
                life = group.create_task(self._live())
                stopper = group.create_task(self._stop_life(life))
                life.add_done_callback(lambda _: stopper.cancel())
        except BaseExceptionGroup as errors:
            raise _first_error(errors) from None

    async def _stop_life(self, life: asyncio.Task[None]) -> None:
        assert self._stop is not None
        await self._stop.wait()
        if self.node is not None:
            await self.node.operations.hand_over()
        life.cancel()

    async def _live(self) -> None:
        async with AsyncExitStack() as stack:
            parts, front, server = await self._build(stack)
            cluster_id = parts.identity.cluster_id
            how = "back"
            if not cluster_id:
                cluster_id, how = await self._enter(parts, front)
            identity = replace(parts.identity, cluster_id=cluster_id)
            parts.links.cluster_id = server.cluster_id = cluster_id
            restored = await asyncio.get_running_loop().run_in_executor(parts.disk, restore, parts.store)
            rng = random.Random(secrets.randbits(64))
            self.node = front.node = Node(replace(parts, identity=identity), restored, rng)
            self._emit(ClusterEntered(identity.node_id, cluster_id, how))
            await self.node.run()

    async def _build(self, stack: AsyncExitStack) -> tuple[Parts, Front, PeerServer]:
        """Open everything, each with its closing on the stack: the last opened is closed first."""
        config = self.config
        check_names(config)
        store = _open_store(config.data_dir)
        stack.callback(store.close)
        identity = load_identity(store, config.node_id)
        keys, clock = load_own_keys(config, identity.node_id), SystemClock()
        credentials = keys.credentials
        if credentials is not None:
            credentials.current().require_valid(clock.wall_ms() / 1000)
            identity = replace(identity, owner=owner_of(credentials.current().identity.uri, identity.owner))
        disk = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="disk"))
        work = stack.enter_context(ThreadPoolExecutor(2, thread_name_prefix="work"))
        use_one_thread()
        trainer = await asyncio.get_running_loop().run_in_executor(work, Trainer, self.task)
        model_store = ModelStore(config.data_dir / "models") if config.data_dir is not None else None
        models = Models(trainer.schema, model_store, config.keep_models)
        front = Front(identity.node_id, models, credentials)
        front.is_back = bool(identity.cluster_id)
        links = PeerLinks(identity.node_id, credentials, front.server_name_of)
        hub = ExchangeHub(links.address_of, credentials, front.server_name_of)
        stack.push_async_callback(asyncio.to_thread, hub.close)
        discoveries = self._open_discoveries(store, disk, credentials)
        for discovery in discoveries:
            stack.push_async_callback(discovery.close)
        loop, pass_on = asyncio.get_running_loop(), links.publish_revocations
        server = PeerServer(front, hub, loop, credentials, keys.add_revocations, pass_on_revocations=pass_on)
        address = await self._serve(server, credentials, stack)
        self._emit(Listening(identity.node_id, str(address)))
        parts = Parts(
            config=config,
            identity=identity,
            ask=_join_ask(config, identity, address, trainer.schema),
            store=store,
            disk=disk,
            work=work,
            trainer=trainer,
            models=models,
            links=links,
            hub=hub,
            names=front.names,
            discoveries=discoveries,
            credentials=credentials,
            clock=clock,
            emit=self._emit,
        )
        return parts, front, server

    async def _serve(self, server: PeerServer, credentials: LiveCredentials | None, stack: AsyncExitStack) -> Address:
        """Begin to answer, until the stack is closed; returns where others dial."""
        host, port = _split_listen(self.config.listen)
        bound_port = server.start(host, port)
        stack.push_async_callback(asyncio.to_thread, server.stop, SERVER_GRACE_S)
        # At once: a neighbour that finds no offer of a socket on its stream stays with the stream until that breaks.
        group = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(group.create_task(server.sockets.run(host)).cancel)
        if credentials is not None:
            stack.callback(group.create_task(refresh_credentials(credentials, self._emit)).cancel)
        elif warning := warning_about(host, f"{host}:{bound_port}"):
            self._emit(Notice(warning))
        return _advertised(self.config.advertise, host, bound_port)

    def _open_discoveries(
        self, store: Storage, disk: Executor, credentials: LiveCredentials | None
    ) -> tuple[Discovery, ...]:
        config, cache = self.config, CachedDiscovery(store, disk)
        return open_discoveries(
            config.gateway, config.peers, config.discover, cache, credentials, lambda text: self._emit(Notice(text))
        )

    async def _enter(self, parts: Parts, front: Front) -> tuple[str, str]:
        """Find the cluster or found it, and write down which it is."""

        async def join(address: Address, ask: JoinAsk, timeout_ms: int) -> JoinAnswer:
            try:
                return await ask_to_join(address, ask, timeout_ms, parts.credentials)
            except TransportError as error:
                raise explained(error, parts.credentials) from error

        rules = FoundingRules(self.config.found, self.config.expect, parts.credentials is not None)
        answer = await enter_cluster(
            parts.ask,
            parts.discoveries,
            rules,
            join,
            lambda pause_ms: asyncio.sleep(pause_ms / 1000),
            lambda text: self._emit(Notice(text)),
            front.intent,
        )
        if answer is None:
            cluster_id = new_cluster_id()
            hard_state, entries = founding(parts.identity.node_id)
            # In one transaction: a founder that crashed half-way would have a log and belong to no cluster.
            await asyncio.to_thread(parts.store.save, hard_state, entries, meta={"cluster_id": cluster_id})
            return cluster_id, "founded"
        parts.names.learn(answer.names)
        for node_id, address in answer.peers:
            parts.links.set_address(node_id, address)
        await asyncio.to_thread(parts.store.set_meta, "cluster_id", answer.cluster_id)
        return answer.cluster_id, "in"

    def _emit(self, fact: Fact) -> None:
        for observer in tuple(self._observers):
            observer(fact)


def _open_store(data_dir: Path | None) -> Storage:
    if data_dir is None:
        return MemoryStore()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot use {data_dir} for state: {error.strerror}; give another --data-dir") from None
    return SqliteStore(data_dir / "ledger.sqlite")


def _split_listen(listen: str) -> tuple[str, int]:
    """`host:port`, where port 0, or none, picks a free one."""
    host, _, port_text = listen.rpartition(":") if ":" in listen or listen.isdecimal() else (listen, "", "0")
    if not host or not port_text.isdecimal() or int(port_text) > 65535:
        raise ConfigError(f"cannot listen on {listen!r}: give host:port, e.g. 127.0.0.1:0 for any free port")
    return host.removeprefix("[").removesuffix("]"), int(port_text)


def _advertised(advertise: str | None, host: str, bound_port: int) -> Address:
    """The address that others dial."""
    if advertise is not None:
        return Address.parse(advertise, default_port=bound_port)
    if host in ("0.0.0.0", "::", "*"):  # noqa: S104 - what is refused here
        raise ConfigError(
            f"listening on {host} needs --advertise HOST[:PORT]: the address under which the other nodes reach this one"
        )
    return Address(host, bound_port)


def _join_ask(
    config: PeerConfig,
    identity: Identity,
    address: Address,
    schema: ParameterSchema,
) -> JoinAsk:
    return JoinAsk(
        node_id=identity.node_id,
        address=address,
        incarnation=identity.incarnation,
        owner=identity.owner,
        schema_digest=schema.digest,
        task=config.task,
        cluster_id=identity.cluster_id,
        metadata=tuple(sorted(config.metadata.items())),
        join_token=config.join_token,
        identity=name_in_owner(identity.owner),
    )


def _first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that a person should see: our own kind first, else the first."""
    flat: list[BaseException] = []
    waiting: list[BaseException] = [errors]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(error.exceptions)
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, RaftGossipError)), flat[0])
