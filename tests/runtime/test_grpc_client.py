"""The calling side: Raft messages in order, again after a restart, the oldest dropped; calls end as errors of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import grpc
import numpy as np
import pytest

from raftgossip.core.raft.message import AppendResponse, Message
from raftgossip.errors import NotFound, NotLeader, TransportError, WireError, WrongCluster
from raftgossip.errors import PermissionDenied as Denied
from raftgossip.ids import Address, Incarnation, LogIndex, NodeId, Term
from raftgossip.runtime.grpc_client import PeerLinks, ask_to_join
from raftgossip.runtime.grpc_link import OUTBOX_LIMIT
from raftgossip.runtime.grpc_operator import OperatorClient
from raftgossip.runtime.service import JoinAsk, ProposeAnswer
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.golden import SPECIFICATION
from tests.support.served_peer import ServedPeer, served_peer

TWO = NodeId(2)
ASK = JoinAsk(NodeId(4), Address("10.0.0.4", 7004), Incarnation("a"), "o", b"s" * 32, "toy", "", (("k", "v"),))


def message(sequence: int) -> Message:
    body = AppendResponse(True, LogIndex(0), LogIndex(0), Term(0), sequence)
    return Message(NodeId(1), TWO, Term(1), body)


def sequences(delivered: list[Message]) -> list[int]:
    return [each.body.sequence for each in delivered if isinstance(each.body, AppendResponse)]


@asynccontextmanager
async def links_to(address: Address, cluster_id: str = "c1") -> AsyncIterator[PeerLinks]:
    """Node 1's links with node 2 at `address`; its senders run until the end."""
    links = PeerLinks(NodeId(1))
    links.cluster_id = cluster_id
    links.set_address(TWO, address)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(links.run())
        try:
            yield links
        finally:
            running.cancel()


async def wait_until(served: ServedPeer, condition: Callable[[list[Message]], bool]) -> bool:
    return await asyncio.to_thread(served.peer.wait_for, condition)


# --- Raft messages


def test_messages_arrive_in_order() -> None:
    async def main(served: ServedPeer) -> None:
        async with links_to(served.address) as links:
            for sequence in range(200):
                links.send(message(sequence))
            assert await wait_until(served, lambda delivered: len(delivered) >= 200)

    with served_peer() as served:
        asyncio.run(main(served))
        assert sequences(served.peer.delivered) == list(range(200))


def test_a_full_outbox_drops_the_oldest() -> None:
    num_sent = OUTBOX_LIMIT + 50

    async def main(served: ServedPeer) -> None:
        async with links_to(served.address) as links:
            for sequence in range(num_sent):  # the sender gets no turn in between
                links.send(message(sequence))
            assert await wait_until(served, lambda delivered: num_sent - 1 in sequences(delivered))

    with served_peer() as served:
        asyncio.run(main(served))
        assert sequences(served.peer.delivered) == list(range(50, num_sent))


async def send_until(served: ServedPeer, links: PeerLinks, first: int) -> None:
    """Send a heartbeat's worth of messages until one arrives, as Raft does."""
    for sequence in range(first, first + 200):
        links.send(message(sequence))
        if await asyncio.to_thread(served.peer.wait_for, bool, 0.05):
            return
    pytest.fail("nothing arrived in ten seconds")


def test_messages_flow_again_after_the_peer_restarted_on_the_same_port() -> None:
    async def main() -> None:
        with served_peer() as first:
            async with links_to(first.address) as links:
                await send_until(first, links, 0)
                await asyncio.to_thread(first.close)
                with served_peer(first.address.port) as second:
                    await send_until(second, links, 1000)
                    assert min(sequences(second.peer.delivered)) >= 1000

    asyncio.run(main())


def test_messages_flow_to_where_the_peer_moved() -> None:
    async def main() -> None:
        with served_peer() as first, served_peer() as second:
            async with links_to(first.address) as links:
                await send_until(first, links, 0)
                links.set_address(TWO, second.address)
                assert links.address_of(TWO) == second.address
                await send_until(second, links, 1000)

    asyncio.run(main())


def test_messages_to_an_unknown_node_or_to_oneself_are_lost_without_harm() -> None:
    async def main(served: ServedPeer) -> None:
        async with links_to(served.address) as links:
            links.set_address(NodeId(1), served.address)
            links.send(Message(NodeId(1), NodeId(9), Term(1), message(0).body))
            links.send(Message(NodeId(1), NodeId(1), Term(1), message(0).body))
            links.send(message(5))
            assert await wait_until(served, lambda delivered: len(delivered) >= 1)
            assert links.address_of(NodeId(9)) is None and links.address_of(NodeId(1)) is None

    with served_peer() as served:
        asyncio.run(main(served))
        assert sequences(served.peer.delivered) == [5]


def test_nothing_is_sent_before_the_cluster_is_known() -> None:
    async def main(served: ServedPeer) -> None:
        async with links_to(served.address, cluster_id="") as links:
            links.send(message(1))
            for _ in range(20):
                await asyncio.sleep(0)
            links.cluster_id = "c1"
            links.send(message(2))
            assert await wait_until(served, lambda delivered: len(delivered) >= 1)

    with served_peer() as served:
        asyncio.run(main(served))
        assert 2 in sequences(served.peer.delivered)


# --- calls


def test_a_forwarded_command_comes_back_with_the_ledgers_answer() -> None:
    async def main(served: ServedPeer) -> None:
        async with links_to(served.address) as links:
            assert await links.propose(TWO, b"e", 10_000) == ProposeAnswer(9, applied=False, reason="too late")

    with served_peer() as served:
        asyncio.run(main(served))
        assert served.peer.envelopes == [b"e"]


