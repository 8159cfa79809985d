"""What only the leader can do: asked of any peer, and carried on to where its hint leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from raftgossip.cli.operator import ask_status, is_not_connected, peer_at
from raftgossip.errors import ClusterUnreachable, NotLeader
from raftgossip.ids import Address
from raftgossip.runtime.clock import Clock, SystemClock
from raftgossip.runtime.grpc_documents import StatusDocument
from raftgossip.runtime.grpc_operator import OperatorClient

PATIENCE_MS = 5_000
"""An election takes about a second; without a leader for longer there is no majority."""
PAUSE_S = 0.2
MAX_HOPS = 2
"""Hints followed before the first peer is asked again: old ones may lead in a circle."""

Answer = TypeVar("Answer")


def at_leader(text: str, act: Callable[[OperatorClient], Answer], clock: Clock | None = None) -> Answer:
    """Do `act` at the leader of the cluster to which the peer at `text` belongs; waits while there is none.

    What may have reached a leader is not repeated.

    Raises:
        ClusterUnreachable: the peer does not answer, or no leader was found in time.
        RaftGossipError: the leader refused.
    """
    clock = clock if clock is not None else SystemClock()
    deadline_ms = clock.now_ms() + PATIENCE_MS
    address, num_hops = text, 0
    while True:
        hint: str | None = None
        try:
            with peer_at(address) as client:
                try:
                    return act(client)
                except NotLeader as refusal:
                    problem, hint = str(refusal), _address_of(client, refusal.leader)
        except ClusterUnreachable as error:
            if address == text or not is_not_connected(error):
                raise
            problem = str(error)
        if clock.now_ms() >= deadline_ms:
            raise ClusterUnreachable(
                f"no leader of the cluster of {text} was found within {PATIENCE_MS // 1000} s ({problem}): an election "
                "is going on or a majority is missing; see `raftgossip status`, then retry"
            )
        if hint is not None and num_hops < MAX_HOPS:
            address, num_hops = hint, num_hops + 1
        else:
            address, num_hops = text, 0
            time.sleep(PAUSE_S)


def leading_status(client: OperatorClient) -> StatusDocument:
    """What a peer knows that takes itself for the leader; for `at_leader`.

    Raises:
        NotLeader: it does not; carries its hint.
    """
    status = ask_status(client)
    if status["role"] != "leader":
        raise NotLeader(status["leader"])
    return status


def _address_of(client: OperatorClient, node_id: int | None) -> str | None:
    """Where the asked peer knows this node; None: nowhere."""
    if node_id is None:
        return None
    found = (peer for peer in client.status().peers if peer.node_id == node_id)
    return next((str(Address(peer.host, peer.port)) for peer in found), None)
