"""Found or join: how a node without state comes to belong to a cluster.

A node founds only if the operator says so, or, in the open, if discovery names it the bootstrap; and never if anybody
that it can reach knows a cluster or is about to found one. A node that has state never comes here. With certificates
discovery's word founds nothing, and the candidates that an operator expects are counted by what they themselves answer
over TLS: as the node that they say they are, however many addresses lead to them, and only while they say it. The worst
that a lying discovery can do is to keep newcomers out, as long as the operator expects all nodes that start, not a part
of them. In the open it can also make a newcomer found another cluster, if it hides the first one from it.

Two nodes that are both named (by gateways that do not know each other, or by one that lies) exclude each other as in
E. W. Dijkstra, "Cooperating sequential processes" (1968), section 2.1, Dekker's solution: who is named *declares* that
it may found, and only then registers and asks everybody. So of two that are told of each other at least one hears the
other's declaration. Whoever hears one does not found now: the larger id withdraws its own, and the smaller waits until
that has happened, or until the other has a cluster.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from raftgossip.errors import (
    AlreadyExists,
    Busy,
    ClusterUnreachable,
    CommandRefused,
    ConfigError,
    NotFound,
    PermissionDenied,
    RaftGossipError,
    TransportError,
    Unauthenticated,
    WireError,
    WrongCluster,
)
from raftgossip.ids import Address, NodeId
from raftgossip.peer.discovery import CachedDiscovery, Discovery, refused_and_dialable
from raftgossip.runtime.service import Hints, JoinAnswer, JoinAsk

JOIN_TIMEOUT_MS = 5_000
RETRY_MS = (200, 2_000)
"""The first and the longest pause between two rounds of asking."""
MIN_PAUSE_MS = 50
"""Where a gateway wants less patience than that."""
UNREACHABLE_AFTER_MS = 20_000
"""Without any discovery answer for so long a newcomer gives up; with one it waits on, for its cluster may come."""
TELL_EVERY_MS = 10_000
SILENT_ROUNDS = 3
"""A named node founds beside peers that it cannot reach only after so many rounds: one may be between two leaders."""
PATIENCE_MS = 10_000
"""A node that one gateway names, while another wants it to wait, waits no longer than this in all."""

FINAL = (
    AlreadyExists,
    PermissionDenied,
    Unauthenticated,
    WrongCluster,
    WireError,
    CommandRefused,
    ConfigError,
)
"""Answers that asking again cannot change."""

OWN_WORD = re.compile(
    r"node ([1-9][0-9]{0,9}) (?:belongs to no cluster yet|may be about to found a cluster; ask again)"
)
"""What a peer without a cluster answers who asks to join. Who it is, discovery's list cannot prove, but it can say."""

AskToJoin = Callable[[Address, JoinAsk, int], Awaitable[JoinAnswer]]


@dataclass(frozen=True, slots=True)
class FoundingRules:
    """What the operator allows."""

    found: bool = False
    """Found at once, without asking anybody."""
    expect: int | None = None
    """Found, as the smallest id, when so many candidates are there; nobody is bootstrap by itself then."""
    needs_proof: bool = False
    """Nodes have certificates: what discovery says founds nothing, and candidates count by what they answer."""


@dataclass(slots=True)
class Intent:
    """What this node says to others who ask it for a cluster before it has one."""

    is_declared: bool = False
    """It may be about to found one: who asks must hear `Busy`, and must not found one meanwhile."""


@dataclass(slots=True)
class _Round:
    """What one round of asking brought."""

    hints: Hints
    problems: list[str]
    num_sources_silent: int
    answer: JoinAnswer | None = None
    is_cluster_there: bool = False
    """A peer answered as only a member of a cluster does."""
    declared: list[NodeId] = field(default_factory=list)
    """Peers that may be about to found; negative: of unknown id."""
    proven: set[NodeId] = field(default_factory=set)
    """Peers that said themselves that they have no cluster."""
    num_peers_silent: int = 0


