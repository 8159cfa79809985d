"""Seeds by name: stable for ever, and different for every name."""

from __future__ import annotations

import hashlib
from itertools import product

from raftgossip.learning.seeds import derive_seed


def test_seed_is_the_first_63_bits_of_the_hash_of_its_names() -> None:
    digest = hashlib.sha256(b"7\x002\x003\x00train").digest()
    assert derive_seed(7, 2, 3, "train") == int.from_bytes(digest[:8], "big") // 2


def test_every_name_gives_another_seed_that_torch_and_numpy_accept() -> None:
    names = list(product((0, 1), (1, 11), (1, 11), ("train", "1train")))
    seeds = {derive_seed(*name) for name in names}
    assert len(seeds) == len(names)
    assert all(0 <= seed < 2**63 for seed in seeds)
