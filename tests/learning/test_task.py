"""Finding a task by its name on the command line, and what a user is told when that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from raftgossip.errors import ConfigError
from raftgossip.learning.task import load_task
from raftgossip.learning.tasks.digits import Digits
from raftgossip.learning.tasks.hospitals import Hospitals

GOOD_TASK = """
from raftgossip import LearningTask

class Rows(LearningTask):
    def __init__(self, PARAMETERS):
        self.given = GIVEN
    num_samples = 3
    def build_model(self): ...
    def batches(self, seed): ...
    def loss(self, model, batch): ...
    def evaluate(self, model): ...

class Unfinished(LearningTask):
    num_samples = 3

class Other: ...
"""


@pytest.fixture(autouse=True)
def _no_trace() -> Iterator[None]:
    """Take out of `sys` what importing users' files has put there."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("raftgossip_task_", "rows_of_")):
            del sys.modules[name]


def _file(folder: Path, parameters: str = "shard, num_shards", given: str = "(shard, num_shards)") -> Path:
    path = folder / "my_task.py"
    path.write_text(GOOD_TASK.replace("PARAMETERS", parameters).replace("GIVEN", given))
    return path


def test_built_in_tasks_are_found_by_name() -> None:
    assert isinstance(load_task("digits"), Digits)
    assert isinstance(load_task("hospitals", shard=3, num_shards=4), Hospitals)


def test_built_in_tasks_take_partition_and_data_seed() -> None:
    first = load_task("digits", 0, 4, partition="dirichlet:0.5", data_seed=1)
    second = load_task("digits", 0, 4, partition="dirichlet:0.5", data_seed=2)
    assert first.num_samples != second.num_samples


@pytest.mark.parametrize(
    ("parameters", "given", "expected"),
    [
        ("shard, num_shards", "(shard, num_shards)", (2, 5)),
        ("*, shard=0", "shard", 2),
        ("rows=7", "rows", 7),
        ("**options", "sorted(options)", ["num_shards", "shard"]),
    ],
)
def test_users_class_gets_what_its_constructor_has_parameters_for(
    tmp_path: Path, parameters: str, given: str, expected: object
) -> None:
    path = _file(tmp_path, parameters, given)
    task = load_task(f"{path}:Rows", shard=2, num_shards=5)
    assert task.given == expected  # type: ignore[attr-defined]


def test_users_class_gets_partition_and_data_seed_if_it_takes_them(tmp_path: Path) -> None:
    path = _file(tmp_path, "partition, data_seed", "(partition, data_seed)")
    task = load_task(f"{path}:Rows", partition="iid", data_seed=4)
    assert task.given == ("iid", 4)  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ["partition", "data_seed"])
def test_option_that_the_users_class_cannot_take_is_refused_not_dropped(tmp_path: Path, option: str) -> None:
    path = _file(tmp_path)
    with pytest.raises(ConfigError, match=f"has no option '{option}'"):
        load_task(f"{path}:Rows", **{option: 1})  # type: ignore[arg-type]


def test_users_file_can_import_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "rows_of_mine.py").write_text("ROWS = 12\n")
    path = _file(tmp_path, "", "ROWS")
    path.write_text("from rows_of_mine import ROWS\n" + path.read_text())
    assert load_task(f"{path}:Rows").given == 12  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digit", r"the task 'digit' is unknown; did you mean 'digits'\? known are digits, hospitals, or path/to"),
        ("Hospital", r"did you mean 'hospitals'\?"),
        ("xyz", r"the task 'xyz' is unknown; known are digits, hospitals, or path/to/file\.py:ClassName"),
        ("", "the task '' is unknown"),
        ("nowhere/my_task.py:Rows", r"the task file nowhere/my_task\.py does not exist; give path/to/file\.py:Class"),
        ("nowhere/my_task.py", r"does not say which class: give nowhere/my_task\.py:ClassName"),
    ],
)
def test_wrong_reference_is_answered_with_cause_and_remedy(reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_task(reference)


@pytest.mark.parametrize(
    ("class_name", "message"),
    [
        ("Row", "has no class 'Row'; its tasks are Rows, Unfinished"),
        ("Other", r"Other in .* is not a task: make it a subclass of raftgossip\.LearningTask"),
        ("Unfinished", "Unfinished in .* lacks batches, build_model, evaluate, loss: define what is missing"),
    ],
)
def test_wrong_class_is_answered_with_cause_and_remedy(tmp_path: Path, class_name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_task(f"{_file(tmp_path)}:{class_name}")


def test_file_without_any_task_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("from raftgossip import LearningTask\n")
    with pytest.raises(ConfigError, match="has no class 'Rows'; it has no subclass of LearningTask"):
        load_task(f"{tmp_path / 'empty.py'}:Rows")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import not_installed_here", "ModuleNotFoundError: No module named 'not_installed_here'"),
        ("def f(:", "SyntaxError: invalid syntax"),
        ("raise ValueError('one\\ntwo')", "ValueError: one$"),
    ],
)
def test_file_that_cannot_be_imported_is_answered_with_the_cause_in_one_line(
    tmp_path: Path, text: str, cause: str
) -> None:
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(ConfigError, match=rf"broken\.py could not be imported: {cause}"):
        load_task(f"{tmp_path / 'broken.py'}:Rows")
    assert "raftgossip_task_broken" not in sys.modules


def test_constructor_that_raises_is_answered_with_the_cause(tmp_path: Path) -> None:
    path = _file(tmp_path, "", "open('/does/not/exist')")
    with pytest.raises(ConfigError, match=r"Rows could not be made: FileNotFoundError: .*'/does/not/exist'"):
        load_task(f"{path}:Rows")


def test_constructor_that_needs_more_than_it_is_given_is_answered_with_the_cause(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"could not be made: TypeError: .* 'folder'"):
        load_task(f"{_file(tmp_path, 'folder', 'folder')}:Rows")


@pytest.mark.parametrize(("shard", "num_shards"), [(4, 4), (-1, 4)])
def test_shard_out_of_range_is_refused(shard: int, num_shards: int) -> None:
    with pytest.raises(ConfigError, match=f"shard {shard} of 4: shards count from 0, so give one from 0 to 3"):
        load_task("digits", shard, num_shards)


def test_division_into_no_shards_is_refused() -> None:
    with pytest.raises(ConfigError, match="into 0 shards; give 1 or more"):
        load_task("digits", 0, 0)
