"""Links and exchanges with certificates: whom they dial, and what happens when certificates and names change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from raftgossip.errors import NotLeader, PermissionDenied, TransportError
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.runtime import grpc_client, grpc_link
from raftgossip.runtime.exchange import EdgeOutcome
from raftgossip.runtime.grpc_client import PeerLinks, ask_to_join
from raftgossip.runtime.raft_socket import OutgoingSocket, dial
from raftgossip.runtime.service import JoinAsk
from raftgossip.trust.files import KeyFolder
from raftgossip.trust.identity import Role
from tests.support.exchange import NUM_ELEMENTS, ExchangeNode, RecordingSink, edge
from tests.support.keys import ORGANISATION, make_keys, now_s
from tests.support.raft_frames import message
from tests.support.secured import ANY_PEER, peer_identity, peer_of, revocation_list, shown_by
from tests.support.served_peer import ServedPeer, served_peer

TWO = NodeId(2)
NAMES = {NodeId(each): peer_identity(each).server_name for each in (1, 2, 3)}
PATIENCE_S = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return make_keys(tmp_path)


@contextmanager
def served_two(folder: KeyFolder, as_node: int = 2) -> Iterator[ServedPeer]:
    with served_peer(credentials=peer_of(folder, as_node), add_revocations=folder.add_revocations) as served:
        yield served


@asynccontextmanager
async def links_to(served: ServedPeer, links: PeerLinks, with_socket: bool = False) -> AsyncIterator[PeerLinks]:
    links.cluster_id = "c1"
    links.set_address(TWO, served.address)
    sockets = asyncio.run_coroutine_threadsafe(served.server.sockets.run("127.0.0.1"), served.loop)  # noqa: TID251
    if not with_socket:
        sockets.cancel()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(links.run())
        try:
            yield links
        finally:
            running.cancel()
            sockets.cancel()


async def arrives(served: ServedPeer, links: PeerLinks, first: int, attempts: int = 400) -> bool:
    """Send as Raft does, until something that was sent from now on has arrived."""
    for sequence in range(first, first + attempts):
        links.send(message(sequence))
        await asyncio.sleep(0.01)
        if any(getattr(each.body, "sequence", -1) >= first for each in served.peer.delivered):
            return True
    return False


# --- links


@pytest.mark.parametrize("with_socket", [False, True])
@pytest.mark.parametrize("names", [None, NAMES.__getitem__], ids=["any peer", "exactly this one"])
def test_messages_and_calls_reach_the_peer(folder: KeyFolder, with_socket: bool, names: object) -> None:
    async def main(served: ServedPeer) -> None:
        links = PeerLinks(NodeId(1), peer_of(folder, 1), names)  # type: ignore[arg-type]
        async with links_to(served, links, with_socket):
            assert await arrives(served, links, 0)
            assert (links._links[TWO].socket is not None) is with_socket
            assert (await links.propose(TWO, b"e", 5_000)).index == 9

    with served_two(folder) as served:
        asyncio.run(main(served))


def test_a_peer_that_is_another_one_gets_nothing(folder: KeyFolder) -> None:
    folder.issue(ORGANISATION, Role.PEER, "3", now_s())

    async def main(served: ServedPeer) -> None:
        links = PeerLinks(NodeId(1), peer_of(folder, 1), NAMES.__getitem__)
        async with links_to(served, links):
            with pytest.raises(TransportError):
                await links.propose(TWO, b"e", 5_000)
            assert not await arrives(served, links, 0, attempts=20)

    with served_two(folder, as_node=3) as served:
        asyncio.run(main(served))


def test_a_socket_of_another_peer_is_not_used_though_any_may_be_dialled(folder: KeyFolder) -> None:
    folder.issue(ORGANISATION, Role.PEER, "3", now_s())

    async def main(served: ServedPeer) -> None:
        links = PeerLinks(NodeId(1), peer_of(folder, 1))
        async with links_to(served, links, with_socket=True):
            assert await arrives(served, links, 0)
            assert links._links[TWO].socket is None and not links._links[TWO].is_last_reachable

    with served_two(folder, as_node=3) as served:
        asyncio.run(main(served))


def test_a_socket_whose_server_is_revoked_is_not_used(folder: KeyFolder) -> None:
    async def main(served: ServedPeer) -> None:
        mine = peer_of(folder, 1)
        folder.add_revocations(revocation_list(folder, shown_by(folder, Role.PEER, "2"), 1))
        mine.refresh()
        links = PeerLinks(NodeId(1), mine)
        async with links_to(served, links, with_socket=True):
            assert await arrives(served, links, 0)
            assert links._links[TWO].socket is None

    with served_two(folder) as served:
        asyncio.run(main(served))


@pytest.mark.parametrize("with_socket", [False, True])
def test_a_renewed_certificate_is_shown_on_new_connections_without_a_restart(
    folder: KeyFolder, with_socket: bool
) -> None:
    async def main(served: ServedPeer) -> None:
        mine = peer_of(folder, 1)
        links = PeerLinks(NodeId(1), mine, watch_s=0.02)
        async with links_to(served, links, with_socket):
            assert await arrives(served, links, 0)
            await links.propose(TWO, b"e", 5_000)
            folder.renew(Role.PEER, "1", now_s(), new_key=True)
            assert mine.refresh()
            await links.propose(TWO, b"e", 5_000)
            assert await arrives(served, links, 1000)
            async with asyncio.timeout(PATIENCE_S):
                while links._links[TWO].channel is None or links._links[TWO].way.generation == 1:  # type: ignore[union-attr]
                    links.send(message(2000))
                    await asyncio.sleep(0.01)
            assert await arrives(served, links, 3000)

    with served_two(folder) as served:
        asyncio.run(main(served))
        first, second = served.peer.proposers
        assert first.identity == second.identity and first.key_digest != second.key_digest


def test_a_name_that_the_roster_learns_is_asked_for_from_then_on(folder: KeyFolder) -> None:
    names = dict.fromkeys(NAMES, ANY_PEER)

    async def main(served: ServedPeer) -> None:
        links = PeerLinks(NodeId(1), peer_of(folder, 1), lambda node_id: names[node_id], watch_s=0.02)
        async with links_to(served, links):
            assert await arrives(served, links, 0)
            names[TWO] = NAMES[NodeId(3)]
            with pytest.raises(TransportError):
                await links.propose(TWO, b"e", 2_000)
            names[TWO] = NAMES[TWO]
            await links.propose(TWO, b"e", 5_000)
            assert await arrives(served, links, 1000)

    with served_two(folder) as served:
        asyncio.run(main(served))


def test_a_socket_that_could_not_be_reached_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_link, "SOCKET_RETRY_MS", 50)
    blocked = True

    async def dial_unless_blocked(*arguments: Any) -> OutgoingSocket:
        if blocked:
            raise TransportError("a firewall is in the way")
        return await dial(*arguments)

    monkeypatch.setattr(grpc_client, "dial", dial_unless_blocked)

    async def main(served: ServedPeer) -> None:
        nonlocal blocked
        links = PeerLinks(NodeId(1), watch_s=0.02)
        async with links_to(served, links, with_socket=True):
            assert await arrives(served, links, 0)
            assert links._links[TWO].socket is None
            blocked = False
            for sequence in range(1000, 2000):
                links.send(message(sequence))
                await asyncio.sleep(0.01)
                if links._links[TWO].socket is not None:
                    break
            assert await arrives(served, links, 5000)
            assert links._links[TWO].socket is not None

    with served_peer() as served:
        asyncio.run(main(served))


def test_a_revocation_list_is_brought_to_all_peers(folder: KeyFolder) -> None:
    data = revocation_list(folder, shown_by(folder, Role.OPERATOR, "alice"), 1)

    async def main(served: ServedPeer) -> None:
        links = PeerLinks(NodeId(1), peer_of(folder, 1))
        async with links_to(served, links):
            links.set_address(NodeId(3), Address("127.0.0.1", 1))
            assert await links.publish_revocations(data) == 1

    with served_two(folder) as served:
        asyncio.run(main(served))
        assert served.credentials is not None and served.credentials.current().revocations.numbers == {ORGANISATION: 1}


# --- joining


ASK = JoinAsk(NodeId(1), Address("10.0.0.1", 7001), Incarnation("a"), "o", b"s" * 32, "toy", "", (), join_token="t")


def test_a_newcomer_joins_through_any_peer_as_who_it_is(folder: KeyFolder) -> None:
    with served_two(folder) as served:
        asyncio.run(ask_to_join(served.address, ASK, 5_000, peer_of(folder, 1)))

    (ask,) = served.peer.asks
    assert (ask.node_id, ask.owner, ask.join_token) == (1, f"{peer_identity(1).uri}#o", "t")
    assert ask.identity == peer_identity(1).uri and len(ask.key_digest) == 32


def test_a_newcomer_does_not_join_with_another_nodes_certificate(folder: KeyFolder) -> None:
    with served_two(folder) as served, pytest.raises(PermissionDenied, match="own-node"):
        asyncio.run(ask_to_join(served.address, ASK, 5_000, peer_of(folder, 2)))


def test_a_newcomer_goes_where_the_leader_is_said_to_be_and_shows_its_own_certificate(tmp_path: Path) -> None:
    folder = make_keys(tmp_path, peers=(1, 2, 3))
    with served_two(folder) as follower, served_two(folder, as_node=3) as leader:
        follower.peer.error = NotLeader(NodeId(3), str(leader.address))
        answer = asyncio.run(ask_to_join(follower.address, ASK, 5_000, peer_of(folder, 1)))

    (ask,) = leader.peer.asks
    assert (ask.identity, ask.forwarded) == (peer_identity(1).uri, False)
    assert answer.cluster_id


def test_a_newcomer_is_led_to_no_address_that_nobody_may_dial(folder: KeyFolder) -> None:
    with served_two(folder) as follower:
        follower.peer.error = NotLeader(NodeId(3), "169.254.169.254:80")
        with pytest.raises(NotLeader):
            asyncio.run(ask_to_join(follower.address, ASK, 5_000, peer_of(folder, 1)))


# --- exchanges


def exchanged(folder: KeyFolder, names: dict[NodeId, str], as_node: int = 2) -> dict[NodeId, EdgeOutcome]:
    """How a step between nodes 1 and 2 ends at node 1; node 2 is served with another node's certificate if told."""
    addresses: dict[NodeId, Address] = {}
    one = ExchangeNode(1, addresses, credentials=peer_of(folder, 1), server_name_of=names.__getitem__)
    two = ExchangeNode(2, addresses, credentials=peer_of(folder, as_node), server_name_of=names.__getitem__)
    try:
        other = two.start_step(two.work((edge(1, RecordingSink()),), timeout_s=2.0))
        outcomes = one.start_step(one.work((edge(2, RecordingSink()),))).result(20)
        if not outcomes[TWO].error:
            assert not other.result(20)[NodeId(1)].error
        return outcomes
    finally:
        one.close()
        two.close()


