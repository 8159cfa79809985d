"""The calling side of the control plane: one channel per peer, one sender per peer, one retry policy.

Raft messages leave on one long stream per peer, never as a call per message: fewer wake-ups and a third of the
latency. If the peer offers a plain socket for them on that stream, and it can be reached, they go there instead
(`raft_socket.py`), at once. What waits for a peer waits in its outbox, which is bounded; when it is full the oldest
message is dropped, which Raft tolerates. A write that a frozen peer does not take within `WRITE_TIMEOUT_S` breaks the
connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import grpc
import grpc.aio

from raftgossip.core.raft.message import Message
from raftgossip.errors import ConfigError, NotLeader, PermissionDenied, RaftGossipError, TransportError, WireError
from raftgossip.ids import Address, NodeId
from raftgossip.runtime.address_sources import refusal_to_dial
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.grpc_link import Link, ServerNameOf, Way, any_peer
from raftgossip.runtime.raft_socket import OFFER_KEY, OutgoingSocket, dial
from raftgossip.runtime.service import JoinAnswer, JoinAsk, ProposeAnswer
from raftgossip.runtime.socket_tls import SocketTls
from raftgossip.trust.callers import Callers
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.update import FloatVector
from raftgossip.wire.channels import open_aio_channel
from raftgossip.wire.ledger_codec import specification_from_proto
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from raftgossip.wire.pb import grpc_comm_manager_pb2_grpc as pb_grpc
from raftgossip.wire.raft_codec import frames_to_bytes
from raftgossip.wire.status import error_from_rpc

MESSAGES_PER_FRAME = 64
WRITE_TIMEOUT_S = 2.0
OFFER_TIMEOUT_S = 1.0
"""The longest wait for the first word of a peer on a stream; one of an earlier version says none."""
REDIAL_S = (0.05, 0.5)
"""The first and the longest pause before a broken stream is opened again."""
WATCH_S = 1.0
"""How often open connections are compared with what they should be: a renewed certificate, another server name."""
SOCKET_MIN_MS = 1_000
"""A socket that ends sooner counts as one that could not be reached."""
NAMES_TIMEOUT_S = 2.0
PUBLISH_TIMEOUT_S = 3.0
"""For a peer to take over a revocation list."""

CHANNEL_OPTIONS = (
    # A peer that comes back should be reached at once, not after gRPC's default back-off of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # This is also how long one attempt may take, up to the first answer: a busy or distant peer needs time.
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
    # Peers are dialled directly: a proxy of the environment must not see model weights.
    ("grpc.enable_http_proxy", 0),
)


class PeerLinks:
    """All peers that this node can dial. Satisfies `runtime.transport.Transport`. Runs on the event loop."""

    def __init__(
        self,
        node_id: NodeId,
        credentials: LiveCredentials | None = None,
        server_name_of: ServerNameOf | None = None,
        *,
        watch_s: float = WATCH_S,
    ) -> None:
        """`credentials`: as whom this node dials, and whom it trusts; None: in the open. `server_name_of`: whom TLS
        must find; None: any peer. `cluster_id` is set when it is known; until then nothing is sent."""
        self.cluster_id = ""
        self._node_id = node_id
        self._credentials = credentials
        self._server_name_of = server_name_of
        self._watch_s = watch_s
        self._clock = SystemClock()
        self._tls = SocketTls(credentials) if credentials is not None else None
        self._servers = Callers(credentials, lambda: self._clock.wall_ms() / 1000)
        self._links: dict[NodeId, Link] = {}
        self._new: asyncio.Queue[Link] = asyncio.Queue()

    # --- who is where

    def set_address(self, node_id: NodeId, address: Address) -> None:
        """Learn where a peer is; a changed address breaks the old stream."""
        if node_id == self._node_id:
            return
        link = self._links.get(node_id)
        if link is None:
            link = self._links[node_id] = Link(node_id, address)
            self._new.put_nowait(link)
        elif link.address != address:
            link.address = address
            link.move()

    def address_of(self, node_id: NodeId) -> Address | None:
        """Where a peer was last known to be; None: unknown."""
        link = self._links.get(node_id)
        return link.address if link else None

    # --- Raft messages

    def send(self, message: Message) -> None:
        """Queue a message for its receiver; an unknown receiver or a full outbox loses one."""
        link = self._links.get(message.receiver)
        if link is None:
            return
        if link.socket is not None:
            for frame in frames_to_bytes(self.cluster_id, (message,)):
                link.socket.send(frame)
        else:
            link.outbox.append(message)
            link.mail.set()

    async def run(self) -> None:
        """One sender task per peer, until cancelled; then all channels are closed."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch(), name="watch-links")
                while True:
                    link = await self._new.get()
                    group.create_task(self._send_forever(link), name=f"sender-{link.node_id}")
        finally:
            for link in self._links.values():
                await link.close_channel()

    async def _send_forever(self, link: Link) -> None:
        pause_s = REDIAL_S[0]
        while True:
            await link.mail.wait()
            link.moved.clear()
            link.is_sending = True
            try:
                sent = await self._send_stream(link)
            except (grpc.aio.AioRpcError, TimeoutError, grpc.aio.UsageError, asyncio.InvalidStateError):
                sent = False
            link.is_sending = False
            await link.close_channel()
            link.outbox.clear()  # what waited through an outage is stale; Raft sends what is needed anew
            pause_s = REDIAL_S[0] if sent else min(2 * pause_s, REDIAL_S[1])
            await asyncio.sleep(pause_s)

    async def _send_stream(self, link: Link) -> bool:
        """Open a stream and write to it, or to the socket that it leads to, until that breaks or the peer moved.

        True: at least one frame left.
        """
        call: grpc.aio.StreamStreamCall[bytes, bytes] = self._channel(link).stream_stream(
            "/PeerService/Raft", request_serializer=None, response_deserializer=None
        )(wait_for_ready=False)
        sent = False
        try:
            if await _hear_offer(link, call) and await self._send_by_socket(link):
                return True
            while not link.moved.is_set():
                await link.mail.wait()
                for frame in self._take_frames(link):
                    async with asyncio.timeout(WRITE_TIMEOUT_S):
                        await call.write(frame)
                    sent = True
        finally:
            call.cancel()
        return sent

    async def _send_by_socket(self, link: Link) -> bool:
        """Let `send` write to the peer's socket until that breaks or the peer moved; False: it cannot be reached."""
        try:
            connection = await self._dial_socket(link)
        except TransportError:
            link.give_up_socket(self._clock.now_ms())
            return False
        opened_ms = self._clock.now_ms()
        try:
            while link.outbox:
                for frame in self._take_frames(link):
                    connection.send(frame)
            link.socket = connection
            if not link.moved.is_set():
                await connection.wait(WRITE_TIMEOUT_S)
        finally:
            link.socket = None
            connection.close()
            now_ms = self._clock.now_ms()
            if now_ms - opened_ms < SOCKET_MIN_MS and not link.moved.is_set():
                link.give_up_socket(now_ms)
        return True

    async def _dial_socket(self, link: Link) -> OutgoingSocket:
        def verify(certificate: bytes) -> None:
            server = self._servers.of_certificate(certificate, "")
            if server.identity is not None and server.identity.node_id != link.node_id:
                raise PermissionDenied(f"{server.identity.uri} is not node {link.node_id}")

        way = self._way(link)
        return await dial(link.address, link.last_offer, self._tls, way.server_name, verify if self._tls else None)

    def _take_frames(self, link: Link) -> Iterator[bytes]:
        """What waits for a peer, a frame's worth; nothing while there is no cluster."""
        batch = [link.outbox.popleft() for _ in range(min(len(link.outbox), MESSAGES_PER_FRAME))]
        if not link.outbox:
            link.mail.clear()
        return frames_to_bytes(self.cluster_id, batch) if batch and self.cluster_id else iter(())

    # --- keeping up with what changes

    async def _watch(self) -> None:
        """Open anew what should go another way by now, and try sockets again that could not be reached."""
        while True:
            await asyncio.sleep(self._watch_s)
            for link in tuple(self._links.values()):
                await link.close_retired()
                if link.channel is not None and link.way != self._way(link):
                    link.move()
                    if not link.is_sending:
                        link.retire_channel()
                elif self._is_socket_due(link):
                    await self._try_socket(link)

    def _is_socket_due(self, link: Link) -> bool:
        return bool(
            link.is_sending
            and link.socket is None
            and link.last_offer
            and not link.is_last_reachable
            and self._clock.now_ms() >= link.retry_ms
        )

    async def _try_socket(self, link: Link) -> None:
        """Beside the stream, which goes on meanwhile; if the socket can be reached, a new stream leads there."""
        try:
            connection = await self._dial_socket(link)
        except TransportError:
            link.give_up_socket(self._clock.now_ms())
            return
        connection.close()
        link.is_last_reachable = True
        link.move()

    def _way(self, link: Link) -> Way:
        return Way.to(link.node_id, link.address, self._credentials, self._server_name_of)

    def _channel(self, link: Link) -> grpc.aio.Channel:
        """The link's channel, opened now if there is none that goes where it should."""
        way = self._way(link)
        if link.way != way:
            link.retire_channel()
        if link.channel is None:
            link.channel = open_aio_channel(way.address, self._credentials, way.server_name, CHANNEL_OPTIONS)
            link.way = way
        return link.channel

    # --- calls

    async def publish_revocations(self, revocation_list: bytes) -> int:
        """Bring a revocation list, PEM, to all peers; returns how many took it. They do not pass it on."""
        request = pb.PublishRevocationsRequest(revocation_list=revocation_list, forwarded=True)

        async def bring(node_id: NodeId) -> bool:
            try:
                await self._stub(node_id).PublishRevocations(request, timeout=PUBLISH_TIMEOUT_S)
            except (grpc.aio.AioRpcError, grpc.aio.UsageError):
                return False
            return True

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(bring(node_id)) for node_id in self._links]
        return sum(task.result() for task in tasks)

    async def names_known_by(self, node_id: NodeId) -> tuple[tuple[NodeId, str], ...]:
        """Which names a member's roster has, by node id.

        Raises:
            RaftGossipError: it does not answer, or refuses.
        """
        try:
            answer = await self._stub(node_id).Status(pb.StatusRequest(), timeout=NAMES_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
        except asyncio.CancelledError:
            raise _channel_closed(node_id) from None
        return tuple((NodeId(peer.node_id), peer.identity) for peer in answer.peers if peer.identity)

    async def propose(self, node_id: NodeId, envelope: bytes, timeout_ms: int) -> ProposeAnswer:
        """Forward a stamped command to `node_id`.

        Raises:
            NotLeader: it does not lead; carries its hint.
            RaftGossipError: as `wire.status` maps the answer; repeating the same envelope is safe after any of them.
        """
        request = pb.ProposeRequest(cluster_id=self.cluster_id, envelope=envelope, forwarded=True)
        stub = self._stub(node_id)
        try:
            answer = await stub.Propose(request, timeout=timeout_ms / 1000)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
        except asyncio.CancelledError:
            raise _channel_closed(node_id) from None
        return ProposeAnswer(answer.index, answer.applied, answer.reason)

    async def fetch_model(
        self, node_id: NodeId, digest: bytes, into: FloatVector, held_bytes: int, timeout_ms: int
    ) -> int:
        """Fetch a model's bytes from `held_bytes` on straight into `into`; returns how many bytes are held then.

        Raises:
            NotFound: the peer does not hold it.
            WireError: the peer sends bytes of another length, or out of order.
            RaftGossipError: the connection broke; what was received so far stays in `into`.
        """
        target = into.data.cast("B")
        request = pb.FetchModelRequest(cluster_id=self.cluster_id, digest=digest, offset=held_bytes)
        call = self._stub(node_id).FetchModel(request, timeout=timeout_ms / 1000)
        try:
            async for chunk in call:
                if chunk.total_bytes != len(target) or chunk.offset != held_bytes:
                    raise WireError(
                        f"node {node_id} sends a model of {chunk.total_bytes} bytes at offset {chunk.offset}; "
                        f"expected {len(target)} bytes at {held_bytes}"
                    )
                end = held_bytes + len(chunk.data)
                if end > len(target):
                    raise WireError(f"node {node_id} sends more than the {len(target)} bytes of the model")
                target[held_bytes:end] = chunk.data
                held_bytes = end
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
        except asyncio.CancelledError:
            raise _channel_closed(node_id) from None
        finally:
            call.cancel()
        return held_bytes

    def _stub(self, node_id: NodeId) -> pb_grpc.PeerServiceStub:
        link = self._links.get(node_id)
        if link is None:
            raise TransportError(f"no address is known for node {node_id}")
        return pb_grpc.PeerServiceStub(self._channel(link))


async def _hear_offer(link: Link, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> bool:
    """Whether the peer, as it takes the stream, offers a socket that is worth dialling.

    Raises:
        TimeoutError: it says nothing, though it offered one before: it is frozen, or the connection is dead.
    """
    try:
        async with asyncio.timeout(OFFER_TIMEOUT_S):
            metadata = await call.initial_metadata()
    except TimeoutError:
        if link.last_offer:
            raise
        return False
    offer = metadata.get(OFFER_KEY, "")
    if offer != link.last_offer:
        link.last_offer, link.is_last_reachable = str(offer), True
    return bool(offer) and link.is_last_reachable and not link.moved.is_set()


def _channel_closed(node_id: NodeId) -> BaseException:
    """A call in flight ends like a cancelled task when its channel is closed under it (the peer moved, its stream
    broke): unless somebody did cancel this task, that is a broken connection."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        return asyncio.CancelledError()
    return TransportError(f"the connection to node {node_id} was closed")


async def ask_to_join(
    address: Address,
    ask: JoinAsk,
    timeout_ms: int,
    credentials: LiveCredentials | None = None,
    server_name: str = "",
) -> JoinAnswer:
    """Ask the node at `address` to let this one in, on a channel of its own; go where it says that the leader is.

    `server_name`: whom TLS must find there; empty: any peer of the federation.

    Raises:
        NotLeader: it is a member, but does not lead; carries its hint.
        RaftGossipError: it cannot be reached, has no cluster yet, or refuses; the text says why.
    """
    anybody = any_peer(credentials) if credentials is not None else ""
    try:
        return await _ask_to_join(address, ask, timeout_ms, credentials, server_name or anybody)
    except NotLeader as error:
        if not error.address:
            raise
        leader = Address.parse(error.address)
        if credentials is None or leader == address or refusal_to_dial(leader):
            raise
    return await _ask_to_join(leader, ask, timeout_ms, credentials, anybody)


async def _ask_to_join(
    address: Address, ask: JoinAsk, timeout_ms: int, credentials: LiveCredentials | None, server_name: str
) -> JoinAnswer:
    request = pb.JoinRequest(
        node_id=ask.node_id,
        host=ask.address.host,
        port=ask.address.port,
        incarnation=ask.incarnation,
        schema_digest=ask.schema_digest,
        task=ask.task,
        cluster_id=ask.cluster_id,
        metadata=dict(ask.metadata),
        owner=ask.owner,
        forwarded=ask.forwarded,
        join_token=ask.join_token,
    )
    async with open_aio_channel(address, credentials, server_name, CHANNEL_OPTIONS) as channel:
        try:
            answer = await pb_grpc.PeerServiceStub(channel).Join(request, timeout=timeout_ms / 1000)
        except grpc.aio.AioRpcError as error:
            raise error_from_rpc(error) from None
    try:
        specification = specification_from_proto(answer.specification) if answer.HasField("specification") else None
    except ConfigError as error:
        raise WireError(f"a malformed run specification: {error}") from None
    names = tuple((NodeId(peer.node_id), peer.identity) for peer in answer.peers if peer.identity)
    return JoinAnswer(answer.cluster_id, _peers_of(answer.peers), NodeId(answer.leader) or None, specification, names)


def _peers_of(peers: Sequence[pb.PeerAddress]) -> tuple[tuple[NodeId, Address], ...]:
    try:
        return tuple((NodeId(peer.node_id), Address(peer.host, peer.port)) for peer in peers)
    except RaftGossipError as error:
        raise WireError(f"a malformed peer address: {error}") from None
