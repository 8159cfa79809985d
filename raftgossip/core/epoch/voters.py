"""Which peers vote: pure rules that turn what the leader knows into the next Raft configuration.

A lost voter is replaced, never just removed. Removing one helps only where it lowers the quorum: of 4 voters with one
lost all three others must agree, of the 3 that remain any two; but of 3 with one lost both others must agree, and so
must both of the 2 that remain, which then lack the third when it returns. And even where it helps, silence may be a cut
cable: a leader that strikes off whoever is silent ends as the only one whose disk holds what is committed. So the
number of voters falls only when one leaves the roster, and that is for operators to decide.

For the same reason an odd number of voters is not made even while one of them is silent: 4 voters survive no more
losses than 3, and the learner is worth more in the place of the silent one, should that be lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from raftgossip.core.epoch.ledger import LedgerView
from raftgossip.core.raft.message import Configuration
from raftgossip.ids import NodeId

ORGANISATION = "organisation"
"""The key in a peer's metadata that says whose it is: voters are chosen one per organisation where possible."""


@dataclass(frozen=True, slots=True)
class Health:
    """How the members of a configuration answer the leader at one moment."""

    ready: tuple[NodeId, ...] = ()
    """Learners that answer and hold the log nearly to its end."""
    silent: tuple[NodeId, ...] = ()
    """Who does not answer."""
    lost: tuple[NodeId, ...] = ()
    """Those of the silent who have not answered for `promote_after_ms`, the longest silent first."""


def next_configuration(
    current: Configuration, view: LedgerView, health: Health, max_voters: int
) -> Configuration | None:
    """The next single change towards what the ledger says; None: there is nothing to do, or a change is under way.

    1. A voter that left the roster goes, and a ready learner takes its place in the same change. Never the last voter,
       and not while those who stay could decide nothing: then the change itself could not be committed.
    2. The learners become whoever else is in the roster.
    3. Ready learners take the places of lost voters, as many as there are, in one change. A lost voter becomes a
       learner, so that it gets the log when it returns.
    4. A ready learner becomes a voter while there are fewer than `max_voters`.

    Voters above `max_voters` stay: they vote by an operator's word, or from before the number was lowered.
    """
    if current.outgoing:
        return None  # the leader ends the joint configuration by itself
    departed = frozenset(view.departed)
    candidates = [node for node in health.ready if node in current.learners and node not in departed]
    wanted = (
        _without_departed_voter(current, departed, candidates, view, health, max_voters)
        or _with_roster(current, departed, view)
        or _with_lost_replaced(current, candidates, view, health)
        or _with_promoted(current, candidates, view, health, max_voters)
    )
    return wanted if wanted != current else None


def _without_departed_voter(
    current: Configuration,
    departed: Collection[NodeId],
    candidates: Iterable[NodeId],
    view: LedgerView,
    health: Health,
    max_voters: int,
) -> Configuration | None:
    leavers = [node for node in current.voters if node in departed]
    for leaver in sorted(leavers, key=lambda node: (node not in health.silent, node)):
        voters = _without(current.voters, [leaver])
        free = 1 if len(voters) < max_voters else 0
        voters += _chosen(candidates, free, voters, view)
        if _can_decide(voters, health.silent):
            return _configuration(voters, current.learners)
    return None


def _with_roster(current: Configuration, departed: Collection[NodeId], view: LedgerView) -> Configuration | None:
    known = {*current.learners, *(entry.node_id for entry in view.roster)}
    learners = tuple(sorted(known - {*current.voters, *departed}))
    return _configuration(current.voters, learners) if learners != current.learners else None


def _with_lost_replaced(
    current: Configuration, candidates: Iterable[NodeId], view: LedgerView, health: Health
) -> Configuration | None:
    lost = [node for node in health.lost if node in current.voters]
    # Before it is known who is replaced, the organisations of all lost voters count as without a vote.
    chosen = _chosen(candidates, len(lost), _without(current.voters, lost), view)
    replaced = lost[: len(chosen)]
    if not replaced:
        return None
    return _configuration(_without(current.voters, replaced) + chosen, (*current.learners, *replaced))


def _with_promoted(
    current: Configuration, candidates: Iterable[NodeId], view: LedgerView, health: Health, max_voters: int
) -> Configuration | None:
    if len(current.voters) >= max_voters:
        return None
    if len(current.voters) % 2 == 1 and any(node in health.silent for node in current.voters):
        return None
    chosen = _chosen(candidates, 1, current.voters, view)
    return _configuration(current.voters + chosen, current.learners) if chosen else None


def _chosen(candidates: Iterable[NodeId], count: int, voters: Iterable[NodeId], view: LedgerView) -> tuple[NodeId, ...]:
    """At most `count` of the candidates: those whose organisation has no vote yet first, then by id."""
    left, chosen = sorted(candidates), list[NodeId]()
    organisations = dict(_organisations(view)) if left and count else {}
    voting = {organisations[node] for node in voters if node in organisations}
    while left and len(chosen) < count:
        best = min(left, key=lambda node: (organisations.get(node) in voting, node))
        left.remove(best)
        chosen.append(best)
        if best in organisations:
            voting.add(organisations[best])
    return tuple(chosen)


def _organisations(view: LedgerView) -> Iterator[tuple[NodeId, str]]:
    """(node, organisation) of all who name one; whoever names none counts as an organisation of its own."""
    for entry in view.roster:
        for key, value in entry.metadata:
            if key == ORGANISATION:
                yield entry.node_id, value


def _can_decide(voters: Collection[NodeId], silent: Collection[NodeId]) -> bool:
    """Whether a majority of these answers; nobody at all decides nothing."""
    return 2 * sum(node not in silent for node in voters) > len(voters)


def _configuration(voters: Iterable[NodeId], learners: Iterable[NodeId]) -> Configuration:
    """Sorted, and nobody is both: who votes is no learner."""
    voters = tuple(sorted(voters))
    return Configuration(voters, tuple(sorted(set(learners) - set(voters))))


def _without(nodes: Iterable[NodeId], leavers: Collection[NodeId]) -> tuple[NodeId, ...]:
    return tuple(node for node in nodes if node not in leavers)
