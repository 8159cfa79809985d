"""Both stores forget nothing that they acknowledged, and a damaged file is never taken for a whole one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftgossip.core.raft.message import Entry, EntryKind, HardState
from raftgossip.errors import ConfigError, StorageError
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store import MemoryStore, SqliteStore, Storage, StoredLog
from raftgossip.runtime.store_rows import FORMAT_VERSION

NAME = "raft.db"
SETTINGS = {"node_id": "3", "owner": "ab12", "cluster_id": "größe"}


def entry(index: int, term: int = 1, data: bytes = b"data", kind: EntryKind = EntryKind.COMMAND) -> Entry:
    return Entry(LogIndex(index), Term(term), kind, data)


def state(term: int, voted_for: int | None = None, commit_index: int = 0) -> HardState:
    return HardState(Term(term), None if voted_for is None else NodeId(voted_for), LogIndex(commit_index))


class Kind:
    """One kind of store: `reopen` is what a restart of the process would do, if the kind survives one."""

    def __init__(self, folder: Path, is_durable: bool) -> None:
        self._folder = folder
        self._is_durable = is_durable
        self._num_stores = 0

    def open(self) -> Storage:
        self._num_stores += 1
        return SqliteStore(self._folder / f"{self._num_stores}.db") if self._is_durable else MemoryStore()

    def reopen(self, store: Storage) -> Storage:
        if not self._is_durable:
            return store
        store.close()
        return SqliteStore(self._folder / f"{self._num_stores}.db")


@pytest.fixture(params=["memory", "sqlite"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    return Kind(tmp_path, request.param == "sqlite")


@pytest.fixture
def store(kind: Kind) -> Iterator[Storage]:
    store = kind.open()
    yield store
    store.close()


# --- what both stores promise


def test_a_new_store_holds_nothing(store: Storage) -> None:
    assert store.load() == StoredLog(None, None, ())
    assert store.get_meta("node_id") is None


@pytest.mark.parametrize("hard_state", [state(7, 3, 0), state(7, None, 0), state(0, None, 0), state(2**62, 2**31 - 1)])
def test_term_and_vote_come_back(kind: Kind, hard_state: HardState) -> None:
    store = kind.open()
    store.save(hard_state, ())

    store = kind.reopen(store)

    assert store.load() == StoredLog(hard_state, None, ())
    store.close()


@pytest.mark.parametrize("data", [b"", b"\0", bytes(range(256)), b"x" * (1 << 20)])
@pytest.mark.parametrize("entry_kind", list(EntryKind))
def test_an_entry_comes_back_bit_for_bit(kind: Kind, data: bytes, entry_kind: EntryKind) -> None:
    store = kind.open()
    store.save(None, (entry(1, 2**62, data, entry_kind),))

    store = kind.reopen(store)

    assert store.load() == StoredLog(None, None, (entry(1, 2**62, data, entry_kind),))
    store.close()


def test_settings_come_back_and_the_last_value_counts(kind: Kind) -> None:
    store = kind.open()
    for key, value in SETTINGS.items():
        store.set_meta(key, "old")
        store.set_meta(key, value)

    store = kind.reopen(store)

    assert {key: store.get_meta(key) for key in SETTINGS} == SETTINGS
    assert store.get_meta("other") is None
    store.close()


Save = tuple[HardState | None, tuple[Entry, ...]]


@st.composite
def histories(draw: st.DrawFn) -> list[Save]:
    """Saves as Raft makes them: each replaces a suffix of the log, or appends, and the commit index stays inside."""
    saves: list[Save] = []
    length = 0
    for term in range(1, draw(st.integers(1, 8))):
        first = draw(st.integers(1, length + 1))
        datas = draw(st.lists(st.binary(max_size=20), max_size=4))
        entries = tuple(
            entry(index, term, data, draw(st.sampled_from(EntryKind))) for index, data in enumerate(datas, first)
        )
        length = first + len(entries) - 1 if entries else length
        vote = draw(st.none() | st.integers(1, 9))
        hard_state = state(term, vote, draw(st.integers(0, length)))
        saves.append((hard_state if draw(st.booleans()) or length < len(saves) else None, entries))
    return [(kept, entries) for kept, entries in saves if kept is None or kept.commit_index <= _shortest(saves)]


def _shortest(saves: list[Save]) -> int:
    """A commit index that every later log reaches."""
    return min([entries[0].index - 1 for _, entries in saves if entries], default=0)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories())
def test_a_store_holds_what_a_list_would_hold(kind: Kind, history: list[Save]) -> None:
    store = kind.open()
    expected_state: HardState | None = None
    expected: list[Entry] = []
    for hard_state, entries in history:
        if entries and entries[0].index > len(expected) + 1:
            continue  # Raft never leaves a gap
        store.save(hard_state, entries)
        expected_state = hard_state or expected_state
        if entries:
            expected = expected[: entries[0].index - 1] + list(entries)
        assert store.load() == StoredLog(expected_state, None, tuple(expected))

    store = kind.reopen(store)

    assert store.load() == StoredLog(expected_state, None, tuple(expected))
    store.close()


# --- opening a file


def test_a_second_opener_is_refused_with_a_remedy(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / NAME)
    try:
        with pytest.raises(ConfigError, match=r"in use by another process.*--data-dir"):
            SqliteStore(tmp_path / NAME)
        first.save(state(1), (entry(1),))
        assert first.load() == StoredLog(state(1), None, (entry(1),))
    finally:
        first.close()


def test_a_closed_store_can_be_opened_by_the_next(tmp_path: Path) -> None:
    first = SqliteStore(tmp_path / NAME)
    first.close()
    first.close()

    SqliteStore(tmp_path / NAME).close()


def test_each_commit_is_synced_and_no_checkpoint_is_left_to_sqlite(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    run = store._connection.execute
    names = ("journal_mode", "synchronous", "wal_autocheckpoint", "locking_mode", "secure_delete")

    assert [run(f"PRAGMA {name}").fetchone()[0] for name in names] == ["wal", 2, 0, "exclusive", 0]
    store.close()


def test_a_folder_that_cannot_be_written_is_the_operators_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot open .*--data-dir"):
        SqliteStore(tmp_path / "no such folder" / NAME)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    SqliteStore(tmp_path / NAME).close()
    connection = sqlite3.connect(tmp_path / NAME)
    connection.execute(f"PRAGMA user_version={FORMAT_VERSION + 1}")
    connection.execute("DROP TABLE meta")  # nothing is known of what a newer format keeps
    connection.close()

    with pytest.raises(StorageError, match=rf"format {FORMAT_VERSION + 1}.*newer raftgossip"):
        SqliteStore(tmp_path / NAME)


def test_a_copied_file_pair_of_a_running_store_opens_elsewhere(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    store.save(state(3, 1), (entry(1, 3),))
    (tmp_path / "copy").mkdir()
    for path in tmp_path.glob(f"{NAME}*"):
        shutil.copy(path, tmp_path / "copy")
    store.close()

    copied = SqliteStore(tmp_path / "copy" / NAME)
    assert copied.load() == StoredLog(state(3, 1), None, (entry(1, 3),))
    copied.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to have a header" * 30, b"x" * 5000])
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / NAME
    path.write_bytes(content)

    with pytest.raises(StorageError, match=str(path)):
        SqliteStore(path)

    assert path.read_bytes() == content


def test_a_number_that_sqlite_cannot_hold_is_a_storage_error(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    try:
        with pytest.raises(StorageError, match="cannot write"):
            store.save(state(2**63), ())
    finally:
        store.close()


def test_a_store_that_failed_once_takes_nothing_more(tmp_path: Path) -> None:
    # A failed fsync is never repeated as if the first had succeeded.
    store = SqliteStore(tmp_path / NAME)
    store.save(state(1), (entry(1),))
    with pytest.raises(StorageError, match="cannot write") as first:
        store.save(state(2**63), (entry(2),))

    with pytest.raises(StorageError) as second:
        store.save(state(2), (entry(2),))
    with pytest.raises(StorageError):
        store.set_meta("node_id", "3")
    assert str(second.value) == str(first.value)
    store.close()

    reopened = SqliteStore(tmp_path / NAME)
    assert reopened.load() == StoredLog(state(1), None, (entry(1),))
    assert reopened.get_meta("node_id") is None
    reopened.close()


def test_settings_are_saved_with_the_entries_or_not_at_all(kind: Kind) -> None:
    store = kind.open()
    store.save(state(1, 3), (entry(1),), meta={"cluster_id": "größe", "node_id": "3"})

    store = kind.reopen(store)

    assert store.load() == StoredLog(state(1, 3), None, (entry(1),))
    assert (store.get_meta("cluster_id"), store.get_meta("node_id")) == ("größe", "3")
    store.close()


def test_a_refused_save_keeps_no_setting(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / NAME)
    with pytest.raises(StorageError):
        store.save(None, (entry(2**63),), meta={"cluster_id": "größe"})
    store.close()

    reopened = SqliteStore(tmp_path / NAME)
    assert reopened.get_meta("cluster_id") is None
    reopened.close()


@pytest.mark.parametrize("num_entries", [1, 63, 64, 65, 128, 129, 300])
def test_a_batch_of_any_length_comes_back_in_order(tmp_path: Path, num_entries: int) -> None:
    entries = tuple(entry(index, index, bytes([index % 251]) * (index % 7)) for index in range(1, num_entries + 1))
    store = SqliteStore(tmp_path / NAME)
    store.save(state(1), entries)
    store.save(None, entries[num_entries // 2 :])  # once more, over itself

    assert store.load().entries == entries
    store.close()


# --- damage

SAVED_STATE = state(7, 2, 9)
SAVED_ENTRIES = tuple(
    entry(index, 1 + index // 4, bytes([index]) * (5 + 3 * index), list(EntryKind)[index % 3]) for index in range(1, 13)
)
LARGE = entry(13, 6, b"z" * 9000)
SAVED = StoredLog(SAVED_STATE, None, (*SAVED_ENTRIES, LARGE))


@pytest.fixture(scope="module")
def saved_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A closed store with everything in it; its WAL is folded in."""
    path = tmp_path_factory.mktemp("saved") / NAME
    store = SqliteStore(path)
    for key, value in SETTINGS.items():
        store.set_meta(key, value)
    store.save(SAVED_STATE, SAVED.entries)
    store.close()
    assert not path.with_name(f"{NAME}-wal").exists()
    return path.read_bytes()


