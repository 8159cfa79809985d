"""A late peer fetches the newest closed model from a neighbour, by content hash.

The hash comes from the ledger, so a neighbour that sends something else is found out. What one neighbour sent before
it broke off is kept and the next one continues from there, since both hold the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from raftgossip.errors import IntegrityError, RaftGossipError, TransportError
from raftgossip.ids import NodeId
from raftgossip.update import FloatVector, vector_digest

FETCH_TIMEOUT_MS = 60_000


class ModelSource(Protocol):
    """Fetches bytes of a model from one neighbour; `runtime.grpc_client.PeerLinks` is one."""

    async def fetch_model(
        self, node_id: NodeId, digest: bytes, into: FloatVector, held_bytes: int, timeout_ms: int
    ) -> int:
        """Continue at `held_bytes`; returns how many bytes are held then, all of them on success."""


async def fetch_closed_model(
    source: ModelSource, holders: Sequence[tuple[NodeId, bytes]], num_elements: int
) -> tuple[bytes, FloatVector]:
    """Fetch one of the models that `holders` reported; returns (digest, vector (P,) float32).

    Raises:
        TransportError: no holder delivered; names what each one said.
    """
    problems: list[str] = []
    for digest in dict.fromkeys(digest for _, digest in holders):
        vector = np.empty(num_elements, dtype=np.float32)
        held_bytes = 0
        for node_id in (node for node, held in holders if held == digest):
            try:
                held_bytes = await source.fetch_model(node_id, digest, vector, held_bytes, FETCH_TIMEOUT_MS)
                if held_bytes < vector.nbytes:
                    raise TransportError(f"node {node_id} stopped after {held_bytes} of {vector.nbytes} bytes")
                if await asyncio.to_thread(vector_digest, vector) != digest:
                    held_bytes = 0
                    raise IntegrityError(f"node {node_id} sent a model with another hash than the ledger says")
            except RaftGossipError as error:
                problems.append(f"node {node_id}: {error}")
                continue
            return digest, vector
    said = "; ".join(problems) or "no other node has reported it"
    raise TransportError(f"the newest model could not be fetched yet, which is tried again: {said}")
