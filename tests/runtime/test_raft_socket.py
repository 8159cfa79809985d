"""Raft frames over plain sockets: in order, only with the token, only of this cluster; the stream is the way back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from raftgossip.core.raft.message import AppendResponse
from raftgossip.errors import TransportError
from raftgossip.ids import Address, NodeId
from raftgossip.runtime import raft_socket
from raftgossip.runtime.exchange import ExchangeHub
from raftgossip.runtime.grpc_client import PeerLinks
from raftgossip.runtime.grpc_server import PeerServer
from raftgossip.runtime.raft_socket import LENGTH_BYTES, MAX_FRAME_BYTES, TOKEN_BYTES, RaftSockets, dial
from tests.support.fakes import FakePeer
from tests.support.raft_frames import CLUSTER, HOST, PATIENCE_S, Inbox, frame, message, running, with_length


class Served:
    """Sockets that are being served, and the way to them."""

    def __init__(self, sockets: RaftSockets, inbox: Inbox) -> None:
        self.sockets, self.inbox = sockets, inbox
        self.port = int(sockets.offer.split()[0])
        self.token = bytes.fromhex(sockets.offer.split()[1])


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    inbox = Inbox()
    sockets = RaftSockets(inbox.deliver, lambda cluster_id: cluster_id == CLUSTER)
    async with running(sockets):
        yield Served(sockets, inbox)


async def is_closed(port: int, *parts: bytes) -> bool:
    """Send raw bytes; whether the other side then ends the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        for part in parts:
            writer.write(part)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read(1) == b""
    except ConnectionResetError:
        return True
    finally:
        writer.close()


def test_frames_arrive_in_their_order() -> None:
    async def main() -> None:
        async with serving() as served:
            connection = await dial(Address(HOST, 1), served.sockets.offer)
            for sequence in range(200):
                connection.send(frame(sequence))
            assert await served.inbox.wait_for(200) == list(range(200))
            connection.close()

    asyncio.run(main())


def test_a_frame_that_is_cut_anywhere_arrives_whole() -> None:
    async def main() -> None:
        async with serving() as served:
            data = served.token + with_length(frame(1)) + with_length(frame(2))
            for cut in range(len(data) + 1):
                reader, writer = await asyncio.open_connection(HOST, served.port)
                writer.write(data[:cut])
                await asyncio.sleep(0)
                writer.write(data[cut:])
                await served.inbox.wait_for(2 * (cut + 1))
                writer.close()
                del reader
            assert served.inbox.sequences == [1, 2] * (len(data) + 1)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("a wrong token", [b"x" * TOKEN_BYTES, with_length(frame(1))]),
        ("a frame of another cluster", [b"", with_length(frame(1, "c2"))]),
        ("bytes that are no frame", [b"", with_length(b"\xff\xff\xff")]),
        ("a length beyond the limit", [b"", (MAX_FRAME_BYTES + 1).to_bytes(LENGTH_BYTES)]),
    ],
)
def test_it_ends_the_connection_and_delivers_nothing(what: str, parts: list[bytes]) -> None:
    async def main() -> None:
        async with serving() as served:
            token = parts[0] or served.token
            assert await is_closed(served.port, token, *parts[1:]), what
            assert served.inbox.sequences == []

    asyncio.run(main())


def test_strangers_beyond_the_limit_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_socket, "MAX_STRANGERS", 2)

    async def main() -> None:
        async with serving() as served:
            first_reader, first_writer = await asyncio.open_connection(HOST, served.port)
            others = [await asyncio.open_connection(HOST, served.port) for _ in range(2)]
            async with asyncio.timeout(PATIENCE_S):
                assert await first_reader.read(1) == b""
            for _, writer in others:
                writer.write(served.token + with_length(frame(7)))
            assert await served.inbox.wait_for(2) == [7, 7]
            for _, writer in (*others, (None, first_writer)):
                writer.close()

    asyncio.run(main())


