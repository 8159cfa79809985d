"""The exchange of one epoch as data: steps of transfers, and the digest by which peers notice that they disagree.

A peer holds (x·m, m) with mass m (push-sum; Kempe, Dobra, Gehrke: Gossip-Based Computation of Aggregate Information,
2003). In a step it keeps `self_share` of what it holds and sends `share` of it over each outgoing transfer. What it
keeps and sends sums to 1, so no step creates or loses mass.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from raftgossip.ids import NodeId


@dataclass(frozen=True, slots=True)
class Transfer:
    """`src` sends to `dst` the elements [start, stop) of its vector and the fraction `share` of them, in (0, 1].

    Raises:
        ValueError: both ends are the same node, the range is empty, or the share is out of range.
    """

    src: NodeId
    dst: NodeId
    start: int
    stop: int
    share: float

    def __post_init__(self) -> None:
        if self.src == self.dst:
            raise ValueError(f"node {self.src} cannot send to itself")
        if not 0 <= self.start < self.stop:
            raise ValueError(f"the element range {self.start} to {self.stop} is empty or negative")
        if not 0.0 < self.share <= 1.0:
            raise ValueError(f"the share {self.share} of {self.src} -> {self.dst} is not in (0, 1]")


@dataclass(frozen=True)
class Step:
    """Transfers that happen at the same time, sorted by (src, dst), at most one in each direction between two nodes.

    Raises:
        ValueError: the transfers are not sorted, or one stands twice, or a node sends more than it holds.
    """

    transfers: tuple[Transfer, ...]

    def __post_init__(self) -> None:
        ends = [(transfer.src, transfer.dst) for transfer in self.transfers]
        if any(later <= earlier for earlier, later in pairwise(ends)):
            raise ValueError("the transfers of a step must be sorted by (src, dst), each pair once")
        for node in self._outgoing:
            if self.self_share(node) < 0.0:
                raise ValueError(f"node {node} sends more than it holds")

    def outgoing(self, node: NodeId) -> tuple[Transfer, ...]:
        """What `node` sends, sorted by receiver."""
        return self._outgoing.get(node, ())

    def incoming(self, node: NodeId) -> tuple[Transfer, ...]:
        """What `node` receives, sorted by sender."""
        return self._incoming.get(node, ())

    def neighbours(self, node: NodeId) -> tuple[NodeId, ...]:
        """Whom `node` sends to or receives from, sorted."""
        receivers = {transfer.dst for transfer in self.outgoing(node)}
        senders = {transfer.src for transfer in self.incoming(node)}
        return tuple(sorted(receivers | senders))

    def self_share(self, node: NodeId) -> float:
        """The fraction of what it sends that `node` keeps: 1 less all outgoing shares, rounded once."""
        return 1.0 - math.fsum(transfer.share for transfer in self.outgoing(node))

    @cached_property
    def _outgoing(self) -> dict[NodeId, tuple[Transfer, ...]]:
        index: dict[NodeId, list[Transfer]] = {}
        for transfer in self.transfers:
            index.setdefault(transfer.src, []).append(transfer)
        return {node: tuple(transfers) for node, transfers in index.items()}

    @cached_property
    def _incoming(self) -> dict[NodeId, tuple[Transfer, ...]]:
        index: dict[NodeId, list[Transfer]] = {}
        for transfer in self.transfers:
            index.setdefault(transfer.dst, []).append(transfer)
        return {node: tuple(transfers) for node, transfers in index.items()}


@dataclass(frozen=True)
class EpochPlan:
    """What one attempt exchanges, step after step. `participants`: sorted, each once.

    `exact`: after the last step every participant holds the mass-weighted mean of all vectors, whatever their masses.

    Raises:
        ValueError: there are no participants or no elements; participants are not sorted or not unique; a transfer
            names a stranger or an element that the vector does not have.
    """

    participants: tuple[NodeId, ...]
    num_elements: int
    """P, the length of the vectors that are averaged."""
    steps: tuple[Step, ...]
    exact: bool

    def __post_init__(self) -> None:
        check_participants(self.participants)
        if self.num_elements < 1:
            raise ValueError(f"a vector of {self.num_elements} elements cannot be averaged")
        members = set(self.participants)
        for step in self.steps:
            for transfer in step.transfers:
                if not {transfer.src, transfer.dst} <= members:
                    raise ValueError(f"{transfer.src} -> {transfer.dst} is not between participants")
                if transfer.stop > self.num_elements:
                    raise ValueError(f"element {transfer.stop} is beyond the vector's {self.num_elements}")

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over participants, P, and every step's transfers: equal iff the exchange is the same.

        It does not name the topology: two topologies that lead to the same exchange have the same digest.
        """
        return hashlib.sha256("\n".join(self._canonical_lines()).encode("ascii")).digest()

    def _canonical_lines(self) -> Iterator[str]:
        """The plan as text. A share stands as its exact binary value, which no formatting rounds."""
        yield f"raftgossip plan 1 {self.num_elements}"
        yield " ".join(str(node) for node in self.participants)
        for step in self.steps:
            yield f"step {len(step.transfers)}"
            for transfer in step.transfers:
                yield f"{transfer.src} {transfer.dst} {transfer.start} {transfer.stop} {transfer.share.hex()}"


def check_participants(participants: tuple[NodeId, ...]) -> None:
    """Refuse a list of participants of which two peers could read different plans.

    Raises:
        ValueError: it is empty, not sorted, or names a node twice.
    """
    if not participants:
        raise ValueError("a plan needs at least one participant")
    if any(later <= earlier for earlier, later in pairwise(participants)):
        raise ValueError(f"participants {participants} must be sorted, each once")
