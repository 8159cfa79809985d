"""`raftgossip logs`: pages gathered, what is gone told, nothing shown while following that could be taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice

import pytest

import raftgossip.cli.operator
from raftgossip.cli.operator import follow_log, peer_at
from tests.cli.conftest import Outcome
from tests.support.canned_peer import CannedPeer, serving

Command = Callable[..., Outcome]


@pytest.fixture
def peer() -> CannedPeer:
    """Holds the entries 1 to 9, and has applied 8."""
    return CannedPeer(2)


@pytest.fixture
def address(peer: CannedPeer) -> Iterator[str]:
    with serving(peer) as address:
        yield address


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (("--last", "2"), [8, 9]),
        (("--last", "5"), [5, 6, 7, 8, 9]),
        (("--first", "3"), [3, 4, 5, 6, 7, 8, 9]),
        (("--first", "10"), []),
        (("--first", "3", "--last", "2"), [3, 4]),
        (("--first", "2", "--last", "5"), [2, 3, 4, 5, 6]),
        (("--first", "8", "--last", "5"), [8, 9]),
    ],
)
def test_entries_are_gathered_over_pages(
    command: Command, address: str, arguments: tuple[str, ...], expected: list[int]
) -> None:
    outcome = command("logs", "--node", address, "--json", *arguments)
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert [entry["index"] for entry in document["entries"]] == expected
    assert (document["first_index"], document["last_index"], document["applied_index"]) == (1, 9, 8)
    for entry in document["entries"]:
        assert (entry["term"], entry["kind"], entry["data_bytes"]) == (2, "command", 10 * entry["index"])
        assert (entry["applied_at_ms"] is None) == (entry["index"] == 9)


def test_for_people_each_entry_is_a_row_and_its_text_is_not_obeyed(command: Command, address: str) -> None:
    lines = command("logs", "--node", address, "--last", "2").out.splitlines()
    assert [line.split()[0] for line in lines] == ["index", "8", "9"]
    assert lines[1].endswith("OpenEpoch 8\\x1b[2J")
    assert lines[2].split()[4] == "-", "entry 9 is not applied"


@pytest.mark.parametrize("arguments", [("--first", "2"), ("--last", "50")])
def test_entries_that_only_the_snapshot_covers_are_left_out(
    command: Command, peer: CannedPeer, address: str, arguments: tuple[str, ...]
) -> None:
    peer.log_indices = range(5, 10)
    document = json.loads(command("logs", "--node", address, "--json", *arguments).out)
    assert [entry["index"] for entry in document["entries"]] == [5, 6, 7, 8, 9]
    told = "Entries before 5 are in the snapshot only." in command("logs", "--node", address, *arguments).out
    assert told == ("--first" in arguments)


def test_an_index_beyond_the_end_says_where_the_log_ends(command: Command, address: str) -> None:
    outcome = command("logs", "--node", address, "--first", "10")
    assert (outcome.code, outcome.out) == (0, "The log ends at 9.\n")


@pytest.mark.parametrize("name", ["logs", "epochs"])
def test_following_with_a_first_and_a_last_one_is_wrong_use(command: Command, address: str, name: str) -> None:
    outcome = command(name, "--node", address, "--first", "3", "--last", "2", "--follow")
    assert outcome.code == 2
    assert "not both" in outcome.complaint


def test_following_shows_each_entry_once_and_only_when_it_is_applied(
    peer: CannedPeer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raftgossip.cli.operator, "REFRESH_S", 0)
    with peer_at(address, None) as client:
        followed = follow_log(client, 6)
        assert [entry["index"] for entry in islice(followed, 3)] == [6, 7, 8]
        peer.log_indices, peer.applied_index = range(1, 13), 11
        assert [entry["index"] for entry in islice(followed, 3)] == [9, 10, 11]


def test_following_ends_with_ctrl_c_and_code_0(command: Command, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(raftgossip.cli.operator.time, "sleep", press)
    outcome = command("logs", "--node", address, "--follow", "--last", "2", "--json")
    assert outcome.code == 0
    assert [json.loads(line)["index"] for line in outcome.out.splitlines()] == [7, 8]
    lines = command("logs", "--node", address, "--follow", "--last", "1").out.splitlines()
    assert [line.split()[0] for line in lines] == ["index", "8"]