def test_neighbours_beyond_the_limit_push_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_socket, "MAX_NEIGHBOURS", 1)

    async def main() -> None:
        async with serving() as served:
            first_reader, first_writer = await asyncio.open_connection(HOST, served.port)
            first_writer.write(served.token + with_length(frame(1)))
            await served.inbox.wait_for(1)
            second = await dial(Address(HOST, 1), served.sockets.offer)
            second.send(frame(2))
            assert await served.inbox.wait_for(2) == [1, 2]
            async with asyncio.timeout(PATIENCE_S):
                assert await first_reader.read(1) == b""
            first_writer.close()
            second.close()

    asyncio.run(main())


@pytest.mark.parametrize("offer", ["", "no number", "70000 00", "1 00"])
def test_an_offer_that_leads_nowhere_is_a_transport_error(offer: str) -> None:
    async def main() -> None:
        with pytest.raises(TransportError):
            await dial(Address(HOST, 1), offer)

    asyncio.run(main())


def test_a_neighbour_that_does_not_read_is_given_up_and_costs_a_bounded_buffer() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a read transport, too
            await gone.wait()
            writer.close()

        server = await asyncio.start_server(never_read, HOST, 0)
        connection = await dial(Address(HOST, 1), f"{server.sockets[0].getsockname()[1]} 00")
        for _ in range(3 * raft_socket.BUFFER_BYTES >> 20):
            connection.send(bytes(1 << 20))
        async with asyncio.timeout(PATIENCE_S):
            await connection.wait(write_timeout_s=0.01)
        assert connection._transport is not None
        assert connection._num_waiting_bytes <= raft_socket.BUFFER_BYTES + (2 << 20)
        assert connection._transport.get_write_buffer_size() <= 2 << 20
        connection.close()
        gone.set()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


# --- behind the stream


@asynccontextmanager
async def linked(links: PeerLinks, address: Address) -> AsyncIterator[None]:
    links.cluster_id = CLUSTER
    links.set_address(NodeId(2), address)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(links.run())
        try:
            yield
        finally:
            task.cancel()


async def send_until(links: PeerLinks, peer: FakePeer, first: int) -> None:
    """Send as Raft does, until the last message that was sent has arrived."""
    async with asyncio.timeout(PATIENCE_S):
        for sequence in range(first, first + 10_000):
            links.send(message(sequence))
            await asyncio.sleep(0.005)
            delivered = [each.body.sequence for each in peer.delivered if isinstance(each.body, AppendResponse)]
            if delivered and delivered[-1] >= first:
                return


def test_messages_take_the_socket_that_is_offered_and_go_back_to_the_stream_without_it() -> None:
    async def main() -> None:
        peer, hub = FakePeer(), ExchangeHub(lambda node_id: None)
        server = PeerServer(peer, hub, asyncio.get_running_loop())
        server.cluster_id = CLUSTER
        links = PeerLinks(NodeId(1))
        try:
            address = Address(HOST, server.start(HOST, 0))
            async with linked(links, address):
                async with running(server.sockets):
                    await send_until(links, peer, 0)
                    assert links._links[NodeId(2)].socket is not None
                await send_until(links, peer, 20_000)
                assert links._links[NodeId(2)].socket is None
        finally:
            await asyncio.to_thread(server.stop, 0)
            await asyncio.to_thread(hub.close)

    asyncio.run(main())


def test_a_socket_that_cannot_be_reached_is_tried_once_in_a_life_of_the_peer() -> None:
    async def main() -> None:
        peer, hub = FakePeer(), ExchangeHub(lambda node_id: None)
        server = PeerServer(peer, hub, asyncio.get_running_loop())
        server.cluster_id = CLUSTER
        with socket.socket() as closed:
            closed.bind((HOST, 0))  # bound and not listening: nobody can be reached there
            server.sockets.offer = f"{closed.getsockname()[1]} 00"
            links = PeerLinks(NodeId(1))
            try:
                async with linked(links, Address(HOST, server.start(HOST, 0))):
                    await send_until(links, peer, 0)
                    link = links._links[NodeId(2)]
                    assert link.socket is None and link.last_offer == server.sockets.offer
                    assert not link.is_last_reachable
            finally:
                await asyncio.to_thread(server.stop, 0)
                await asyncio.to_thread(hub.close)

    asyncio.run(main())
