"""Nodes with real sockets that are closed behind every test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from raftgossip.ids import Address, NodeId
from tests.support.exchange import ExchangeNode, Make


@pytest.fixture
def make() -> Iterator[Make]:
    """Builds nodes that know each other's addresses; at the end no thread of theirs may be left."""
    addresses: dict[NodeId, Address] = {}
    nodes: list[ExchangeNode] = []

    def make_node(node_id: int, **settings: int) -> ExchangeNode:
        nodes.append(ExchangeNode(node_id, addresses, **settings))
        return nodes[-1]

    yield make_node
    for node in nodes:
        node.close()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("exchange", "grpc"))]
    assert left == []
