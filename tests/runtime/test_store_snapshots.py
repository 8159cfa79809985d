"""A snapshot and the log behind it are saved together, replace what they replace, and are never half there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftgossip.core.raft.message import Configuration, Entry, EntryKind, HardState, Snapshot, SnapshotSave
from raftgossip.errors import StorageError
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store import CHECKPOINT_BYTES, WAL_KEPT_BYTES, MemoryStore, SqliteStore, Storage, StoredLog

NAME = "raft.db"
JOINT = Configuration((NodeId(1), NodeId(2), NodeId(4)), (NodeId(5),), (NodeId(1), NodeId(2), NodeId(3)))


def entry(index: int, term: int = 1, data: bytes = b"data") -> Entry:
    return Entry(LogIndex(index), Term(term), EntryKind.COMMAND, data)


def entries(first: int, last: int, term: int = 1) -> tuple[Entry, ...]:
    return tuple(entry(index, term, bytes([index % 251]) * 9) for index in range(first, last + 1))


def state(term: int, commit_index: int = 0) -> HardState:
    return HardState(Term(term), NodeId(2), LogIndex(commit_index))


def snapshot(last_index: int, base_index: int, data: bytes = b"state", is_received: bool = False) -> SnapshotSave:
    whole = Snapshot.of(LogIndex(last_index), Term(1), JOINT, data)
    return SnapshotSave(whole, LogIndex(base_index), Term(min(1, base_index)), is_received)


Opener = Callable[[Storage | None], Storage]


@pytest.fixture(params=["memory", "sqlite"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens a store, or the one that is given once more, as a restart would."""

    def open_again(store: Storage | None) -> Storage:
        if request.param == "memory":
            return store or MemoryStore()
        if store is not None:
            store.close()
            return SqliteStore(tmp_path / NAME)
        for leftover in tmp_path.glob(f"{NAME}*"):
            leftover.unlink()
        return SqliteStore(tmp_path / NAME)

    return open_again


# --- what both stores promise


def test_a_snapshot_of_ones_own_keeps_the_entries_behind_its_base(reopen: Opener) -> None:
    store = reopen(None)
    store.save(state(1, 6), entries(1, 8))
    store.save(None, (), snapshot(6, 4))

    store = reopen(store)

    assert store.load() == StoredLog(state(1, 6), snapshot(6, 4), entries(5, 8))
    store.close()


def test_a_received_snapshot_replaces_the_whole_log(reopen: Opener) -> None:
    store = reopen(None)
    store.save(state(1), entries(1, 8))
    store.save(state(3, 6), (), snapshot(6, 6, is_received=True))

    store = reopen(store)

    assert store.load() == StoredLog(state(3, 6), snapshot(6, 6), ())
    store.close()


def test_entries_saved_with_a_received_snapshot_stand_behind_it(reopen: Opener) -> None:
    store = reopen(None)
    store.save(state(1), entries(1, 3))
    store.save(state(2, 100), entries(101, 103, 2), snapshot(100, 100, is_received=True))
    store.save(None, entries(103, 104, 3))

    store = reopen(store)

    assert store.load().entries == (*entries(101, 102, 2), *entries(103, 104, 3))
    store.close()


def test_a_snapshot_may_keep_every_entry(reopen: Opener) -> None:
    store = reopen(None)
    store.save(state(1), entries(1, 3))
    store.save(None, (), snapshot(2, 0))

    store = reopen(store)

    assert store.load() == StoredLog(state(1), snapshot(2, 0), entries(1, 3))
    store.close()


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)) * 400])
def test_the_newest_snapshot_comes_back_bit_for_bit(reopen: Opener, data: bytes) -> None:
    store = reopen(None)
    store.save(state(1), entries(1, 9))
    store.save(None, (), snapshot(3, 3, b"older"))
    store.save(None, (), snapshot(9, 8, data))

    store = reopen(store)

    found = store.load()
    assert found.snapshot == snapshot(9, 8, data)
    assert found.entries == entries(9, 9)
    store.close()