async def enter_cluster(
    ask: JoinAsk,
    discoveries: Sequence[Discovery],
    rules: FoundingRules,
    join: AskToJoin,
    pause: Callable[[int], Awaitable[None]],
    notify: Callable[[str], None],
    intent: Intent | None = None,
) -> JoinAnswer | None:
    """Ask until a member lets this node in; None: this node must found the cluster. `pause` waits milliseconds.

    `intent`: what others are told meanwhile; it stays declared when this node founds, until it has its cluster.
    Cancellation leaves nothing behind but registrations that expire.

    Raises:
        ClusterUnreachable: no discovery source answers.
        ConfigError: there is nobody to ask and no permission to found.
        RaftGossipError: a member refused this node for good; says why.
    """
    intent = intent if intent is not None else Intent()
    if rules.found:
        intent.is_declared = True
        return None
    if all(isinstance(discovery, CachedDiscovery) and discovery.is_empty for discovery in discoveries):
        raise ConfigError(
            "nobody to ask for a cluster: give --gateway, --peer or --discover, or --found to found a new one"
        )
    search = _Search(ask, discoveries, rules, join, notify, intent)
    pause_ms = RETRY_MS[0]
    while True:
        heard = await search.ask_around()
        if heard.answer is not None or search.may_found(heard):
            return heard.answer
        # A gateway that wants a while names somebody as soon as it is over.
        until_next_ms = min(pause_ms, max(heard.hints.wait_ms, MIN_PAUSE_MS)) if heard.hints.wait_ms else pause_ms
        search.tell(heard, until_next_ms)
        await pause(until_next_ms)
        pause_ms = min(2 * pause_ms, RETRY_MS[1])