def test_neighbours_exchange_over_tls(folder: KeyFolder) -> None:
    assert exchanged(folder, NAMES)[TWO] == EdgeOutcome(4 * NUM_ELEMENTS, 4 * NUM_ELEMENTS)


def test_nothing_is_sent_to_a_neighbour_that_is_another_node(folder: KeyFolder) -> None:
    folder.issue(ORGANISATION, Role.PEER, "3", now_s())

    assert exchanged(folder, NAMES, as_node=3)[TWO].error


def test_an_exchange_shows_the_renewed_certificate(folder: KeyFolder) -> None:
    addresses: dict[NodeId, Address] = {}
    mine = peer_of(folder, 1)
    one = ExchangeNode(1, addresses, credentials=mine)
    two = ExchangeNode(2, addresses, credentials=peer_of(folder, 2))
    try:
        for epoch in (1, 2):
            work = {"epoch": epoch}
            other = two.start_step(two.work((edge(1, RecordingSink()),), **work))
            assert not one.start_step(one.work((edge(2, RecordingSink()),), **work)).result(20)[TWO].error
            other.result(20)
            folder.renew(Role.PEER, "1", now_s())
            assert mine.refresh()
        assert one.hub._channels[TWO][0].generation == 2
    finally:
        one.close()
        two.close()
