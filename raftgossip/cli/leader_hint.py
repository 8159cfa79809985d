"""What only the leader can do: asked of any peer, and carried on to where its hint leads."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from raftgossip.cli.operator import HOP_MS, ask_status, is_not_connected, is_silence, peer_at
from raftgossip.errors import ClusterUnreachable, NotLeader
from raftgossip.runtime.clock import SystemClock
from raftgossip.runtime.grpc_documents import StatusDocument
from raftgossip.runtime.grpc_operator import ANSWER_MS, OperatorClient
from raftgossip.trust.credentials import LiveCredentials

PATIENCE_MS = 5_000
"""An election takes about a second; without a leader for longer there is no majority."""
PAUSE_S = 0.2

Answer = TypeVar("Answer")


def at_leader(text: str, credentials: LiveCredentials | None, act: Callable[[OperatorClient], Answer]) -> Answer:
    """Do `act` at the leader of the cluster to which the peer at `text` belongs; waits while there is none.

    What may have reached a leader is not repeated.

    Raises:
        ClusterUnreachable: the peer does not answer, no leader was found in time, or the leader fell silent.
        RaftGossipError: the leader refused.
    """
    return _seek(text, credentials, act, is_not_connected)


def at_some_leader(text: str, credentials: LiveCredentials | None, act: Callable[[OperatorClient], Answer]) -> Answer:
    """The same for what does no harm twice, as reading: if a leader falls silent meanwhile, the next one is asked."""
    return _seek(text, credentials, act, is_silence)


def leading_status(client: OperatorClient) -> StatusDocument:
    """What a peer knows that takes itself for the leader; for `at_some_leader`.

    Raises:
        NotLeader: it does not; carries its hint.
    """
    status = ask_status(client)
    if status["role"] != "leader":
        raise NotLeader(status["leader"])
    return status


def _seek(
    text: str,
    credentials: LiveCredentials | None,
    act: Callable[[OperatorClient], Answer],
    may_go_on: Callable[[ClusterUnreachable], bool],
) -> Answer:
    """Ask the first peer, then where its hints lead, then the first peer again: a frozen leader is replaced meanwhile.

    In time such rounds are begun again and again. The last one, too, ends at the first peer, and goes on from there
    only to who was not asked in it. `may_go_on`: whether another may be asked after `act` was not answered.
    """
    clock = SystemClock()
    started_ms = clock.now_ms()
    address, asked, silent = text, [text], ""
    while True:
        hint, has_answered = "", False
        try:
            with peer_at(address, credentials, ANSWER_MS if address == text else HOP_MS) as client:
                known = ask_status(
                    client
                )  # who does not even answer this is given no change, which is waited for longer
                has_answered = True
                try:
                    return act(client)
                except NotLeader as refusal:
                    places = {member["node_id"]: member["address"] for member in known["peers"]}
                    problem, hint = str(refusal), places.get(refusal.leader or 0, "")
                    silent = silent if hint in asked else ""
        except ClusterUnreachable as error:
            if has_answered and is_silence(error) and not may_go_on(error):
                raise ClusterUnreachable(
                    f"the leader at {address} fell silent before it confirmed this, which may have been done "
                    "nevertheless: look with `raftgossip members` or `raftgossip leader` before you repeat it"
                ) from error
            if not may_go_on(error) if has_answered else address == text:
                raise
            problem = silent = f"the node at {address}, which it takes for the leader, does not answer"
        if hint and hint not in asked:
            address, asked = hint, [*asked, hint]
            continue
        waited_ms = clock.now_ms() - started_ms
        if waited_ms < PATIENCE_MS:
            asked = [text]
            time.sleep(PAUSE_S)
        elif address == text:
            raise ClusterUnreachable(
                f"no leader of the cluster of {text} was found within {waited_ms / 1000:.0f} s ({silent or problem}): "
                "an election is going on or a majority is missing; see `raftgossip status`, then retry"
            )
        address = text
