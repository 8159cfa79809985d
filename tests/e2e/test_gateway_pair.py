"""Two gateways that exchange their lists: one dies, joins go on at the other, and the lists agree again afterwards."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.live_gateway import LiveGateway, cluster_id_of
from tests.support.processes import NodeProcess, wait_for

SETTINGS: dict[str, object] = {
    "num_epochs": 0,
    "min_participants": 2,
    "train_deadline_ms": 5_000,
    "exchange_deadline_ms": 5_000,
    "min_epoch_ms": 200,
}
"""Nodes beat every 30 s by default: what is seen here within seconds, they noticed by themselves."""


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens at: two gateways that name each other cannot both pick their own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_one_of_two_gateways_dies_and_joins_go_on_and_the_lists_agree_again(tmp_path: Path) -> None:
    ports = free_ports(2)
    first, second = (
        LiveGateway(str(place), tmp_path, "--new", "--gateways", f"127.0.0.1:{ports[1 - place]}", port=ports[place])
        for place in range(2)
    )
    nodes: list[NodeProcess] = []

    def start_node(node_id: int, *order: LiveGateway) -> NodeProcess:
        settings = {**SETTINGS, "gateway": [gateway.address for gateway in order]}
        nodes.append(NodeProcess(node_id, tmp_path, {"size": 1_000}, settings).start())
        return nodes[-1]

    try:
        with first.start(), second.start():
            for node_id, order in ((1, (first, second)), (2, (second, first)), (3, (first, second))):
                start_node(node_id, *order)
            (cluster_id,) = {cluster_id_of(node) for node in nodes}
            for gateway in (first, second):
                gateway.wait_until_it_lists({1, 2, 3}, cluster_id, 10)

            first.kill()
            newcomer = start_node(4, first, second)
            assert cluster_id_of(newcomer) == cluster_id
            second.wait_until_it_lists({1, 2, 3, 4}, cluster_id, 10)

            first.lose_disk()
            first.start()
            first.wait_until_it_lists({1, 2, 3, 4}, cluster_id, 10)
            leaders = [wait_for(gateway.leader, 10, "leader at a gateway") for gateway in (first, second)]
            assert leaders[0] == leaders[1]
    finally:
        for node in nodes:
            node.kill()
