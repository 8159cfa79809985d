"""Junk of every kind ends in a documented refusal that tells nothing about our insides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.fuzz import mutated
from tests.support.fuzz_targets import TARGETS, close_servers
from tests.support.fuzzing import judge, parser_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _ended_servers() -> Iterator[None]:
    yield
    close_servers()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_junk_ends_in_a_documented_refusal(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(mutated(target.seeds))
    def fuzz(data: bytes) -> None:
        target.run(data)

    fuzz()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_fuzzing_begins_with_is_understood_or_refused(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)


@given(st.binary())
def test_the_judge_lets_an_error_that_is_not_ours_through(data: bytes) -> None:
    def broken(_: bytes) -> object:
        raise KeyError("internal")

    with pytest.raises(KeyError):
        parser_of(broken)(data)


@pytest.mark.parametrize("text", ["in gateway/registry.py", "<object at 0x7f12>", "Traceback (most", "a\x1b[0m"])
def test_the_judge_refuses_messages_that_tell_about_our_insides(text: str) -> None:
    with pytest.raises(AssertionError):
        judge(text)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_two_hundred_thousand_executions_of_both_engines_find_no_fault() -> None:
    command = [sys.executable, "scripts/fuzz.py", "--executions", "200000"]

    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=1500)

    assert ended.returncode == 0, ended.stdout + ended.stderr
