"""Raft frames inside TLS: who gets in, for whom it may speak, how long it stays, and how much may wait."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from raftgossip.errors import PermissionDenied, TransportError
from raftgossip.ids import Address
from raftgossip.runtime import raft_socket
from raftgossip.runtime.guard import Guard
from raftgossip.runtime.raft_socket import RaftSockets, dial
from raftgossip.runtime.socket_tls import SocketTls
from raftgossip.trust.credentials import LiveCredentials
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from tests.support.fakes import FakePeer
from tests.support.keys import make_keys
from tests.support.raft_frames import HOST, PATIENCE_S, Inbox, frame, running, with_length
from tests.support.secured import (
    ANY_PEER,
    BAD_CERTIFICATES,
    ShiftedClock,
    Shown,
    bad_certificate,
    in_role,
    peer_identity,
    peer_of,
    revocation_list,
    shown_by,
)

CHECK_S = 0.05
ONE, TWO = peer_identity(1), peer_identity(2)
AT_HOST = Address(HOST, 1)


class Secured:
    """Node 2's sockets, being served."""

    def __init__(self, folder: KeyFolder) -> None:
        self.folder = folder
        self.peer, self.clock, self.inbox = FakePeer(), ShiftedClock(), Inbox()
        self.credentials = peer_of(folder, 2)
        guard = Guard(self.peer, self.credentials, self.clock)
        self.sockets = RaftSockets(self.inbox.deliver, lambda cluster_id: cluster_id == "c1", guard, CHECK_S)

    async def dial(self, server_name: str = ANY_PEER, credentials: LiveCredentials | None = None) -> Connection:
        """As node 1, unless told otherwise."""
        credentials = credentials or peer_of(self.folder, 1)
        return Connection(await dial(AT_HOST, self.sockets.offer, SocketTls(credentials), server_name))

    async def is_refused(self, shown: Shown) -> bool:
        """Whether this certificate, the token and a frame bring nothing but an end."""
        port, token = self.sockets.offer.split()
        try:
            reader, writer = await asyncio.open_connection(
                HOST, int(port), ssl=shown.context(), server_hostname=ANY_PEER
            )
        except (OSError, ssl.SSLError):
            return True
        try:
            writer.write(bytes.fromhex(token) + with_length(frame(1)))
            async with asyncio.timeout(PATIENCE_S):
                return await reader.read(1) == b""
        except (OSError, ssl.SSLError):
            return True
        finally:
            writer.transport.abort()


class Connection:
    """A dialled socket."""

    def __init__(self, socket: raft_socket.OutgoingSocket) -> None:
        self.socket = socket

    def send(self, sequence: int) -> None:
        self.socket.send(frame(sequence))

    async def ended(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.socket.wait(PATIENCE_S)

    def close(self) -> None:
        self.socket.close()


@asynccontextmanager
async def secured(folder: KeyFolder) -> AsyncIterator[Secured]:
    served = Secured(folder)
    async with running(served.sockets):
        yield served


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return make_keys(tmp_path)


# --- who gets in


def test_frames_of_a_neighbour_arrive_in_their_order(folder: KeyFolder) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            connection = await served.dial(TWO.server_name)
            for sequence in range(200):
                connection.send(sequence)
            assert await served.inbox.wait_for(200) == list(range(200))
            connection.close()

    asyncio.run(main())


@pytest.mark.parametrize("what", BAD_CERTIFICATES)
def test_nobody_gets_in_with_a_bad_certificate(folder: KeyFolder, tmp_path: Path, what: str) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            shown = bad_certificate(folder, what, tmp_path)
            served.credentials.refresh()
            assert await served.is_refused(shown)
            assert served.inbox.sequences == []

    asyncio.run(main())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.PEER])
def test_who_is_no_peer_does_not_get_in(folder: KeyFolder, role: Role) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            assert await served.is_refused(in_role(folder, role))

    asyncio.run(main())


def test_a_node_that_was_taken_out_does_not_get_in(folder: KeyFolder) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            served.peer.removed.add(ONE.uri)
            assert await served.is_refused(shown_by(folder, Role.PEER, "1"))

    asyncio.run(main())


def test_the_token_alone_does_not_let_in(folder: KeyFolder) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            connection = Connection(await dial(AT_HOST, served.sockets.offer))
            connection.send(1)
            await connection.ended()
            assert served.inbox.sequences == []

    asyncio.run(main())


def test_a_certificate_without_the_token_does_not_let_in(folder: KeyFolder) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            port, token = served.sockets.offer.split()
            tls = SocketTls(peer_of(folder, 1))
            connection = Connection(await dial(AT_HOST, f"{port} {'0' * len(token)}", tls, ANY_PEER))
            connection.send(1)
            await connection.ended()
            assert served.inbox.sequences == []

    asyncio.run(main())


def test_strangers_in_their_handshake_push_out_the_oldest(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raft_socket, "MAX_STRANGERS", 2)

    async def main() -> None:
        async with secured(folder) as served:
            port = int(served.sockets.offer.split()[0])
            silent = [await asyncio.open_connection(HOST, port) for _ in range(3)]
            async with asyncio.timeout(PATIENCE_S):
                assert await silent[0][0].read(1) == b""
            connection = await served.dial()
            connection.send(5)
            assert await served.inbox.wait_for(1) == [5]
            connection.close()
            for _, writer in silent:
                writer.close()

    asyncio.run(main())


# --- whom the dialler talks to


