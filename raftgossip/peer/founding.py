"""Found or join: how a node without state comes to belong to a cluster.

A node founds only if the operator says so, or if discovery names it the bootstrap and no peer that it can reach knows
a cluster. A node that has state never comes here. The worst that a lying discovery can do is to keep newcomers out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from raftgossip.errors import (
    AlreadyExists,
    ClusterUnreachable,
    CommandRefused,
    ConfigError,
    PermissionDenied,
    RaftGossipError,
    TransportError,
    WireError,
    WrongCluster,
)
from raftgossip.ids import Address, NodeId
from raftgossip.peer.discovery import Discovery
from raftgossip.runtime.service import Hints, JoinAnswer, JoinAsk

JOIN_TIMEOUT_MS = 5_000
RETRY_MS = (200, 2_000)
"""The first and the longest pause between two rounds of asking."""
UNREACHABLE_AFTER_MS = 20_000
"""Without any discovery answer for so long a newcomer gives up; with one it waits on, for its cluster may come."""

FINAL = (AlreadyExists, PermissionDenied, WrongCluster, WireError, CommandRefused, ConfigError)
"""Answers that asking again cannot change."""

AskToJoin = Callable[[Address, JoinAsk, int], Awaitable[JoinAnswer]]


@dataclass(frozen=True, slots=True)
class FoundingRules:
    """What the operator allows."""

    found: bool = False
    """Found at once, without asking anybody."""
    expect: int | None = None
    """Found, as the smallest id, when so many candidates are registered; nobody is bootstrap by itself then."""


async def enter_cluster(
    ask: JoinAsk,
    discoveries: Sequence[Discovery],
    rules: FoundingRules,
    join: AskToJoin,
    pause: Callable[[int], Awaitable[None]],
    notify: Callable[[str], None],
) -> JoinAnswer | None:
    """Ask until a member lets this node in; None: this node must found the cluster. `pause` waits milliseconds.

    Cancellation leaves nothing behind but registrations that expire.

    Raises:
        ClusterUnreachable: no discovery source answers.
        ConfigError: there is nobody to ask and no permission to found.
        RaftGossipError: a member refused this node for good; says why.
    """
    if rules.found:
        return None
    if not discoveries:
        raise ConfigError("nobody to ask for a cluster: give --gateway or --peer, or --found to found a new one")
    waited_ms = unreachable_ms = 0
    pause_ms = RETRY_MS[0]
    while True:
        hints, problems = await _register(ask, discoveries)
        for _, address in hints.peers:
            try:
                return await join(address, ask, JOIN_TIMEOUT_MS)
            except FINAL:
                raise
            except RaftGossipError as error:
                problems.append(f"{address}: {error}")
        if _may_found(ask.node_id, hints, rules):
            return None
        reached_any = len(problems) < len(discoveries) or bool(hints.peers)
        unreachable_ms = 0 if reached_any else unreachable_ms + pause_ms
        if unreachable_ms >= UNREACHABLE_AFTER_MS:
            raise ClusterUnreachable("; ".join(problems) + "; check the addresses, or start the gateway")
        if waited_ms == 0 or waited_ms % 10_000 < pause_ms:
            notify("waiting for a cluster: " + ("; ".join(problems) or "no other node is registered yet"))
        await pause(pause_ms)
        waited_ms += pause_ms
        pause_ms = min(2 * pause_ms, RETRY_MS[1])


async def _register(ask: JoinAsk, discoveries: Sequence[Discovery]) -> tuple[Hints, list[str]]:
    """Everybody's hints put together, and what failed."""
    peers: dict[Address, NodeId] = {}
    is_bootstrap = False
    problems: list[str] = []
    for discovery in discoveries:
        try:
            hints = await discovery.register(ask.node_id, ask.address, ask.owner)
        except TransportError as error:
            problems.append(str(error))
            continue
        is_bootstrap = is_bootstrap or hints.is_bootstrap
        for node_id, address in hints.peers:
            if address != ask.address:
                peers.setdefault(address, node_id)
    return Hints(is_bootstrap, tuple((node_id, address) for address, node_id in peers.items())), problems


def _may_found(me: NodeId, hints: Hints, rules: FoundingRules) -> bool:
    if rules.expect is None:
        return hints.is_bootstrap
    candidates = {me, *(node_id for node_id, _ in hints.peers if node_id > 0)}
    return len(candidates) >= rules.expect and me == min(candidates)


async def pass_on(ask: JoinAsk, leader: Address, join: AskToJoin) -> JoinAnswer:
    """Forward a newcomer's request to the leader, once.

    Raises:
        RaftGossipError: the leader refused or could not be reached.
    """
    return await join(leader, replace(ask, forwarded=True), JOIN_TIMEOUT_MS)
