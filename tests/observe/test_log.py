"""Log lines: what a fact's line has, for people and for machines."""

from __future__ import annotations

import io
import json
from typing import get_args

import pytest

from raftgossip.errors import ConfigError
from raftgossip.facts import (
    ClusterEntered,
    ConfigurationChanged,
    EpochClosed,
    EpochOpened,
    Fact,
    LeaderKnown,
    Listening,
    Notice,
    PeerCaughtUp,
    PeerResponsive,
    PeerUnresponsive,
    RemoteRefused,
    RoleChanged,
    RosterChanged,
    RunStarted,
)
from raftgossip.ids import Epoch, LogIndex, NodeId, Term
from raftgossip.observe.log import LEVELS, fact_logger, line_of

ONE, TWO = NodeId(1), NodeId(2)
LISTENING = Listening(ONE, "127.0.0.1:7001")
CLOSED = EpochClosed(Epoch(3), 2, "closed", (ONE, TWO), bytes(range(32)))
FACTS: tuple[Fact, ...] = (
    LISTENING,
    CLOSED,
    EpochClosed(Epoch(3), 1, "failed", (), b""),
    EpochOpened(Epoch(3), 1, (ONE, TWO)),
    EpochOpened(Epoch(3), 2, (ONE, TWO)),
    RunStarted(LogIndex(1)),
    RosterChanged(TWO, True),
    RosterChanged(TWO, False),
    RoleChanged(ONE, "leader", Term(2)),
    LeaderKnown(None, Term(2)),
    LeaderKnown(TWO, Term(2)),
    PeerUnresponsive(TWO),
    PeerResponsive(TWO),
    PeerCaughtUp(TWO, LogIndex(3)),
    ConfigurationChanged((ONE,), (TWO,), LogIndex(3)),
    RemoteRefused(None, "too large"),
    ClusterEntered(ONE, "rg-1", "founded"),
    Notice("the gateway is silent"),
)


def written(*facts: Fact, log_format: str = "json", level: str = "debug", **more: object) -> list[str]:
    stream = io.StringIO()
    write = fact_logger(stream, lambda: 1_700_000_000_123, log_format, level, lambda _: more)
    for fact in facts:
        write(fact)
    return stream.getvalue().splitlines()


def test_every_kind_of_fact_has_a_line_with_time_and_node() -> None:
    assert {type(fact) for fact in FACTS} == set(get_args(Fact))
    lines = written(*FACTS)
    assert len(lines) == len(FACTS)
    for line in map(json.loads, lines):
        assert line["time"] == "2023-11-14T22:13:20.123+00:00"
        assert line["node"] == 1
        assert line["level"] in LEVELS
        assert line["event"]


def test_an_epochs_line_has_epoch_attempt_outcome_and_contributors() -> None:
    line = json.loads(written(LISTENING, CLOSED, metrics={"accuracy": 0.5})[1])
    assert (line["epoch"], line["attempt"], line["outcome"], line["contributors"]) == (3, 2, "closed", [1, 2])
    assert line["model"] == bytes(range(32)).hex()
    assert line["metrics"] == {"accuracy": 0.5}


def test_the_console_line_says_the_same_without_colours_where_there_is_no_terminal() -> None:
    line = written(LISTENING, CLOSED, log_format="console", metrics={"accuracy": 0.98765})[1]
    for words in ("epoch closed", "node=1", "epoch=3", "attempt=2", "contributors=1,2", "metrics=accuracy:0.9877"):
        assert words in line
    assert "\x1b" not in line


def test_colours_appear_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    fact_logger(stream, lambda: 0)(LISTENING)
    assert "\x1b[" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("name", ["owner", "join_token", "client_secret", "password"])
def test_secrets_are_masked(log_format: str, name: str) -> None:
    assert "c0ffee" not in "".join(written(LISTENING, log_format=log_format, **{name: "c0ffee"}))


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_a_peer_cannot_write_a_line_of_its_own_or_move_the_cursor(log_format: str) -> None:
    lines = written(RemoteRefused(TWO, "bad\n12:00 [info] forged\x1b[2J"), log_format=log_format)
    assert len(lines) == 1
    assert "\x1b" not in lines[0]


def test_quiet_facts_are_left_out_at_a_higher_level() -> None:
    loud = written(*FACTS, level="warning")
    assert 0 < len(loud) < len(FACTS)
    assert all(json.loads(line)["level"] == "warning" for line in loud)


def test_failures_are_louder_than_the_normal_course() -> None:
    assert line_of(CLOSED)[0] == "info"
    assert line_of(EpochClosed(Epoch(3), 1, "failed", (), b""))[0] == "warning"
    assert line_of(EpochOpened(Epoch(3), 2, (ONE,)))[0] == "warning"


@pytest.mark.parametrize(
    ("term", "expected"),
    [(4, ("info", "leader awaited")), (3, ("warning", "leader lost"))],
    ids=["handed over", "lost"],
)
def test_a_leader_that_makes_room_for_the_next_term_is_no_loss(term: int, expected: tuple[str, str]) -> None:
    facts = LeaderKnown(ONE, Term(3)), LeaderKnown(None, Term(term)), LeaderKnown(TWO, Term(4))
    lines = [json.loads(line) for line in written(*facts)]
    assert (lines[1]["level"], lines[1]["event"]) == expected
    assert [lines[each]["event"] for each in (0, 2)] == ["leader elected"] * 2


def test_a_log_that_cannot_be_written_does_not_raise() -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    write = fact_logger(Broken(), lambda: 0)
    write(LISTENING)
    write(CLOSED)


@pytest.mark.parametrize(("log_format", "level"), [("xml", "info"), ("json", "loud")])
def test_an_unknown_format_or_level_names_the_known_ones(log_format: str, level: str) -> None:
    with pytest.raises(ConfigError, match=r"console, json|debug, info, warning, error"):
        fact_logger(io.StringIO(), lambda: 0, log_format, level)
