"""The command line as a whole: help, exit codes, one line for every mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import raftgossip.cli.operator
from raftgossip import __version__
from raftgossip.cli import main as main_module
from raftgossip.errors import AlreadyExists, ClusterUnreachable, ConfigError, StorageError, TransportError
from tests.cli.conftest import Outcome

COMMANDS = (
    "demo",
    "node",
    "gateway",
    "status",
    "members",
    "leader",
    "epochs",
    "logs",
    "leave",
    "discover",
    "gateway-set",
    "keys",
)
LOWER_COMMANDS = ("members add", "members remove", "members promote", "leader transfer")
Command = Callable[..., Outcome]


@pytest.mark.parametrize("name", COMMANDS + LOWER_COMMANDS)
def test_help_of_every_command_shows_an_example(command: Command, name: str) -> None:
    outcome = command(*name.split(), "--help")
    assert outcome.code == 0
    assert re.search(rf"Example:\s+raftgossip {name} ", outcome.out)


def test_help_lists_all_commands_and_so_does_no_argument_at_all(command: Command) -> None:
    for arguments in ((), ("--help",)):
        outcome = command(*arguments)
        assert outcome.code == 0
        assert all(name in outcome.out for name in COMMANDS)


def test_version_is_told(command: Command) -> None:
    assert command("--version") == Outcome(0, f"raftgossip {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nod",), "Did you mean 'node'"),
        (("status",), "--node"),
        (("status", "--node", "host"), "'host' has no port"),
        (("status", "--node", "h:1", "--nonsense"), "--nonsense"),
        (("epochs", "--node", "h:1", "--last", "x"), "--last"),
        (("members",), "--node"),
        (("members", "ad"), "Did you mean 'add'"),
        (("members", "add", "--node", "h:1"), "NODE_ID"),
        (("members", "add", "4", "host", "--node", "h:1"), "'host' has no port"),
        (("members", "add", "0", "host:1", "--node", "h:1"), "node id 0"),
        (("members", "remove", "4"), "--node"),
        (("members", "remove", "x", "--node", "h:1"), "NODE_ID"),
        (("members", "promote", "4", "--node", "host"), "'host' has no port"),
        (("leader",), "--node"),
        (("leader", "transfer", "--to", "0", "--node", "h:1"), "node id 0"),
        (("logs", "--node", "h:1", "--first", "0"), "--first"),
        (("logs",), "--node"),
        (("discover",), "--gateway"),
        (("discover", "--gateway", ","), "no gateway to ask"),
        (("gateway-set", "node_timeout=60"), "--gateway"),
        (("keys", "isue"), "Did you mean 'issue'"),
        (("gateway", "--port", "70000"), "port is 70000"),
        (("gateway", "--log-level", "loud"), "log_level is 'loud'"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_wrong_use_is_one_line_and_code_2(command: Command, arguments: tuple[str, ...], words: str) -> None:
    outcome = command(*arguments)
    assert outcome.code == 2
    assert words in outcome.complaint


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("wrong"), 2),
        (ClusterUnreachable("nobody"), 3),
        (TransportError("broke"), 1),
        (StorageError("damaged"), 1),
        (AlreadyExists("taken"), 1),
        (PermissionError(13, "Permission denied", "/state"), 1),
        (RuntimeError("a bug"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_each_kind_of_error_has_its_exit_code(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(raftgossip.cli.operator, "ask_roster", fail)
    outcome = command("members", "--node", "h:1")
    assert outcome.code == code
    assert "Traceback" not in outcome.err
    if not isinstance(error, KeyboardInterrupt):
        assert str(error.args[-1]) in outcome.complaint


@pytest.mark.parametrize(
    "arguments", [("--debug", "members", "--node", "h:1"), ("members", "--node", "h:1", "--debug")]
)
def test_debug_shows_the_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    def fail(*_: object) -> None:
        raise StorageError("damaged")

    monkeypatch.setattr(raftgossip.cli.operator, "ask_roster", fail)
    outcome = command(*arguments)
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert outcome.err.splitlines()[-1] == "raftgossip: damaged"


def test_an_error_of_many_lines_becomes_one(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StorageError("first\n  second")

    monkeypatch.setattr(raftgossip.cli.operator, "ask_roster", fail)
    assert command("members", "--node", "h:1").complaint == "raftgossip: first second"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from raftgossip.cli.main import main; code = main(['--help']); "
        "heavy = {'torch', 'grpc', 'numpy', 'structlog'} & set(sys.modules); assert not heavy, heavy; sys.exit(code)"
    )
    root = Path(main_module.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize(
    "name",
    [
        *("status", "status --linearizable", "members", "epochs", "epochs --linearizable", "logs", "leave", "leader"),
        *("leader transfer", "members add 4 h:1", "members remove 4", "members promote 4"),
    ],
)
def test_a_silent_address_is_named_and_code_3(command: Command, dead_address: str, name: str) -> None:
    outcome = command(*name.split(), "--node", dead_address)
    assert outcome.code == 3
    assert dead_address in outcome.complaint
    assert "raftgossip node" in outcome.complaint


def test_the_address_may_come_from_the_environment(
    command: Command, monkeypatch: pytest.MonkeyPatch, dead_address: str
) -> None:
    monkeypatch.setenv("RAFTGOSSIP_NODE", dead_address)
    assert command("status").code == 3


def test_print_config_as_json_parses(command: Command) -> None:
    outcome = command("node", "--task", "digits", "--print-config", "--json")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert document["task"] == {"value": "digits", "origin": "flag"}
    assert document["peers"] == {"value": [], "origin": "default"}