def load_bytes(folder: Path, data: bytes) -> tuple[StoredLog, dict[str, str | None]]:
    """What a start on a file with this content finds."""
    for leftover in folder.glob(f"{NAME}*"):
        leftover.unlink()
    (folder / NAME).write_bytes(data)
    store = SqliteStore(folder / NAME)
    try:
        return store.load(), {key: store.get_meta(key) for key in SETTINGS}
    finally:
        store.close()


def assert_whole_or_refused(folder: Path, data: bytes) -> bool:
    """Either the file is refused by name, or everything in it is right; returns whether it was refused."""
    try:
        found, kept = load_bytes(folder, data)
    except StorageError as error:
        refusal = str(error)
    else:
        refusal = ""
    if refusal:
        assert str(folder / NAME) in refusal
        assert "--data-dir" in refusal or "newer raftgossip" in refusal
        return True
    assert found == SAVED
    assert all(type(each.data) is bytes for each in found.entries)
    assert kept == SETTINGS
    return False


def used_bytes(data: bytes) -> list[int]:
    """Where something stands: zeros amid zeros carry nothing."""
    return [offset for offset in range(len(data)) if any(data[max(0, offset - 8) : offset + 8])]


@pytest.mark.parametrize("part", range(4))
def test_a_flipped_bit_is_found_or_harmless(tmp_path: Path, saved_file: bytes, part: int) -> None:
    num_refused = 0
    for offset in used_bytes(saved_file)[part::12]:  # together a third of the bytes, every kind of place among them
        damaged = bytearray(saved_file)
        damaged[offset] ^= 1 << (offset % 8)
        num_refused += assert_whole_or_refused(tmp_path, bytes(damaged))

    assert num_refused > 700