def test_a_follower_names_its_leader() -> None:
    async def main(served: ServedPeer) -> None:
        served.peer.error = NotLeader(3)
        async with links_to(served.address) as links:
            with pytest.raises(NotLeader) as caught:
                await links.propose(TWO, b"e", 10_000)
            assert caught.value.leader == 3

    with served_peer() as served:
        asyncio.run(main(served))


def test_calls_to_nobody_and_to_the_dead_are_transport_errors() -> None:
    async def main(address: Address) -> None:
        async with links_to(address) as links:
            with pytest.raises(TransportError, match="no address is known for node 9"):
                await links.propose(NodeId(9), b"e", 1_000)
            with pytest.raises(TransportError):
                await links.propose(TWO, b"e", 1_000)

    with served_peer() as served:
        pass
    asyncio.run(main(served.address))


def test_a_call_of_another_cluster_is_denied() -> None:
    async def main(served: ServedPeer) -> None:
        async with links_to(served.address, cluster_id="c2") as links:
            with pytest.raises((WrongCluster, Denied), match="c2"):
                await links.propose(TWO, b"e", 10_000)

    with served_peer() as served:
        asyncio.run(main(served))


def test_a_newcomer_is_told_who_is_there() -> None:
    with served_peer() as served:
        answer = asyncio.run(ask_to_join(served.address, ASK, 10_000))

        assert served.peer.asks == [ASK]
    assert (answer.cluster_id, answer.leader, answer.specification) == ("c1", 2, SPECIFICATION)
    assert answer.peers == ((1, Address("10.0.0.1", 7001)), (2, Address("::1", 7002)))


def test_an_operator_asks_over_one_channel() -> None:
    with served_peer() as served:
        client = OperatorClient(served.address)
        try:
            assert client.status().role == "leader"
            assert client.epochs(1, 0).last_epoch == 4
            assert client.leave() == "left"
            served.peer.error = NotLeader(3)
            with pytest.raises(NotLeader):
                client.status()
        finally:
            client.close()


# --- models


def test_a_model_is_fetched_from_where_it_broke_off() -> None:
    model = np.arange(700_000, dtype=np.float32)

    async def main(served: ServedPeer) -> None:
        served.peer.models[b"d"] = model
        async with links_to(served.address) as links:
            into = np.zeros_like(model)
            into[:1000] = model[:1000]
            assert await links.fetch_model(TWO, b"d", into, 4000, 10_000) == model.nbytes
            assert into.tobytes() == model.tobytes()
            with pytest.raises(NotFound):
                await links.fetch_model(TWO, b"x", into, 0, 10_000)
            with pytest.raises(WireError, match="expected 40 bytes"):
                await links.fetch_model(TWO, b"d", np.zeros(10, np.float32), 0, 10_000)

    with served_peer() as served:
        asyncio.run(main(served))


@contextmanager
def lying_peer(method: str, answers: list[bytes]) -> Iterator[Address]:
    """A server whose only method answers any request with these messages."""

    def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from answers

    def answer_one(request: bytes, context: grpc.ServicerContext) -> bytes:
        return answers[0]

    streams = method == "FetchModel"
    handler: grpc.RpcMethodHandler[bytes, bytes] = (
        grpc.unary_stream_rpc_method_handler(answer) if streams else grpc.unary_unary_rpc_method_handler(answer_one)
    )
    threads = ThreadPoolExecutor(1)
    server = grpc.server(threads)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("PeerService", {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Address("127.0.0.1", port)
    finally:
        server.stop(None).wait()
        threads.shutdown()


@pytest.mark.parametrize(
    "chunks",
    [
        [pb.ModelChunk(offset=0, total_bytes=44, data=bytes(4))],
        [pb.ModelChunk(offset=4, total_bytes=40, data=bytes(4))],
        [pb.ModelChunk(offset=0, total_bytes=40, data=bytes(44))],
        [pb.ModelChunk(offset=0, total_bytes=40, data=bytes(8)), pb.ModelChunk(offset=4, total_bytes=40, data=b"")],
    ],
    ids=["another length", "not from the start", "more than the model", "going back"],
)
def test_a_model_that_comes_in_other_pieces_than_promised_is_refused(chunks: list[pb.ModelChunk]) -> None:
    async def main(address: Address) -> None:
        async with links_to(address) as links:
            with pytest.raises(WireError, match="node 2"):
                await links.fetch_model(TWO, b"d", np.zeros(10, np.float32), 0, 10_000)

    with lying_peer("FetchModel", [chunk.SerializeToString() for chunk in chunks]) as address:
        asyncio.run(main(address))


@pytest.mark.parametrize(
    "answer",
    [
        pb.JoinResponse(cluster_id="c1", specification=pb.RunSpecification(num_epochs=1)),
        pb.JoinResponse(cluster_id="c1", peers=[pb.PeerAddress(node_id=1, host="", port=1)]),
        pb.JoinResponse(cluster_id="c1", peers=[pb.PeerAddress(node_id=1, host="a", port=0)]),
    ],
    ids=["specification", "host", "port"],
)
def test_a_malformed_answer_to_a_newcomer_is_the_peers_fault(answer: pb.JoinResponse) -> None:
    with lying_peer("Join", [answer.SerializeToString()]) as address, pytest.raises(WireError, match="malformed"):
        asyncio.run(ask_to_join(address, ASK, 10_000))
