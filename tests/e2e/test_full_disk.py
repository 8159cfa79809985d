"""A disk that is full or fails ends the store with a clear text, and what was confirmed is there afterwards.

The full disk is a real file system of one megabyte, mounted where only the test's own process sees it; where such a
mount is not allowed, SQLite's own limit of pages, which raises the same error, has to do.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from raftgossip.core.raft.message import Configuration, Entry, EntryKind, HardState, Snapshot, SnapshotSave
from raftgossip.errors import StorageFull
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store import SqliteStore, StoredLog

NAME = "raft.db"
TEXT = r"no room left to {verb} .*raft\.db: .*free some room .* start it again: nothing that was confirmed is lost$"


def entry(index: int, data: bytes = b"x" * 700) -> Entry:
    return Entry(LogIndex(index), Term(index), EntryKind.COMMAND, data)


def state(term: int) -> HardState:
    return HardState(Term(term), NodeId(1), LogIndex(term - 1))


# --- SQLite's limit of pages


def limit_pages(store: SqliteStore, num_more: int) -> None:
    (num_pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count={num_pages + num_more}")


def save_until_full(store: SqliteStore) -> tuple[int, str]:
    """Save one entry after the other; returns the last that was confirmed, and the refusal of the next."""
    for index in range(1, 1000):
        try:
            store.save(state(index), (entry(index),))
        except StorageFull as error:
            return index - 1, str(error)
    raise AssertionError("it never was full")


def test_what_was_confirmed_before_the_disk_was_full_is_there_afterwards(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    limit_pages(store, 5)
    last, full = save_until_full(store)
    assert last > 10
    assert re.fullmatch(TEXT.format(verb="write"), full)
    for refused in (state(last + 1), None):  # even one that would find room
        with pytest.raises(StorageFull) as again:
            store.save(refused, ())
        assert str(again.value) == full
    assert "--data-dir" not in full, "nothing is damaged, so no remedy for damage"
    store.close()

    store = SqliteStore(tmp_path / NAME)
    assert store.load() == StoredLog(state(last), None, tuple(entry(index) for index in range(1, last + 1)))
    store.save(state(last + 1), (entry(last + 1),))
    assert len(store.load().entries) == last + 1
    store.close()


def test_a_snapshot_that_finds_no_room_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    entries = tuple(entry(index) for index in range(1, 20))
    snapshot = Snapshot.of(LogIndex(9), Term(9), Configuration((NodeId(1),)), b"s" * 100_000)
    store = SqliteStore(tmp_path / NAME)
    store.save(state(10), entries)
    limit_pages(store, 10)
    with pytest.raises(StorageFull):
        store.save(state(11), (entry(20),), SnapshotSave(snapshot, LogIndex(9), Term(9), is_received=True))
    store.close()

    store = SqliteStore(tmp_path / NAME)
    assert store.load() == StoredLog(state(10), None, entries)
    store.close()


# --- a real file system

PRELUDE = """
import os, sys
from pathlib import Path
from raftgossip.core.raft.message import Entry, EntryKind, HardState
from raftgossip.errors import StorageError, StorageFull
from raftgossip.runtime.store import SqliteStore

folder = Path(sys.argv[1])
path = folder / "raft.db"

def say(*words):
    print(*words, sep="|", flush=True)

def fill(num_bytes):
    try:
        (folder / "other").write_bytes(bytes(num_bytes))
    except OSError:
        pass

def save_until_it_fails(store):
    last = len(store.load().entries)
    try:
        while last < 5000:
            store.save(HardState(last + 1, 1, last), (Entry(last + 1, last + 1, EntryKind.COMMAND, b"x" * 700),))
            last += 1
    except StorageError as error:
        say(type(error).__name__, error)
    say(last)
    try:
        store.save(None, (), meta={"late": "taken"})
    except StorageError as error:
        say(type(error).__name__, error)
"""

IN_A_CHILD = """
child = os.fork()
if child == 0:
    store = SqliteStore(path)
    save_until_it_fails(store)
    if "close" in sys.argv:
        store.close()
    os._exit(0)
os.waitpid(child, 0)
"""

LOOK = """
store = SqliteStore(path)
found = store.load()
say(len(found.entries), found.hard_state.term, store.get_meta("late"))
assert all(each.data == b"x" * 700 for each in found.entries)
store.save(HardState(10**6, 1, 0), ())
store.close()
"""

FULL_AT_CREATION = """
fill(1 << 30)
try:
    SqliteStore(path)
