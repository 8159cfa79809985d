"""Who is to be dropped from an exchange that failed: pure functions of the reports that the ledger holds.

An edge has two ends, and each end tells only what it saw. So one accuser alone decides nothing more than who sits out
one epoch, ties fall on the larger id, and the same reports always give the same verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from raftgossip.core.epoch.command import OpenEpochState, ReportEpoch
from raftgossip.ids import NodeId


def gave_up(opened: OpenEpochState) -> frozenset[NodeId]:
    """Who reported that it cannot contribute: by its own error, or incomplete though it names no neighbour for it."""
    return frozenset(
        report.node_id
        for report in opened.reports
        if report.error or not (report.completed or _failed_neighbours(report, opened.participants))
    )


def accused(opened: OpenEpochState, excused: Collection[NodeId]) -> frozenset[NodeId]:
    """Whose data their neighbours refused. `excused` are out already: nobody is dropped on their word.

    The most accused goes first (ties: the larger id), and takes its own accusations along: of two that accuse each
    other, one remains.
    """
    heard = set(opened.participants) - set(excused)
    charges = {
        (report.node_id, edge.node_id)
        for report in opened.reports
        for edge in report.failed_edges
        if edge.refused and report.node_id != edge.node_id and {report.node_id, edge.node_id} <= heard
    }
    dropped: set[NodeId] = set()
    while charges:
        culprit = _most_frequent(against for _, against in charges)
        dropped.add(culprit)
        charges = {charge for charge in charges if culprit not in charge}
    return frozenset(dropped)


def silent_suspects(opened: OpenEpochState, cleared: Collection[NodeId]) -> dict[NodeId, tuple[NodeId, ...]]:
    """Participants that are named in failed edges, have not reported, and are not `cleared`; by whom they are named."""
    reporters = {report.node_id for report in opened.reports}
    named: dict[NodeId, tuple[NodeId, ...]] = {}
    for report in opened.reports:
        for neighbour in _failed_neighbours(report, opened.participants):
            if neighbour not in reporters and neighbour not in cleared:
                named[neighbour] = (*named.get(neighbour, ()), report.node_id)
    return named


def worst_connected(opened: OpenEpochState) -> NodeId | None:
    """The participant with the most failed edges, whoever of the two ends reported them (ties: the larger id)."""
    edges = {
        tuple(sorted((report.node_id, neighbour)))
        for report in opened.reports
        for neighbour in _failed_neighbours(report, opened.participants)
    }
    return _most_frequent(node_id for edge in edges for node_id in edge) if edges else None


def _failed_neighbours(report: ReportEpoch, participants: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
    named = {edge.node_id for edge in report.failed_edges}
    return tuple(node_id for node_id in participants if node_id in named and node_id != report.node_id)


def _most_frequent(nodes: Iterable[NodeId]) -> NodeId:
    counts = Counter(nodes)
    return max(counts, key=lambda node_id: (counts[node_id], node_id))
