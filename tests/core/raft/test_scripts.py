"""Every golden script prints what its file says.

Rewrite with `pytest tests/core/raft/test_scripts.py --rewrite-scripts`, and read the diff.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.raft.script_runner import run_script

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_prints_what_its_file_says(path: Path, request: pytest.FixtureRequest) -> None:
    expected = path.read_text(encoding="utf-8")
    printed = run_script(expected)
    if request.config.getoption("--rewrite-scripts", default=False):
        path.write_text(printed, encoding="utf-8")
        return
    assert printed == expected


def test_a_changed_output_is_noticed() -> None:
    script = "# comment\n> cluster 1,2,3\n  ok\n"
    assert run_script(script) == script
    assert run_script(script.replace("ok", "something else")) == script