def test_bytes_that_turn_into_a_text_are_found(tmp_path: Path, saved_file: bytes) -> None:
    # SQLite tells a blob from a text of the same length by one bit, and both read as the same letters.
    connection_file = tmp_path / "turned.db"
    connection_file.write_bytes(saved_file)
    connection = sqlite3.connect(connection_file)
    connection.execute("UPDATE log SET data = CAST(data AS TEXT) WHERE position = 5")
    connection.commit()
    connection.close()

    with pytest.raises(StorageError, match="log entry 5"):
        load_bytes(tmp_path, connection_file.read_bytes())


@pytest.mark.parametrize("num_pages", range(1, 6))
def test_a_file_cut_after_any_page_is_refused(tmp_path: Path, saved_file: bytes, num_pages: int) -> None:
    assert assert_whole_or_refused(tmp_path, saved_file[: 4096 * num_pages])


def test_a_file_cut_at_any_length_is_refused(tmp_path: Path, saved_file: bytes) -> None:
    for length in range(2, len(saved_file), 397):
        assert assert_whole_or_refused(tmp_path, saved_file[:length])


def test_a_file_cut_to_nothing_is_not_taken_for_a_new_store(tmp_path: Path) -> None:
    # A node that forgot its votes would vote again in the same terms.
    path = tmp_path / NAME
    SqliteStore(path).close()
    path.write_bytes(b"")

    with pytest.raises(StorageError, match=f"{path} is empty or missing.*{NAME}-made.*--data-dir"):
        SqliteStore(path)
    path.unlink()
    with pytest.raises(StorageError, match="is empty or missing"):
        SqliteStore(path)


