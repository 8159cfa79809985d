"""Torch with one thread, as the peers use it (several on few cores stall small operations); no deadline per example."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from raftgossip.learning.trainer import use_one_thread

# A busy machine may take long for one example; that is no property of the code.
settings.register_profile("learning", deadline=None)
settings.load_profile("learning")


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    use_one_thread()
    yield
    torch.set_num_threads(before)
