"""What a peer does with gateways: registers, fails over, notices a restart, and works with original ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from raftgossip.errors import AlreadyExists, Busy, CommandRefused, ConfigError, PermissionDenied, TransportError
from raftgossip.ids import Address, NodeId
from raftgossip.runtime import grpc_discovery
from raftgossip.runtime.address_sources import FixedSource
from raftgossip.runtime.grpc_discovery import GatewayDiscovery
from raftgossip.runtime.service import Hints
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb
from tests.support.fake_gateway import BlackHole
from tests.support.small_gateway import SmallGateway

ME = NodeId(4)
HOME = Address("10.0.0.4", 7004)
NOWHERE = Address("127.0.0.1", 1)


@asynccontextmanager
async def opened(*gateways: Address) -> AsyncIterator[GatewayDiscovery]:
    discovery = GatewayDiscovery(gateways)
    try:
        yield discovery
    finally:
        await discovery.close()


async def register(discovery: GatewayDiscovery, cluster_id: str = "") -> Hints:
    return await discovery.register(ME, HOME, "secret", cluster_id)


def node(node_id: int, host: str = "10.0.0.1") -> pb.NodeInfo:
    return pb.NodeInfo(node_id=node_id, ip_address=host, port=7000 + node_id)


def test_a_node_says_who_it_is_and_learns_who_is_there_the_leader_first() -> None:
    async def main(gateway: SmallGateway) -> Hints:
        async with opened(gateway.address) as discovery:
            return await register(discovery, "c1")

    with SmallGateway() as gateway:
        gateway.nodes = {1: node(1), 2: node(2), 4: node(4)}
        gateway.leader = 2
        hints = asyncio.run(main(gateway))

    request = gateway.requests[0]
    assert isinstance(request, pb.RegisterNodeRequest)
    assert (request.node_id, request.ip_address, request.port) == (4, "10.0.0.4", 7004)
    assert (request.cluster_id, request.can_wait, request.metadata["owner"]) == ("c1", True, "secret")
    one, two = (NodeId(1), Address("10.0.0.1", 7001)), (NodeId(2), Address("10.0.0.1", 7002))
    assert hints == Hints(False, (two, one), "c1", 0)


def test_a_malformed_address_is_a_bad_hint_and_no_error() -> None:
    async def main(gateway: SmallGateway) -> Hints:
        async with opened(gateway.address) as discovery:
            return await register(discovery)

    with SmallGateway() as gateway:
        gateway.nodes = {1: node(1, "two words"), 2: pb.NodeInfo(node_id=2, ip_address="h"), 3: node(3), 0: node(0)}
        assert asyncio.run(main(gateway)).peers == ((NodeId(3), Address("10.0.0.1", 7003)),)


def test_what_the_gateway_knows_of_the_cluster_and_wants_waited_for_is_passed_on() -> None:
    async def main(gateway: SmallGateway) -> Hints:
        async with opened(gateway.address) as discovery:
            return await register(discovery)

    with SmallGateway() as gateway:
        gateway.names_bootstrap, gateway.wait_ms, gateway.cluster_id = False, 1234, "c9"
        assert asyncio.run(main(gateway)) == Hints(False, (), "c9", 1234)
        gateway.wait_ms = 10**9
        assert asyncio.run(main(gateway)).wait_ms == grpc_discovery.MAX_WAIT_MS


# --- several gateways


def test_while_there_is_no_cluster_every_gateway_is_asked() -> None:
    async def main(first: SmallGateway, second: SmallGateway) -> Hints:
        async with opened(first.address, second.address) as discovery:
            return await register(discovery)

    with SmallGateway() as first, SmallGateway() as second:
        first.names_bootstrap = False
        first.nodes, second.nodes = {1: node(1)}, {2: node(2)}
        hints = asyncio.run(main(first, second))
    assert {node_id for node_id, _ in hints.peers} == {1, 2}
    assert not hints.is_bootstrap

    with SmallGateway() as first, SmallGateway() as second:
        first.names_bootstrap = False
        assert asyncio.run(main(first, second)).is_bootstrap, "the second one decides"


def test_a_cluster_that_one_gateway_knows_ends_the_asking() -> None:
    async def main(*gateways: SmallGateway) -> Hints:
        async with opened(*(gateway.address for gateway in gateways)) as discovery:
            return await register(discovery)

    with SmallGateway() as first, SmallGateway() as second, SmallGateway() as third:
        second.cluster_id = "c2"
        hints = asyncio.run(main(first, second, third))

    assert hints.cluster_id == "c2" and third.requests == []


def test_a_member_registers_at_one_gateway_and_beats_there() -> None:
    async def main(first: SmallGateway, second: SmallGateway) -> bool:
        async with opened(first.address, second.address) as discovery:
            await register(discovery, "c1")
            return await discovery.renew(ME, "c1")

    with SmallGateway() as first, SmallGateway() as second:
        assert asyncio.run(main(first, second))
    assert second.requests == []
    beat = first.requests[-1]
    assert isinstance(beat, pb.HeartbeatRequest) and beat.cluster_id == "c1"


def test_a_dead_gateway_is_left_for_the_next_and_not_returned_to_until_that_dies() -> None:
    async def main(first: SmallGateway, second: SmallGateway) -> None:
        async with opened(first.address, second.address) as discovery:
            await register(discovery, "c1")
            first.stop()
            assert not await discovery.renew(ME, "c1"), "the other one does not know this node"
            await register(discovery, "c1")
            assert await discovery.renew(ME, "c1")
            await discovery.report_leader(ME, 7)

            first.start()
            assert await discovery.renew(ME, "c1")
            assert second.count(pb.HeartbeatRequest) == 2

            second.stop()
            assert not await discovery.renew(ME, "c1")
            await discovery.lost()
            await register(discovery, "c1")
            assert await discovery.renew(ME, "c1")

    with SmallGateway() as first, SmallGateway() as second:
        asyncio.run(main(first, second))
    assert second.leader == ME
    assert first.count(pb.RegisterNodeRequest) == 2


def test_a_frozen_gateway_is_left_when_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_discovery, "CALL_TIMEOUT_S", 0.2)

    async def main(hole: BlackHole, second: SmallGateway) -> Hints:
        async with opened(Address("127.0.0.1", hole.port), second.address) as discovery:
            return await register(discovery, "c1")

    with BlackHole() as hole, SmallGateway() as second:
        asyncio.run(main(hole, second))
    assert second.count(pb.RegisterNodeRequest) == 1


def test_no_gateway_at_all_is_told_with_every_address() -> None:
    async def main() -> None:
        async with opened(NOWHERE, Address("127.0.0.1", 2)) as discovery:
            await register(discovery)

    with pytest.raises(TransportError, match=r"127\.0\.0\.1:1: .*127\.0\.0\.1:2: "):
        asyncio.run(main())


def test_a_busy_gateway_is_left_for_another() -> None:
    async def main(*gateways: SmallGateway) -> None:
        async with opened(*(gateway.address for gateway in gateways)) as discovery:
            await register(discovery, "c1")

    with SmallGateway() as first, SmallGateway() as second:
        first.errors["RegisterNode"] = Busy("the registry is full")
        asyncio.run(main(first, second))
        assert second.count(pb.RegisterNodeRequest) == 1


def test_a_gateway_without_time_and_no_other_says_when_to_ask_again() -> None:
    async def main(gateway: SmallGateway) -> None:
        async with opened(NOWHERE, gateway.address) as discovery:
            await register(discovery)

    with SmallGateway() as gateway:
        gateway.errors["RegisterNode"] = Busy("over the rate", 700)
        with pytest.raises(Busy, match="over the rate") as refused:
            asyncio.run(main(gateway))
    assert refused.value.retry_after_ms == 700


@pytest.mark.parametrize("kind", [AlreadyExists, PermissionDenied])
def test_an_answer_about_this_node_is_final(kind: type[AlreadyExists] | type[PermissionDenied]) -> None:
    async def main(*gateways: SmallGateway) -> None:
        async with opened(*(gateway.address for gateway in gateways)) as discovery:
            await register(discovery)

    with SmallGateway() as first, SmallGateway() as second:
        first.errors["RegisterNode"] = kind("no")
        with pytest.raises(kind):
            asyncio.run(main(first, second))
        assert second.requests == []


def test_no_gateway_given_is_a_mistake() -> None:
    with pytest.raises(ConfigError):
        GatewayDiscovery([])


def test_what_a_name_stands_for_is_asked_anew_when_nobody_answers_there() -> None:
    class Moving:
        """A name that stands for another address each time."""

        name = "srv:moving"

        def __init__(self, *places: Address) -> None:
            self.places = list(places)

        async def addresses(self) -> tuple[Address, ...]:
            return (self.places.pop(0),)

    async def main(first: SmallGateway, second: SmallGateway) -> None:
        discovery = GatewayDiscovery([Moving(first.address, second.address)])
        await register(discovery, "c1")
        first.stop()
        assert not await discovery.renew(ME, "c1")
        await register(discovery, "c1")
        await discovery.close()

    with SmallGateway() as first, SmallGateway() as second:
        asyncio.run(main(first, second))
        assert second.count(pb.RegisterNodeRequest) == 1


def test_sources_without_an_answer_are_told_and_the_others_asked() -> None:
    async def main(gateway: SmallGateway) -> Hints:
        nobody = FixedSource((Address("169.254.169.254", 80),))
        discovery = GatewayDiscovery([nobody, gateway.address])
        try:
            return await register(discovery)
        finally:
            await discovery.close()

    with SmallGateway() as gateway:
        assert asyncio.run(main(gateway)).is_bootstrap


# --- original gateways


def test_an_original_gateway_names_the_bootstrap_once_and_that_stays_so() -> None:
    async def main(gateway: SmallGateway) -> list[bool]:
        async with opened(gateway.address) as discovery:
            return [(await register(discovery)).is_bootstrap for _ in range(3)]

    with SmallGateway(registry_id="") as gateway:
        assert asyncio.run(main(gateway)) == [True, True, True]
    with SmallGateway(registry_id="r1") as gateway:
        assert asyncio.run(main(gateway)) == [True, False, False], "ours may change its mind"


def test_an_original_gateway_gets_everything_it_knows() -> None:
    async def main(gateway: SmallGateway) -> None:
        async with opened(gateway.address) as discovery:
            assert (await register(discovery, "c1")).cluster_id == ""
            assert await discovery.renew(ME, "c1")
            await discovery.report_leader(ME, 3)
            gateway.forget()
            assert not await discovery.renew(ME, "c1")
            await register(discovery, "c1")
            await discovery.leave(ME)

    with SmallGateway(registry_id="") as gateway:
        asyncio.run(main(gateway))
    assert gateway.nodes == {}


# --- connections


def test_all_calls_share_one_connection() -> None:
    peers = set[str]()

    class Noting(SmallGateway):
        def _come(self, call: str, request: object, context: object) -> None:
            peers.add(context.peer())  # type: ignore[attr-defined]

    async def main(gateway: SmallGateway) -> None:
        async with opened(gateway.address) as discovery:
            await register(discovery, "c1")
            for _ in range(20):
                await discovery.renew(ME, "c1")

    with Noting() as gateway:
        asyncio.run(main(gateway))
    assert len(peers) == 1


async def sees(event: Awaitable[None], within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event
    except TimeoutError:
        return False
    return True


async def restart(gateway: SmallGateway) -> None:
    await asyncio.to_thread(gateway.stop)
    gateway.forget()
    await asyncio.to_thread(gateway.start)


def with_gateway(main: Callable[[SmallGateway, GatewayDiscovery], Awaitable[None]]) -> None:
    async def run(gateway: SmallGateway) -> None:
        async with opened(gateway.address) as discovery:
            await register(discovery, "c1")
            await main(gateway, discovery)

    with SmallGateway() as gateway:
        asyncio.run(run(gateway))


def test_a_restart_is_noticed_within_two_seconds_and_each_one_once() -> None:
    async def main(gateway: SmallGateway, discovery: GatewayDiscovery) -> None:
        for _ in range(2):
            async with asyncio.TaskGroup() as group:
                noticed = group.create_task(sees(discovery.lost(), 2.0))
                await asyncio.sleep(0)  # it watches now
                await restart(gateway)
            assert noticed.result()
            assert not await discovery.renew(ME, "c1")
            await register(discovery, "c1")
        assert not await sees(discovery.lost(), 0.3)

    with_gateway(main)


def test_a_gateway_that_stays_away_is_not_called_back() -> None:
    async def main(gateway: SmallGateway, discovery: GatewayDiscovery) -> None:
        await asyncio.to_thread(gateway.stop)
        assert not await sees(discovery.lost(), 0.5)

    with_gateway(main)


def test_a_gateway_that_was_away_from_the_beginning_is_noticed_when_it_comes() -> None:
    async def main(gateway: SmallGateway) -> None:
        async with opened(gateway.address) as discovery:
            with pytest.raises(TransportError):
                await register(discovery, "c1")
            async with asyncio.TaskGroup() as group:
                noticed = group.create_task(sees(discovery.lost(), 3.0))
                await asyncio.sleep(0)  # it watches now
                await asyncio.to_thread(gateway.start)
            assert noticed.result()
            await register(discovery, "c1")

    gateway = SmallGateway()
    gateway.start()
    gateway.stop()
    try:
        asyncio.run(main(gateway))
    finally:
        gateway.stop()


def test_with_several_gateways_a_break_is_told_at_once_and_the_other_is_watched_then() -> None:
    async def main(first: SmallGateway, second: SmallGateway) -> None:
        async with opened(first.address, second.address) as discovery:
            await register(discovery, "c1")
            async with asyncio.TaskGroup() as group:
                noticed = group.create_task(sees(discovery.lost(), 2.0))
                await asyncio.sleep(0)  # it watches now
                await asyncio.to_thread(first.stop)
            assert noticed.result()
            assert not await discovery.renew(ME, "c1")
            await register(discovery, "c1")
            async with asyncio.TaskGroup() as group:
                noticed = group.create_task(sees(discovery.lost(), 2.0))
                await asyncio.sleep(0)  # it watches now
                await asyncio.to_thread(second.stop)
            assert noticed.result()

    with SmallGateway() as first, SmallGateway() as second:
        asyncio.run(main(first, second))


def test_a_call_that_fails_over_moves_the_watch_too() -> None:
    async def main(first: SmallGateway, second: SmallGateway) -> None:
        async with opened(first.address, second.address) as discovery:
            await register(discovery, "c1")
            first.errors["Heartbeat"] = TransportError("draining")
            async with asyncio.TaskGroup() as group:
                noticed = group.create_task(sees(discovery.lost(), 3.0))
                await asyncio.sleep(0)  # it watches now
                assert not await discovery.renew(ME, "c1")
                await register(discovery, "c1")
                await asyncio.sleep(0)
                await asyncio.to_thread(second.stop)
            assert noticed.result()

    with SmallGateway() as first, SmallGateway() as second:
        asyncio.run(main(first, second))


def test_a_connection_that_is_closed_under_a_call_is_a_broken_one() -> None:
    async def main(hole: BlackHole) -> None:
        discovery = GatewayDiscovery([Address("127.0.0.1", hole.port)])
        async with asyncio.TaskGroup() as group:
            call = group.create_task(broken(discovery))
            connection = await asyncio.to_thread(hole.accept, 5)
            await discovery.close()
            await call
            connection.close()

    async def broken(discovery: GatewayDiscovery) -> None:
        with pytest.raises(TransportError, match="closed"):
            await register(discovery)

    with BlackHole() as hole:
        asyncio.run(main(hole))


def test_leaving_takes_the_node_off_every_list_that_it_was_entered_in() -> None:
    async def main(first: SmallGateway, second: SmallGateway) -> None:
        async with opened(first.address, second.address) as discovery:
            await register(discovery)
            assert ME in first.nodes and ME in second.nodes
            await discovery.leave(ME)

    with SmallGateway() as first, SmallGateway() as second:
        asyncio.run(main(first, second))
        assert first.nodes == second.nodes == {}


def test_a_leader_of_an_older_term_is_told_so() -> None:
    async def main(gateway: SmallGateway, discovery: GatewayDiscovery) -> None:
        gateway.errors["UpdateLeader"] = CommandRefused("node 2 leads term 9")
        with pytest.raises(CommandRefused):
            await discovery.report_leader(ME, 3)

    with_gateway(main)