def test_a_store_whose_creation_was_interrupted_is_new(tmp_path: Path) -> None:
    assert load_bytes(tmp_path, b"") == (StoredLog(None, None, ()), dict.fromkeys(SETTINGS))


EDITS: dict[str, tuple[str, str]] = {
    "UPDATE log SET data = x'00' WHERE position = 4": ("log entry 4", "data"),
    "UPDATE log SET term = 9 WHERE position = 4": ("log entry 4", "term"),
    "UPDATE log SET kind = (kind + 1) % 3 WHERE position = 4": ("log entry 4", "kind"),
    "UPDATE log SET position = 40 WHERE position = 13": ("log entry 13", "position"),
    "DELETE FROM log WHERE position = 4": ("log entry 4", "missing"),
    "DELETE FROM log WHERE position >= 9": ("log entry 9", "committed"),
    "UPDATE hard_state SET term = 8": ("term and vote", "term"),
    "UPDATE hard_state SET voted_for = 1": ("term and vote", "vote"),
    "UPDATE hard_state SET commit_index = 1": ("term and vote", "commit index"),
    "UPDATE meta SET value = '4' WHERE key = 'node_id'": ("setting node_id", "value"),
    "UPDATE meta SET key = 'node_ie' WHERE key = 'node_id'": ("setting node_ie", "key"),
}


@pytest.mark.parametrize("statement", EDITS, ids=[f"{place}, {what}" for place, what in EDITS.values()])
def test_a_changed_row_is_named(tmp_path: Path, saved_file: bytes, statement: str) -> None:
    edited = tmp_path / "edited.db"
    edited.write_bytes(saved_file)
    connection = sqlite3.connect(edited)
    connection.execute(statement)
    connection.commit()
    connection.close()

    with pytest.raises(StorageError, match=EDITS[statement][0]):
        load_bytes(tmp_path, edited.read_bytes())
