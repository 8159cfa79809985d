"""What the network sees of a peer that belongs to no cluster yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from raftgossip.errors import Busy, NotFound, NotLeader, PermissionDenied
from raftgossip.ids import Address, Incarnation, NodeId
from raftgossip.peer.front import Front
from raftgossip.runtime.service import JoinAsk
from raftgossip.trust.callers import Caller
from raftgossip.trust.identity import Identity, Role
from tests.support.keys import make_keys

ASK = JoinAsk(NodeId(2), Address("h", 2), Incarnation("a"), "mine", b"", "T", "", ())
NO_MODELS: Any = None


def test_who_asks_for_a_cluster_hears_whether_one_may_be_founded_here() -> None:
    front = Front(NodeId(1), NO_MODELS)
    with pytest.raises(NotFound, match="belongs to no cluster yet"):
        asyncio.run(front.join(ASK))
    front.intent.is_declared = True
    with pytest.raises(Busy, match="about to found"):
        asyncio.run(front.join(ASK))


def test_before_the_cluster_is_known_everybody_is_a_stranger(tmp_path: Path) -> None:
    credentials = make_keys(tmp_path, peers=(1,), gateway=False).credentials(Role.PEER, "1")
    front = Front(NodeId(1), NO_MODELS, credentials)
    with pytest.raises(PermissionDenied, match="members-only"):
        front.check_member(Caller(Identity("hearts.example", "clinic", Role.PEER, "2")))
    assert front.server_name_of(NodeId(2)) == "peer.hearts.example"


def test_in_the_open_tls_need_not_find_anybody() -> None:
    assert Front(NodeId(1), NO_MODELS).server_name_of(NodeId(2)) == ""


def test_a_member_that_is_only_starting_says_that_there_is_a_cluster() -> None:
    front = Front(NodeId(1), NO_MODELS)
    front.is_back = True
    with pytest.raises(NotLeader):
        asyncio.run(front.join(JoinAsk(NodeId(2), Address("h", 1), Incarnation("a"), "o", b"", "T", "", ())))