class _Search:
    """One node's search for a cluster, from round to round."""

    def __init__(
        self,
        ask: JoinAsk,
        discoveries: Sequence[Discovery],
        rules: FoundingRules,
        join: AskToJoin,
        notify: Callable[[str], None],
        intent: Intent,
    ) -> None:
        self._ask = ask
        self._discoveries = discoveries
        self._rules = rules
        self._join = join
        self._notify = notify
        self._intent = intent
        self._proven: set[NodeId] = set()
        """Who said in the last whole round that it has no cluster; an older word counts nothing: it may have one."""
        self._is_yielding = False
        """A smaller id had declared itself in the last round: this node must not, until it hears otherwise."""
        self._num_silent_rounds = 0
        self._waited_ms = 0
        self._told_ms: dict[str, int] = {}
        self._unreachable_ms = 0

    async def ask_around(self) -> _Round:
        """One round: register everywhere, then ask everybody who is named there."""
        heard = await self._register()
        if self._is_named(heard.hints) and not self._intent.is_declared and not self._is_yielding:
            self._intent.is_declared = True
            heard = await self._register()  # whoever is not told of this node now, this node is told of
        self._intent.is_declared &= self._is_named(heard.hints)
        for node_id, address in heard.hints.peers:
            try:
                heard.answer = await self._join(address, self._ask, JOIN_TIMEOUT_MS)
            except FINAL:
                raise
            except RaftGossipError as error:
                heard.problems.append(f"{address}: {error}")
                self._weigh(heard, node_id, error)
                continue
            break
        self._proven = heard.proven
        return heard

    def _weigh(self, heard: _Round, node_id: NodeId, error: RaftGossipError) -> None:
        """Note what the refusal by a peer that discovery calls `node_id` shows."""
        if self._rules.needs_proof and isinstance(error, NotFound | Busy):
            speaker = speaker_of(error)
            if speaker == self._ask.node_id:
                return  # this node itself, at an address that somebody forwards to it
            if speaker is not None:
                heard.proven.add(speaker)
                node_id = speaker
        match error:
            case NotFound():
                pass  # it has no cluster either
            case Busy():
                heard.declared.append(node_id)
            case TransportError():
                heard.num_peers_silent += 1
            case _:
                heard.is_cluster_there = True

    def may_found(self, heard: _Round) -> bool:
        """Whether this node must found the cluster, after a round that let it into none."""
        me = self._ask.node_id
        self._is_yielding = any(node_id < me for node_id in heard.declared)
        if not self._intent.is_declared or heard.is_cluster_there or heard.declared:
            self._intent.is_declared &= not self._is_yielding
            return False
        if not self._is_named(heard.hints):
            return False  # a candidate that counted before this node declared itself has not said so again
        if heard.hints.wait_ms and self._waited_ms < PATIENCE_MS:
            return False
        self._num_silent_rounds += 1
        return not heard.num_peers_silent or self._num_silent_rounds >= SILENT_ROUNDS

    def tell(self, heard: _Round, pause_ms: int) -> None:
        """Say from time to time what is waited for; each kind of waiting is said at once.

        Raises:
            ClusterUnreachable: no source has answered for too long.
        """
        num_sources = sum(not isinstance(discovery, CachedDiscovery) for discovery in self._discoveries)
        is_reachable = heard.num_sources_silent < num_sources or bool(heard.hints.peers)
        self._unreachable_ms = 0 if is_reachable else self._unreachable_ms + pause_ms
        problems = "; ".join(heard.problems)
        if self._unreachable_ms >= UNREACHABLE_AFTER_MS:
            raise ClusterUnreachable(f"{problems}; check the addresses, or start the gateway")
        hints = heard.hints
        if hints.cluster_id:
            kind, text = "cluster", f"waiting for a member of the cluster {hints.cluster_id} to let this node in"
        elif hints.wait_ms:
            kind = "grace"
            text = f"the gateway has just started, waiting {hints.wait_ms / 1000:.0f} s for members of a cluster"
        elif hints.is_bootstrap and self._rules.needs_proof and self._rules.expect is None:
            kind = "named"
            text = (
                "the gateway knows no cluster, and with certificates its word founds none; if there really is none, "
                "start one node with --found, or all with --expect N"
            )
        else:
            kind, text = "anybody", "waiting for a cluster"
        if self._waited_ms >= self._told_ms.get(kind, 0):
            self._told_ms[kind] = self._waited_ms + TELL_EVERY_MS
            self._notify(f"{text}: {problems or 'no other node is registered yet'}")
        self._waited_ms += pause_ms

    async def _register(self) -> _Round:
        """Everybody's hints put together, and what failed."""
        peers: dict[Address, NodeId] = {}
        is_bootstrap, cluster_id, wait_ms = False, "", 0
        heard = _Round(Hints(False, ()), [], 0)
        for discovery in self._discoveries:
            ask = self._ask
            try:
                hints = await discovery.register(ask.node_id, ask.address, ask.owner, ask.cluster_id)
            except (TransportError, Busy) as error:
                heard.problems.append(str(error))
                heard.num_sources_silent += 1
                continue
            refused, hints = refused_and_dialable(hints)
            heard.problems += [f"{discovery.name}: {sentence}" for sentence in refused]
            is_bootstrap = is_bootstrap or hints.is_bootstrap
            cluster_id, wait_ms = cluster_id or hints.cluster_id, max(wait_ms, hints.wait_ms)
            for node_id, address in hints.peers:
                if address != ask.address:
                    peers[address] = max(node_id, peers.get(address, node_id))  # a known id is positive
        known = tuple((node_id, address) for address, node_id in peers.items())
        heard.hints = Hints(is_bootstrap, known, cluster_id, wait_ms)
        for discovery in self._discoveries:
            await discovery.remember(known)
        return heard

    def _is_named(self, hints: Hints) -> bool:
        """Whether this node is the one that founds, as far as discovery knows."""
        if hints.cluster_id:
            return False  # there is a cluster, whether or not any of its members is known
        if self._rules.expect is None:
            return hints.is_bootstrap and not self._rules.needs_proof
        listed = {node_id for node_id, _ in hints.peers if node_id > 0}
        candidates = {self._ask.node_id, *(self._proven if self._rules.needs_proof else listed)}
        return len(candidates) >= self._rules.expect and self._ask.node_id == min(candidates)


def speaker_of(error: NotFound | Busy) -> NodeId | None:
    """Which node says with this answer to a `Join` that it has no cluster; None: it says something else."""
    said = OWN_WORD.fullmatch(str(error))
    return NodeId(int(said[1])) if said is not None else None


async def pass_on(ask: JoinAsk, leader: Address, join: AskToJoin) -> JoinAnswer:
    """Forward a newcomer's request to the leader, once.

    Raises:
        RaftGossipError: the leader refused or could not be reached.
    """
    return await join(leader, replace(ask, forwarded=True), JOIN_TIMEOUT_MS)