Step = tuple[str, int, int]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.sampled_from(["append", "cut", "own", "received"]), st.integers(1, 5)), max_size=12))
def test_a_store_holds_what_a_list_with_a_base_would_hold(reopen: Opener, steps: list[tuple[str, int]]) -> None:
    store = reopen(None)
    kept: list[Entry] = []
    saved: SnapshotSave | None = None
    base = covered = 0
    for term, (step, size) in enumerate(steps, start=1):
        last = base + len(kept)
        save: SnapshotSave | None = None
        new: tuple[Entry, ...] = ()
        if step == "append":
            new = entries(last + 1, last + size, term)
        elif step == "cut" and last > covered:
            first = max(covered + 1, last - size + 1)
            new = entries(first, first + size % 3, term)
        elif step == "own" and last > covered:
            covered = min(last, covered + size)
            save = saved = snapshot(covered, max(base, covered - 2))
        elif step == "received":
            covered = last + size
            save, saved = snapshot(covered, covered, is_received=True), snapshot(covered, covered)
            kept = []
        if save is not None:
            base, kept = save.base_index, [each for each in kept if each.index > save.base_index]
        if new:
            kept = [each for each in kept if each.index < new[0].index] + list(new)
        store.save(state(term, covered), new, save)
        assert store.load() == StoredLog(state(term, covered), saved, tuple(kept))

    store = reopen(store)

    assert store.load().entries == tuple(kept)
    store.close()


# --- damage


@pytest.fixture(scope="module")
def saved_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A closed store with a snapshot of more than a page and a log behind it."""
    path = tmp_path_factory.mktemp("saved") / NAME
    store = SqliteStore(path)
    store.save(state(1, 6), entries(1, 9))
    store.save(None, (), SAVED.snapshot)
    store.close()
    return path.read_bytes()


SAVED = StoredLog(state(1, 6), snapshot(6, 4, bytes(range(1, 256)) * 40), entries(5, 9))


def load_bytes(folder: Path, data: bytes, wal: bytes = b"") -> StoredLog:
    """What a start on a file with this content finds."""
    for leftover in folder.glob(f"{NAME}*"):
        leftover.unlink()
    (folder / NAME).write_bytes(data)
    if wal:
        (folder / f"{NAME}-wal").write_bytes(wal)
    store = SqliteStore(folder / NAME)
    try:
        return store.load()
    finally:
        store.close()


EDITS = {
    "UPDATE snapshot SET last_index = 5": "the snapshot of log entry 5",
    "UPDATE snapshot SET last_term = 2": "the snapshot of log entry 6",
    "UPDATE snapshot SET base_index = 5": "the snapshot of log entry 6",
    "UPDATE snapshot SET base_term = 0": "the snapshot of log entry 6",
    "UPDATE snapshot SET configuration = CAST('1,2|' AS BLOB)": "the snapshot of log entry 6",
    "UPDATE snapshot SET configuration = CAST(configuration AS TEXT)": "the snapshot of log entry 6",
    "UPDATE snapshot SET data_checksum = data_checksum + 1": "the snapshot of log entry 6",
    "UPDATE snapshot SET data = x'00'": "the snapshot of log entry 6",
    "UPDATE snapshot SET data = CAST(data AS TEXT)": "the snapshot of log entry 6",
    "DELETE FROM snapshot": "log entry 1",
    "DELETE FROM log WHERE position = 5": "log entry 5",
    "DELETE FROM log WHERE position = 7": "log entry 7",
    "DELETE FROM log WHERE position >= 6": "log entry 6",
    "DELETE FROM log": "log entry 5",
    "INSERT INTO log SELECT 4, term, kind, data, checksum FROM log WHERE position = 5": "log entry 5",
}


@pytest.mark.parametrize("statement", EDITS)
def test_a_changed_or_missing_row_is_named(tmp_path: Path, saved_file: bytes, statement: str) -> None:
    edited = tmp_path / "edited.db"
    edited.write_bytes(saved_file)
    connection = sqlite3.connect(edited)
    connection.execute(statement)
    connection.commit()
    connection.close()

    with pytest.raises(StorageError, match=f"{NAME} is damaged at {EDITS[statement]};"):
        load_bytes(tmp_path, edited.read_bytes())


def test_an_entry_missing_below_the_snapshot_is_named_though_nothing_is_committed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    store.save(None, entries(1, 5))
    store.save(None, (), snapshot(6, 2))  # no core does that: entry 6 was never there

    with pytest.raises(StorageError, match="log entry 6"):
        store.load()
    store.close()


@pytest.mark.parametrize("part", range(3))
def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path, saved_file: bytes, part: int) -> None:
    num_refused = 0
    used = [at for at in range(len(saved_file)) if any(saved_file[max(0, at - 8) : at + 8])]
    for offset in used[part * 7 :: 31]:
        damaged = bytearray(saved_file)
        damaged[offset] ^= 1 << (offset % 8)
        try:
            assert load_bytes(tmp_path, bytes(damaged)) == SAVED, f"bit {offset % 8} of byte {offset}"
        except StorageError as error:
            num_refused += str(tmp_path / NAME) in str(error)

    assert num_refused > 250


# --- a crash while a snapshot is saved


def crashed_files(folder: Path) -> tuple[bytes, bytes, int]:
    """A log, then a snapshot with entries behind it: the two files after a crash, and the WAL's length between both."""
    path = folder / "crash.db"
    store = SqliteStore(path)
    wal = path.with_name("crash.db-wal")
    store.save(BEFORE.hard_state, BEFORE.entries)
    length = wal.stat().st_size
    store.save(AFTER.hard_state, entries(7, 8, 2), AFTER.snapshot)
    content = path.read_bytes(), wal.read_bytes(), length
    store.close()
    return content


