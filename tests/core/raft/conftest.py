"""The one flag that rewrites golden scripts."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-scripts",
        action="store_true",
        help="write what the scripts of tests/core/raft print now into their files; then read the diff line by line",
    )