@pytest.mark.parametrize("server_name", [peer_identity(3).server_name, "peer.lungs.example", ONE.server_name])
def test_a_dialler_that_wants_somebody_else_does_not_talk_to_this_one(folder: KeyFolder, server_name: str) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            with pytest.raises(TransportError, match="takes Raft frames"):
                await served.dial(server_name)

    asyncio.run(main())


def test_a_dialler_may_refuse_whom_it_finds(folder: KeyFolder) -> None:
    seen: list[bytes] = []

    def refuse(certificate: bytes) -> None:
        seen.append(certificate)
        raise PermissionDenied("not you")

    async def main() -> None:
        async with secured(folder) as served:
            tls = SocketTls(peer_of(folder, 1))
            with pytest.raises(TransportError, match="not you"):
                await dial(AT_HOST, served.sockets.offer, tls, ANY_PEER, refuse)
            assert seen[0].startswith(b"-----BEGIN CERTIFICATE-----")

    asyncio.run(main())


# --- for whom it may speak, and how long it stays


def test_messages_of_another_node_end_the_connection(folder: KeyFolder) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            connection = await served.dial(credentials=peer_of(folder, 2))
            connection.send(1)  # says that node 1 sends it
            await connection.ended()
            assert served.inbox.sequences == []

    asyncio.run(main())


@pytest.mark.parametrize("why", ["expired", "revoked", "taken out"])
def test_an_open_connection_ends_with_its_callers_right_to_be_here(folder: KeyFolder, why: str) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            connection = await served.dial()
            connection.send(1)
            await served.inbox.wait_for(1)
            match why:
                case "expired":
                    served.clock.shift_s = 2 * 86_400
                case "revoked":
                    folder.add_revocations(revocation_list(folder, shown_by(folder, Role.PEER, "1"), 1))
                    served.credentials.refresh()
                case "taken out":
                    served.peer.removed.add(ONE.uri)
            await connection.ended()

    asyncio.run(main())


def test_a_renewed_certificate_is_shown_from_the_next_connection_on(folder: KeyFolder) -> None:
    seen: list[bytes] = []

    async def main() -> None:
        async with secured(folder) as served:
            tls = SocketTls(peer_of(folder, 1))
            first = await dial(AT_HOST, served.sockets.offer, tls, ANY_PEER, seen.append)
            first.send(frame(1))
            await served.inbox.wait_for(1)
            folder.renew(Role.PEER, "2", served.clock.wall_ms() / 1000)
            assert served.credentials.refresh()
            second = await dial(AT_HOST, served.sockets.offer, tls, ANY_PEER, seen.append)
            second.send(frame(2))
            first.send(frame(3))
            assert sorted(await served.inbox.wait_for(3)) == [1, 2, 3]
            assert seen[0] != seen[1]
            first.close()
            second.close()

    asyncio.run(main())


# --- how much may wait


def test_a_neighbour_that_does_not_read_is_given_up_and_costs_a_bounded_buffer(folder: KeyFolder) -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.pause_reading()  # type: ignore[attr-defined] # it is a read transport, too
            await gone.wait()
            writer.transport.abort()

        context = SocketTls(peer_of(folder, 2)).server_context()
        server = await asyncio.start_server(never_read, HOST, 0, ssl=context)
        offer = f"{server.sockets[0].getsockname()[1]} 00"
        connection = await dial(AT_HOST, offer, SocketTls(peer_of(folder, 1)), ANY_PEER)
        for _ in range(3 * raft_socket.BUFFER_BYTES >> 20):
            connection.send(bytes(1 << 20))
        assert connection._transport is not None
        assert connection._num_waiting_bytes <= raft_socket.BUFFER_BYTES + (2 << 20)
        assert connection._transport.get_write_buffer_size() <= 2 << 20
        async with asyncio.timeout(PATIENCE_S):
            await connection.wait(write_timeout_s=0.01)
        connection.close()
        gone.set()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_neighbour_that_reads_again_gets_everything_that_waited(folder: KeyFolder) -> None:
    received: list[int] = []

    class Late(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.ReadTransport)
            transport.pause_reading()
            transports.append(transport)
            came.set()

        def data_received(self, data: bytes) -> None:
            received.append(len(data))
            if sum(received) >= total:
                done.set()

    transports: list[asyncio.ReadTransport] = []
    came, done = asyncio.Event(), asyncio.Event()
    total = 1 + 8 * (4 + (1 << 20))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        context = SocketTls(peer_of(folder, 2)).server_context()
        server = await loop.create_server(Late, HOST, 0, ssl=context)
        offer = f"{server.sockets[0].getsockname()[1]} 00"
        connection = await dial(AT_HOST, offer, SocketTls(peer_of(folder, 1)), ANY_PEER)
        for _ in range(8):
            connection.send(bytes(1 << 20))
        assert not connection._can_write.is_set()
        async with asyncio.timeout(PATIENCE_S):
            await came.wait()
            transports[0].resume_reading()
            await done.wait()
            await connection._can_write.wait()
        assert sum(received) == total
        connection.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())


def test_a_neighbour_that_dials_again_and_again_takes_no_places_of_others(folder: KeyFolder) -> None:
    async def main() -> None:
        async with secured(folder) as served:
            connections = [await served.dial(TWO.server_name) for _ in range(3)]
            await connections[0].ended()
            for number, connection in enumerate(connections[1:], start=1):
                connection.send(number)
                assert (await served.inbox.wait_for(number))[-1] == number
            for connection in connections:
                connection.close()

    asyncio.run(main())