except StorageError as error:
    say(type(error).__name__, error)
(folder / "other").unlink()
store = SqliteStore(path)
say(store.load().entries)
store.close()
"""

NO_NAME_LEFT = """
try:
    SqliteStore(path)
except StorageError as error:
    say(type(error).__name__, error)
"""

MOUNT = """
folder="$1"; script="$2"; options="$3"; shift 3
mount -t tmpfs -o "$options" tmpfs "$folder" && exec "$0" -c "$script" "$folder" "$@"
"""


def run_on_small_disk(folder: Path, options: str, script: str, *arguments: str) -> list[list[str]]:
    """Run a script on a file system of its own, which goes away with it; returns the lines that it said."""
    ran = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, sys.executable, str(folder), PRELUDE + script, options, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [line.split("|") for line in ran.stdout.splitlines()]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to mount on; skips where that is not allowed."""
    folder = tmp_path_factory.mktemp("disk")
    if shutil.which("unshare") is None:
        pytest.skip("needs the program unshare, of the Debian package util-linux")
    mount = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no mounts in a namespace of one's own (unshare -rm, of util-linux)")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["close", "crash"])
@pytest.mark.parametrize("other_bytes", [0, 300_000, 700_001])
def test_a_real_disk_that_fills_up_loses_nothing_that_was_confirmed(disk: Path, other_bytes: int, ending: str) -> None:
    room = '(folder / "other").unlink()\n'
    script = f"fill({other_bytes})\n{IN_A_CHILD}{room}{LOOK}"
    if other_bytes == 0:
        room = "assert os.system(f'mount -o remount,size=2m {folder}') == 0\n"  # nothing else is there to be deleted
        script = f"{IN_A_CHILD}{room}{LOOK}"

    full, (confirmed,), late, (num_entries, term, setting) = run_on_small_disk(disk, "size=1m", script, ending)

    assert full == late
    assert full[0] == "StorageFull" and re.fullmatch(TEXT.format(verb="write"), full[1])
    assert int(confirmed) > 20
    assert int(num_entries) in (int(confirmed), int(confirmed) + 1), "the one that failed may be there or not"
    assert term == num_entries
    assert setting == "None"


@pytest.mark.slow
def test_a_store_is_not_half_created_on_a_full_disk(disk: Path) -> None:
    (kind, text), (entries,) = run_on_small_disk(disk, "size=1m", FULL_AT_CREATION)

    assert kind == "StorageFull" and re.fullmatch(TEXT.format(verb="(create|open)"), text)
    assert entries == "()"


@pytest.mark.slow
def test_a_disk_that_holds_no_more_files_is_full_too(disk: Path) -> None:
    ((kind, text),) = run_on_small_disk(disk, "size=1m,nr_inodes=1", NO_NAME_LEFT)

    assert kind == "StorageFull" and re.fullmatch(TEXT.format(verb="(create|open)"), text)


# --- other failures

FILE_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
"""


@pytest.mark.slow
def test_a_write_that_fails_otherwise_is_no_full_disk(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PRELUDE + FILE_LIMIT + IN_A_CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (kind, text), (confirmed,), late = [line.split("|") for line in ran.stdout.splitlines()]

    assert kind == "StorageError" and "cannot write" in text and "--data-dir" in text
    assert late == [kind, text]
    store = SqliteStore(tmp_path / NAME)
    assert len(store.load().entries) in (int(confirmed), int(confirmed) + 1)
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("failing", [9, 30, 480, 481])
def test_a_failed_fsync_ends_the_store(tmp_path: Path, failing: int) -> None:
    # The second fdatasync after a failed one would succeed, with the data gone. 480 and 481 are those of the first
    # checkpoint, whose failure SQLite would keep to itself.
    inject = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject=fdatasync:error=EIO:when={failing}"]
    if shutil.which("strace") is None or subprocess.run([*inject, "true"], check=False).returncode != 0:
        pytest.skip("needs the Debian package strace, and the permission to trace")
    ran = subprocess.run(
        [*inject, sys.executable, "-c", PRELUDE + IN_A_CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (kind, text), (confirmed,), late = [line.split("|") for line in ran.stdout.splitlines()]

    assert kind == "StorageError" and "cannot write" in text
    assert late == [kind, text]
    assert 0 < int(confirmed) < failing
    store = SqliteStore(tmp_path / NAME)
    assert len(store.load().entries) in (int(confirmed), int(confirmed) + 1)
    store.close()
