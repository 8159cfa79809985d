"""The demo's judgement on made-up runs, and a real demo with all its kills."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from raftgossip.cli.demo import result_files
from raftgossip.cli.demo_guardian import watch
from raftgossip.cli.demo_plan import make_plan
from raftgossip.cli.demo_summary import (
    Event,
    Outcome,
    SeenEpoch,
    Witnessed,
    document,
    largest_difference,
    position,
    problems,
    stall_s,
)
from raftgossip.cli.demo_tls import make_keys
from raftgossip.errors import ConfigError
from raftgossip.observe.plots import Mark, RunPicture, draw_run
from raftgossip.trust.identity import Role


def epoch(number: int, closed_at_s: float | None = None, outcome: str = "closed") -> SeenEpoch:
    """An ended epoch; by default they close once a second."""
    at_s = float(number) if closed_at_s is None else closed_at_s
    return SeenEpoch(number, 1, outcome, 1, (1, 2), at_s, 0.9, 0.1, f"d{number}", (f"d{number}",), 100, "")


def outcome(*epochs: SeenEpoch) -> Outcome:
    """A good run of two peers over these epochs."""
    ledger = tuple((each.epoch, each.model_digest) for each in epochs)
    model = np.ones(4, np.float32)
    return Outcome(
        num_epochs=len(epochs),
        target=0.8,
        epochs=epochs,
        events=(),
        ledgers={1: ledger, 2: ledger},
        models={1: model, 2: model.copy()},
        num_peers=2,
        accuracy_shared=0.9,
        accuracy_alone={1: 0.5, 2: 0.7},
        accuracy_pooled=0.95,
    )


PICTURE = RunPicture(
    title="two epochs",
    subtitle="of two peers",
    accuracy=[0.8, 0.9],
    loss=[0.5, 0.4],
    alone=[0.5, 0.6],
    alone_range=([0.4, 0.5], [0.6, 0.7]),
    pooled=[0.9, 0.95],
    target=0.8,
    participants=[(1, 2), (2,)],
    leaders=[1, 2],
    nodes=(1, 2),
    marks=[Mark(1.2, "kill -9 the leader, node 1", "kill"), Mark(1.3, "kill -9 the gateway", "kill")],
)
GOOD = outcome(epoch(1), epoch(2), epoch(3))
WITNESSED = Witnessed(
    "demo", {1: "spiffe://demo/site-1/1", 2: "spiffe://demo/site-2/2"}, ("the gateway", "node 1", "node 2")
)
GUARDED = replace(GOOD, tls=True, witnessed=WITNESSED)


def test_a_good_run_has_no_problems() -> None:
    assert problems(GOOD) == []


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (outcome(epoch(1), epoch(3)), "epochs are missing: 2"),
        (outcome(epoch(1), epoch(2), epoch(2)), "epochs are repeated: 2"),
        (outcome(epoch(1), epoch(2, outcome="failed")), "1 epochs closed instead of 2"),
        (replace(GOOD, ledgers={**GOOD.ledgers, 2: ((1, "d1"), (2, "other"), (3, "d3"))}), "ledger of node 2"),
        (replace(GOOD, ledgers={1: GOOD.ledgers[1]}), "no answer about the ledger from node 2"),
        (replace(GOOD, models={1: GOOD.models[1]}), "1 of 2 peers do not hold the final model"),
        (replace(GOOD, models={**GOOD.models, 2: np.full(4, 1.0001, np.float32)}), "models differ by 1.0e-04"),
        (replace(GOOD, models={**GOOD.models, 2: np.full(4, np.nan, np.float32)}), "models differ by nan"),
        (replace(GOOD, accuracy_shared=0.79), "below the target"),
        (replace(GUARDED, witnessed=None), "nobody could be asked who was authenticated"),
        (replace(GUARDED, witnessed=replace(WITNESSED, identities={1: "", 2: "x"})), "node 1 was registered without a"),
        (
            replace(GUARDED, witnessed=replace(WITNESSED, refusing=("node 1", "node 2"))),
            "the gateway answered a caller",
        ),
        (
            replace(GUARDED, witnessed=replace(WITNESSED, refusing=("the gateway", "node 1"))),
            "node 2 answered a caller",
        ),
        (replace(GOOD, events=(Event("kill", "leader", 1, 1.5),)), "node 1, killed at 1.5 s, did not catch up"),
    ],
)
def test_what_was_promised_and_did_not_happen_is_named(bad: Outcome, words: str) -> None:
    assert any(words in each for each in problems(bad)), problems(bad)
    assert document(bad, {})["good"] is False


def test_a_good_run_with_tls_says_who_was_authenticated() -> None:
    assert problems(GUARDED) == []
    assert document(GUARDED, {})["tls"] == {
        "federation": "demo",
        "authenticated": {"1": "spiffe://demo/site-1/1", "2": "spiffe://demo/site-2/2"},
        "refusing_strangers": ["the gateway", "node 1", "node 2"],
    }
    assert document(GOOD, {})["tls"] is None


def test_each_peer_of_the_demo_is_of_an_organisation_of_its_own(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", num_peers=2)
    organisations = {name: keys.credentials(Role.PEER, name).current().identity.organisation for name in ("1", "2")}
    assert organisations == {"1": "site-1", "2": "site-2"}
    assert keys.credentials(Role.OPERATOR).current().identity.name == "demo"
    assert keys.credentials(Role.GATEWAY).current().identity.federation == "demo"


def test_the_document_has_what_readers_rely_on() -> None:
    run = replace(GOOD, events=(Event("kill", "leader", 1, 1.5), Event("back", "peer", 1, 2.5)))
    written = json.loads(json.dumps(document(run, {})))
    assert written["accuracy_alone_mean"] == pytest.approx(0.6)
    assert {"accuracy_shared", "accuracy_pooled", "target", "stall_s"} <= written.keys()
    assert written["models_max_rel_diff"] == 0.0
    assert written["kills"] == [{"what": "leader", "at_s": 1.5, "node": 1}]
    expected = {"epoch", "attempt", "leader", "participants", "closed_at_s", "accuracy", "model_digest"}
    assert all(expected <= each.keys() for each in written["epochs"])


def test_the_stall_is_the_longest_gap_that_ends_after_the_kill() -> None:
    epochs = [epoch(1, 1.0), epoch(2, 6.0), epoch(3, 7.0), epoch(4, 9.5)]
    assert stall_s(epochs) == 5.0
    assert stall_s(epochs, since_s=6.5) == 2.5


def test_the_difference_is_relative_to_the_largest_element() -> None:
    a, b = np.array([1.0, -4.0], np.float32), np.array([1.0, -4.4], np.float32)
    assert largest_difference([a, b]) == pytest.approx(0.1, rel=1e-5)
    assert largest_difference([a]) == 0.0


def test_a_moment_is_counted_in_epochs() -> None:
    assert position([epoch(1, 2.0), epoch(2, 4.0)], 3.0) == 1.5


def test_the_guardian_ends_what_was_started_and_not_ended() -> None:
    assert watch(["17", "18", "-17", "19"]) == {18, 19}


def test_results_go_where_they_are_asked_to(tmp_path: Path) -> None:
    assert result_files(None) == (Path("raftgossip-demo.png"), Path("raftgossip-demo.json"))
    assert result_files(str(tmp_path)) == (tmp_path / "raftgossip-demo.png", tmp_path / "raftgossip-demo.json")
    assert result_files("a/run.png") == (Path("a/run.png"), Path("a/run.json"))


@pytest.mark.parametrize(
    ("task", "peers", "epochs", "words"),
    [
        ("digit", 4, 5, "--task"),
        ("digits", 1, 5, "--peers"),
        ("hospitals", 5, 5, "--peers"),
        ("digits", 4, 1, "--epochs"),
    ],
)
def test_a_demo_that_cannot_be_shown_is_refused(task: str, peers: int, epochs: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_plan(task, peers, epochs, 0, kills=True)


def test_a_result_that_cannot_be_written_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    ended = run_demo("--out", str(tmp_path / "run"))
    assert ended.returncode == 2
    assert "run.json" in ended.stderr


def test_without_matplotlib_a_picture_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'raftgossip\[observe\]'"):
        draw_run(tmp_path / "run.png", PICTURE)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_is_drawn_even_where_values_are_missing(tmp_path: Path) -> None:
    draw_run(tmp_path / "run.png", replace(PICTURE, accuracy=[None, 0.9], loss=[None, None]))
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The demo as a process of its own."""
    command = [sys.executable, "-m", "raftgossip.cli.main", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_demo_with_all_its_kills_keeps_its_promises(tmp_path: Path) -> None:
    ended = run_demo("--peers", "3", "--epochs", "12", "--out", str(tmp_path / "run"), "--json")
    written = json.loads((tmp_path / "run.json").read_text())

    assert json.loads(ended.stdout) == written
    assert ended.returncode == (0 if written["good"] else 1)
    short_of_target = [each for each in written["problems"] if "below the target" in each]
    assert written["problems"] == short_of_target, ended.stderr  # 12 epochs need not suffice for the accuracy
    assert [each["what"] for each in written["kills"]] == ["leader", "gateway"]
    assert written["models_max_rel_diff"] <= 1e-5
    assert [each["epoch"] for each in written["epochs"]] == list(range(1, 13))
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_demo_without_kills_shows_the_hospitals(tmp_path: Path) -> None:
    ended = run_demo("--task", "hospitals", "--epochs", "8", "--no-kill", "--out", str(tmp_path / "run"))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "8 of 8" in ended.stdout
    assert json.loads((tmp_path / "run.json").read_text())["kills"] == []


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_demo_with_tls_encrypts_everything_and_says_who_was_authenticated(tmp_path: Path) -> None:
    ended = run_demo("--tls", "--peers", "3", "--epochs", "6", "--out", str(tmp_path / "run"))
    written = json.loads((tmp_path / "run.json").read_text())

    short_of_target = [each for each in written["problems"] if "below the target" in each]
    assert written["problems"] == short_of_target, ended.stdout + ended.stderr
    assert [each["what"] for each in written["kills"]] == ["leader", "gateway"]
    assert written["tls"]["authenticated"] == {str(node): f"spiffe://demo/site-{node}/{node}" for node in (1, 2, 3)}
    assert written["tls"]["refusing_strangers"] == ["the gateway", "node 1", "node 2", "node 3"]
    assert "node 3 is spiffe://demo/site-3/3" in ended.stdout
    assert "a caller without a certificate was refused by the gateway, node 1, node 2, node 3" in ended.stdout
