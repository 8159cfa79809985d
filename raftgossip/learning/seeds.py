"""Seeds by name: every random choice of a run follows from the run's seed, the node, the epoch and the purpose."""

from __future__ import annotations

import hashlib


def derive_seed(run_seed: int, node_id: int, epoch: int, purpose: str) -> int:
    """The seed for one purpose, from 0 to 2^63 - 1: the first 63 bits of SHA-256 over the four names.

    Hashing instead of adding keeps the streams of neighbouring nodes and epochs unrelated, and gives the same number
    on every machine and in every version.
    """
    text = f"{run_seed}\0{node_id}\0{epoch}\0{purpose}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
