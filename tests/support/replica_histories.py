"""Seeded histories of stamped commands, steered so that they reach every state of the ledger and of the sessions."""

from __future__ import annotations

import random

from raftgossip.core.epoch.command import (
    AddPeer,
    CloseEpoch,
    Command,
    Envelope,
    FailedEdge,
    LinkBytes,
    OpenEpoch,
    OpenEpochState,
    RemovePeer,
    ReportEpoch,
    RetryExchange,
    StartRun,
)
from raftgossip.core.replica import Replica
from raftgossip.ids import Address, Epoch, Incarnation, NodeId
from tests.support.golden import SPECIFICATION

Stamped = tuple[int, Envelope]
"""A command and where it stands in the log."""

MAX_CLIENTS = 5


def history(seed: int, num_commands: int = 150) -> list[Stamped]:
    """Commands of several clients that also repeat themselves and move on; indices rise, with gaps."""
    rng = random.Random(seed)
    replica = Replica()
    made: list[Stamped] = []
    sequences = dict.fromkeys((f"{node}/a" for node in range(1, MAX_CLIENTS + 1)), 0)
    index = 0
    for _ in range(num_commands):
        index += rng.choice((1, 1, 1, 2, 3))
        client = rng.choice(list(sequences))
        if made and rng.random() < 0.2:
            envelope = rng.choice(made[-30:])[1]
        else:
            sequences[client] += 1
            waits_for = max(1, sequences[client] - rng.choice((0, 1, 5, 20)))
            envelope = Envelope(client, sequences[client], waits_for, _command(rng, replica))
        replica.apply(index, envelope)
        made.append((index, envelope))
    return made


def _command(rng: random.Random, replica: Replica) -> Command:
    view = replica.ledger.view()
    node = NodeId(rng.randint(1, 6))
    roster = tuple(entry.node_id for entry in view.roster)
    chance = rng.random()
    if view.specification is None and chance < 0.3:
        return StartRun(SPECIFICATION, b"i" * 32)
    if chance < 0.1 or len(roster) < 2:
        owner = rng.choice((f"owner{node}", f"owner{node}", "thief"))
        metadata = rng.choice(((), (("hospital", "Zürich"), ("ward", str(node)))))
        return AddPeer(node, Address(f"host{node}", 7000 + node), Incarnation(rng.choice("ab")), metadata, owner)
    if chance < 0.13:
        return RemovePeer(node)
    if view.open_epoch is None:
        digest = rng.choice((b"p" * 32, b""))
        return OpenEpoch(Epoch(view.last_epoch + 1), roster, digest, roster[0], exact=rng.random() < 0.5)
    return _command_in_epoch(rng, view.open_epoch)


def _command_in_epoch(rng: random.Random, opened: OpenEpochState) -> Command:
    chance = rng.random()
    if chance < 0.06:
        survivors = tuple(node for node in opened.participants if node not in opened.lost)
        kept = rng.choice((survivors, survivors[1:]))
        return RetryExchange(opened.epoch, opened.attempt + 1, kept, b"q" * 32, exact=rng.random() < 0.5)
    if chance < 0.25:
        outcome = rng.choice(("closed", "closed", "closed", "failed", "größer"))
        return CloseEpoch(opened.epoch, opened.attempt, outcome, "why", opened.leader, rng.randint(0, 2**50))
    silent = set(opened.participants) - {report.node_id for report in opened.reports} - set(opened.lost)
    failed = rng.choice(((), (), (), (), (FailedEdge(NodeId(2), "broke", refused=rng.random() < 0.5),)))
    return ReportEpoch(
        opened.epoch,
        rng.choice((opened.attempt, opened.attempt, opened.attempt + 1)),
        rng.choice(sorted(silent) or opened.participants),
        rng.choice((b"m" * 32, b"m" * 32, b"m" * 32, b"n" * 32, b"")),
        rng.randint(0, 1000),
        (("accuracy", rng.random()), ("loss", rng.choice((0.25, -0.0, float("inf"))))),
        (LinkBytes(NodeId(1), rng.choice((100, 2**64 - 1)), 100),),
        failed,
        rng.choice(("", "", "", "", "", "no disk")),
    )
