"""Settings of the coordinator: their bounds."""

from __future__ import annotations

import pytest

from raftgossip.core.epoch.config import EpochConfig
from raftgossip.errors import ConfigError


@pytest.mark.parametrize(
    "key", ["unresponsive_grace_ms", "rejoin_ms", "proposal_timeout_ms", "max_voters", "promote_after_ms"]
)
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "3"])
def test_what_is_no_positive_whole_number_is_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{key} is {value!r}; it must be a whole number from 1 on"):
        EpochConfig(**{key: value})  # type: ignore[arg-type]


def test_no_voter_is_replaced_before_it_had_time_to_answer_a_new_leader() -> None:
    assert EpochConfig(unresponsive_grace_ms=700, promote_after_ms=700).promote_after_ms == 700
    with pytest.raises(ConfigError, match=r"promote_after_ms is 699.*unresponsive_grace_ms \(700\)"):
        EpochConfig(unresponsive_grace_ms=700, promote_after_ms=699)
