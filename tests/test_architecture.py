"""The rules that LAYOUT.md and STYLE.md mark as tested: applied to the house, and each shown to catch an offender."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.support import house_rules
from tests.support.house_rules import Module, parse

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("raftgossip", "gateway", "tests", "scripts", "benchmarks", "examples")

Rule = Callable[[Module], Iterator[str]]


def _read_house() -> tuple[Module, ...]:
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "_pb2" not in path.name)
    return tuple(parse(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths)


HOUSE = _read_house()


def offenders(rule: Rule, modules: Iterable[Module] = HOUSE) -> str:
    """What the rule found, one a line; empty when all is well."""
    return "\n".join(offender for module in modules for offender in rule(module))


def test_every_import_follows_an_arrow_of_the_layout() -> None:
    assert offenders(house_rules.forbidden_arrows) == ""


def test_every_folder_of_raftgossip_has_a_row_in_the_arrows() -> None:
    folders = {module.package for module in HOUSE if module.path.startswith("raftgossip/")}
    assert folders - set(house_rules.ARROWS) == set()


def test_no_import_is_relative() -> None:
    assert offenders(house_rules.relative_imports) == ""


def test_third_party_libraries_stay_where_they_may_be_imported() -> None:
    assert offenders(house_rules.unconfined_libraries) == ""


def test_no_modules_import_each_other_in_a_ring() -> None:
    rings = list(house_rules.import_cycles(module for module in HOUSE if module.is_ours))
    assert rings == []


def test_no_import_is_hidden_behind_type_checking() -> None:
    assert offenders(house_rules.hidden_imports) == ""


def test_files_and_functions_keep_to_their_line_limits() -> None:
    assert offenders(house_rules.oversized) == ""


def test_folders_keep_to_their_line_ceilings() -> None:
    crowded = list(house_rules.crowded_folders(HOUSE))
    assert crowded == []


def test_everything_public_has_a_docstring() -> None:
    assert offenders(house_rules.undocumented) == ""


def test_no_module_is_named_after_nothing() -> None:
    assert offenders(house_rules.vague_names) == ""


def test_every_todo_names_an_issue() -> None:
    assert offenders(house_rules.orphaned_todos) == ""


def test_the_clock_is_read_only_at_its_doors() -> None:
    assert offenders(house_rules.clock_reads) == ""


def test_the_environment_is_read_only_in_cli() -> None:
    assert offenders(house_rules.environment_reads) == ""


def test_files_are_opened_only_at_their_doors() -> None:
    assert offenders(house_rules.opened_files) == ""


def test_randomness_is_always_passed_in() -> None:
    assert offenders(house_rules.shared_randomness) == ""


def test_nothing_is_unpickled_or_evaluated() -> None:
    assert offenders(house_rules.unsafe_deserialisation) == ""


def _run_python(code: str, *arguments: str) -> str:
    done = subprocess.run(
        (sys.executable, "-c", code, *arguments), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_cores_import_without_clock_network_and_third_party_libraries() -> None:
    names = [module.name for module in HOUSE if module.path.startswith("raftgossip/core/")]
    code = (
        "import importlib, sys\n"
        "for name in ('asyncio', 'grpc', 'torch', 'numpy', 'networkx', 'socket', 'time'): sys.modules[name] = None\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
    )
    _run_python(code, *names)


@pytest.mark.parametrize(
    ("package", "heavy"),
    [
        ("raftgossip", "torch grpc numpy"),
        ("raftgossip.core", "torch grpc numpy"),
        ("gateway", "torch"),
        ("gateway.grpc_gateway_server", "torch"),
        ("gateway.grpc_gateway_client", "torch"),
    ],
)
def test_importing_loads_no_heavy_library(package: str, heavy: str) -> None:
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*set(sys.argv[2:]) & set(sys.modules))"
    assert _run_python(code, package, *heavy.split()) == ""


BAD_SAMPLES: list[tuple[Rule, str, str]] = [
    (house_rules.forbidden_arrows, "raftgossip/core/replica.py", "from raftgossip.wire import raft_codec"),
    (house_rules.forbidden_arrows, "raftgossip/core/replica.py", "from raftgossip import learning"),
    (house_rules.forbidden_arrows, "raftgossip/core/replica.py", "from raftgossip.update import ModelUpdate"),
    (house_rules.forbidden_arrows, "raftgossip/learning/task.py", "import raftgossip.core.raft.node"),
    (house_rules.forbidden_arrows, "raftgossip/peer/peer.py", "from gateway.registry import Registry"),
    (
        house_rules.forbidden_arrows,
        "raftgossip/peer/peer.py",
        "import importlib\nimportlib.import_module('gateway.clock')",
    ),
    (house_rules.forbidden_arrows, "raftgossip/peer/peer.py", "def show():\n    from raftgossip.observe import log"),
    (house_rules.forbidden_arrows, "raftgossip/wire/codec.py", "from raftgossip import Peer"),
    (house_rules.forbidden_arrows, "raftgossip/peer/__init__.py", "from raftgossip.learning.task import LearningTask"),
    (house_rules.forbidden_arrows, "gateway/registry.py", "from raftgossip.core.raft.node import RaftNode"),
    (house_rules.forbidden_arrows, "raftgossip/novelty/new.py", "from raftgossip.ids import NodeId"),
    (house_rules.relative_imports, "raftgossip/ids.py", "from . import errors"),
    (house_rules.unconfined_libraries, "raftgossip/core/replica.py", "import yaml"),
    (house_rules.unconfined_libraries, "raftgossip/runtime/driver.py", "import torch.nn as nn"),
    (house_rules.unconfined_libraries, "raftgossip/runtime/driver.py", "from grpc import aio"),
    (house_rules.unconfined_libraries, "raftgossip/runtime/driver.py", "from google.protobuf import message"),
    (house_rules.unconfined_libraries, "raftgossip/runtime/driver.py", "from raftgossip.wire.pb import messages_pb2"),
    (house_rules.unconfined_libraries, "raftgossip/peer/peer.py", "def draw():\n    import matplotlib.pyplot"),
    (house_rules.unconfined_libraries, "raftgossip/observe/picture.py", "import matplotlib"),
    (house_rules.hidden_imports, "raftgossip/ids.py", "import typing\nif typing.TYPE_CHECKING:\n    import torch"),
    (house_rules.oversized, "raftgossip/ids.py", "x = 1\n" * 501),
    (house_rules.oversized, "tests/test_ids.py", "async def long():\n" + "    pass\n" * 60),
    (house_rules.undocumented, "raftgossip/ids.py", "x = 1"),
    (house_rules.undocumented, "scripts/check.py", "'''Says so.'''\nasync def run(): ..."),
    (
        house_rules.undocumented,
        "gateway/clock.py",
        "'''Says so.'''\nclass Clock:\n    '''Too.'''\n    def now(self): ...",
    ),
    (house_rules.vague_names, "raftgossip/core/utils.py", ""),
    (house_rules.vague_names, "tests/helpers/builders.py", ""),
    (house_rules.orphaned_todos, "tests/test_ids.py", "x = 1  # " + "TODO: think"),
    (house_rules.clock_reads, "raftgossip/peer/round.py", "from time import monotonic"),
    (house_rules.clock_reads, "raftgossip/peer/round.py", "import time as t\nclock = t.perf_counter_ns"),
    (house_rules.clock_reads, "raftgossip/peer/round.py", "import datetime as d\nd.datetime.now()"),
    (house_rules.clock_reads, "raftgossip/peer/round.py", "import asyncio\nasyncio.get_running_loop().time()"),
    (house_rules.environment_reads, "raftgossip/peer/config.py", "from os import environ\nenviron.get('HOME')"),
    (house_rules.environment_reads, "gateway/registry.py", "import os\nos.getenv('HOME')"),
    (house_rules.opened_files, "raftgossip/peer/peer.py", "open('x')"),
    (house_rules.opened_files, "raftgossip/peer/peer.py", "def read(path):\n    return path.read_text()"),
    (house_rules.opened_files, "raftgossip/peer/peer.py", "def read(path):\n    return path.open('rb')"),
    (house_rules.opened_files, "raftgossip/peer/peer.py", "import numpy as np\nnp.load('x.npz')"),
    (house_rules.opened_files, "raftgossip/cli/main.py", "import sqlite3\nsqlite3.connect('x')"),
    (house_rules.shared_randomness, "raftgossip/peer/peer.py", "import random\nrandom.gauss()"),
    (house_rules.shared_randomness, "raftgossip/peer/peer.py", "from random import gauss\ngauss()"),
    (house_rules.shared_randomness, "raftgossip/peer/peer.py", "import numpy as np\nnp.random.default_rng()"),
    (house_rules.shared_randomness, "raftgossip/peer/peer.py", "import numpy as np\nnp.random.normal()"),
    (house_rules.shared_randomness, "raftgossip/learning/trainer.py", "import torch\ntorch.randperm(5)"),
    (house_rules.unsafe_deserialisation, "raftgossip/wire/codec.py", "import pickle"),
    (house_rules.unsafe_deserialisation, "scripts/check.py", "def read():\n    from cloudpickle import loads"),
    (house_rules.unsafe_deserialisation, "examples/task.py", "import torch as t\nt.load('x')"),
    (house_rules.unsafe_deserialisation, "examples/task.py", "from torch import load"),
    (house_rules.unsafe_deserialisation, "gateway/clock.py", "f = eval"),
    (house_rules.unsafe_deserialisation, "gateway/clock.py", "import builtins\nbuiltins.exec('x')"),
    (house_rules.unsafe_deserialisation, "benchmarks/fold.py", "import numpy\nnumpy.load('x', allow_pickle=True)"),
    (house_rules.unsafe_deserialisation, "benchmarks/fold.py", "import yaml\nyaml.load('x', None)"),
    (house_rules.unsafe_deserialisation, "raftgossip/wire/codec.py", "__import__('marshal')"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BAD_SAMPLES)
def test_each_rule_catches_an_offender(rule: Rule, path: str, text: str) -> None:
    assert offenders(rule, [parse(path, text)])


GOOD_SAMPLES: list[tuple[Rule, str, str]] = [
    (house_rules.forbidden_arrows, "raftgossip/cli/main.py", "from gateway.registry import Registry"),
    (house_rules.forbidden_arrows, "raftgossip/cli/main.py", "from raftgossip.cli.settings import gather"),
    (house_rules.forbidden_arrows, "raftgossip/peer/__init__.py", "from raftgossip.peer.peer import Peer"),
    (house_rules.unconfined_libraries, "raftgossip/observe/picture.py", "def draw():\n    import matplotlib"),
    (house_rules.orphaned_todos, "tests/test_ids.py", "x = 1  # " + "TODO(#12): think"),
    (house_rules.clock_reads, "raftgossip/cli/operator.py", "import time\ntime.sleep(1)"),
    (house_rules.opened_files, "raftgossip/runtime/exchange.py", "def enter(room, slot):\n    return room.open(slot)"),
    (house_rules.shared_randomness, "raftgossip/peer/peer.py", "import random\nrng = random.Random(7)\nrng.random()"),
    (house_rules.unsafe_deserialisation, "raftgossip/learning/trainer.py", "def judge(model):\n    model.eval()"),
]


@pytest.mark.parametrize(("rule", "path", "text"), GOOD_SAMPLES)
def test_no_rule_accuses_what_is_allowed(rule: Rule, path: str, text: str) -> None:
    assert not offenders(rule, [parse(path, text)])


def test_a_ring_of_imports_is_found_even_inside_functions() -> None:
    ring = [
        parse("raftgossip/peer/one.py", "from raftgossip.peer.two import two"),
        parse("raftgossip/peer/two.py", "def two():\n    import raftgossip.peer.one"),
    ]
    assert list(house_rules.import_cycles(ring))


def test_a_crowded_folder_is_found() -> None:
    crowd = [parse(f"raftgossip/topology/part_{index}.py", "x = 1\n" * 400) for index in range(2)]
    assert list(house_rules.crowded_folders(crowd)) == ["raftgossip/topology has 800 lines, at most 700"]