BEFORE = StoredLog(state(1, 3), None, entries(1, 6))
AFTER = StoredLog(state(2, 5), snapshot(5, 4, b"s" * 9000), (*entries(5, 6), *entries(7, 8, 2)))


def test_a_wal_cut_anywhere_holds_the_whole_snapshot_or_nothing_of_it(tmp_path: Path) -> None:
    data, wal, length = crashed_files(tmp_path)
    cuts = sorted({*range(length, len(wal), 257), *range(len(wal) - 40, len(wal))})

    for cut in cuts:
        assert load_bytes(tmp_path, data, wal[:cut]) == BEFORE, f"cut at {cut}"
    assert load_bytes(tmp_path, data, wal) == AFTER


def test_bits_flipped_in_the_wal_leave_the_state_before_or_after(tmp_path: Path) -> None:
    data, wal, length = crashed_files(tmp_path)

    for offset in range(length, len(wal), 307):
        damaged = bytearray(wal)
        damaged[offset] ^= 1 << (offset % 8)
        assert load_bytes(tmp_path, data, bytes(damaged)) in (BEFORE, AFTER), f"bit {offset % 8} of byte {offset}"


# --- size


def test_the_files_stop_growing_when_snapshots_follow_each_other(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    sizes = []
    for last in range(100, 1100, 100):
        store.save(state(1, last), entries(last - 99, last))
        store.save(None, (), snapshot(last, last - 10, bytes([last % 251]) * CHECKPOINT_BYTES))
        sizes.append((tmp_path / NAME).stat().st_size)
    store.save(None, entries(1001, 1001))

    assert len(store.load().entries) == 11
    assert sizes[-1] == sizes[2], "freed pages are used again"
    assert sizes[-1] < 1.1 * CHECKPOINT_BYTES, "the old snapshot's pages hold the new one"
    assert (tmp_path / f"{NAME}-wal").stat().st_size <= WAL_KEPT_BYTES
    store.close()
