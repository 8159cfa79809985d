"""After a crash at any moment a store holds all that was acknowledged; what the crash cannot have done is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from raftgossip.core.raft.message import Entry, EntryKind, HardState
from raftgossip.errors import ConfigError, StorageError
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store import CHECKPOINT_BYTES, MemoryStore, SqliteStore, StoredLog

NAME = "raft.db"
Save = tuple[HardState | None, tuple[Entry, ...]]


def entry(index: int, term: int = 1, data: bytes = b"data") -> Entry:
    return Entry(LogIndex(index), Term(term), EntryKind.COMMAND, data)


def state(term: int, voted_for: int, commit_index: int) -> HardState:
    return HardState(Term(term), NodeId(voted_for), LogIndex(commit_index))


SAVES: list[Save] = [(state(term, 1, 0), (entry(term, term), entry(term + 1, term))) for term in range(1, 7)]


def after(num_saves: int) -> StoredLog:
    store = MemoryStore()
    for hard_state, entries in SAVES[:num_saves]:
        store.save(hard_state, entries)
    return store.load()


def load_bytes(folder: Path, data: bytes, wal: bytes) -> StoredLog:
    """What a start on these two files finds."""
    for leftover in folder.glob(f"{NAME}*"):
        leftover.unlink()
    (folder / NAME).write_bytes(data)
    (folder / f"{NAME}-wal").write_bytes(wal)
    store = SqliteStore(folder / NAME)
    try:
        return store.load()
    finally:
        store.close()


def crashed_files(folder: Path, saves: list[Save]) -> tuple[bytes, bytes, list[int]]:
    """The two files as a crash after the last save leaves them, and the WAL's length after each save."""
    path = folder / "crash.db"
    store = SqliteStore(path)
    wal = path.with_name("crash.db-wal")
    lengths = []
    for hard_state, entries in saves:
        store.save(hard_state, entries)
        lengths.append(wal.stat().st_size)
    content = path.read_bytes(), wal.read_bytes()
    store.close()
    return *content, lengths


def test_a_torn_tail_loses_only_the_save_that_was_not_finished(tmp_path: Path) -> None:
    data, wal, lengths = crashed_files(tmp_path, SAVES)
    cuts = sorted({*range(lengths[-2] + 1, lengths[-1], 61), *range(lengths[-2], lengths[-1], 4120), lengths[-1] - 1})

    for cut in cuts:
        found = load_bytes(tmp_path, data, wal[:cut])
        assert found == after(len(SAVES) - 1), f"cut at {cut}"
    assert load_bytes(tmp_path, data, wal) == after(len(SAVES))


def test_a_tail_torn_anywhere_leaves_a_state_that_once_was(tmp_path: Path) -> None:
    data, wal, lengths = crashed_files(tmp_path, SAVES)

    for cut in range(lengths[0], len(wal), 997):
        num_whole = sum(length <= cut for length in lengths)
        assert load_bytes(tmp_path, data, wal[:cut]) == after(num_whole), f"cut at {cut}"


def test_a_save_whose_pages_reached_the_disk_out_of_order_is_dropped_as_a_whole(tmp_path: Path) -> None:
    data, wal, lengths = crashed_files(tmp_path, SAVES)
    assert len(wal) == lengths[-1]

    for start in range(lengths[-2] // 4096 * 4096, len(wal), 4096):
        torn = bytearray(wal)
        lost = slice(max(start, lengths[-2]), min(start + 4096, len(wal)))
        torn[lost] = bytes(lost.stop - lost.start)
        assert load_bytes(tmp_path, data, bytes(torn)) == after(len(SAVES) - 1), f"page at {start}"


def test_a_bit_flipped_in_the_last_save_loses_at_most_that_one(tmp_path: Path) -> None:
    # Mostly, nothing tells it from a save that the crash itself tore.
    data, wal, lengths = crashed_files(tmp_path, SAVES)

    for offset in sorted({*range(lengths[-2], lengths[-2] + 24), *range(lengths[-2], len(wal), 509)}):
        damaged = bytearray(wal)
        damaged[offset] ^= 1 << (offset % 8)
        try:
            found = load_bytes(tmp_path, data, bytes(damaged))
        except StorageError as error:
            assert lengths[-2] + 4 <= offset < lengths[-2] + 8, "it looks like the end of a save before the last"
            assert f"{NAME}-wal is damaged at frame" in str(error)  # noqa: PT017 - only some flips are refused
        else:
            assert found in (after(len(SAVES) - 1), after(len(SAVES))), f"bit {offset % 8} of byte {offset}"


def test_a_bit_flipped_before_the_last_save_is_found(tmp_path: Path) -> None:
    # SQLite would drop all saves from there on, and the node would have forgotten what it had promised.
    data, wal, lengths = crashed_files(tmp_path, SAVES)

    frame_heads = (32 + num_frame * 4120 + place for num_frame in range(3) for place in range(24))
    for offset in sorted({*range(32), *frame_heads, *range(56, lengths[-2], 499)}):
        damaged = bytearray(wal)
        damaged[offset] ^= 1 << (offset % 8)
        for _ in range(2):  # a refusal destroys nothing, so the next start is refused as well
            with pytest.raises(StorageError, match=rf"{NAME}-wal is damaged at (frame \d+|its header).*--data-dir"):
                load_bytes(tmp_path, data, bytes(damaged))
        assert (tmp_path / f"{NAME}-wal").read_bytes() == bytes(damaged)


def test_older_saves_that_the_wal_still_holds_are_no_damage(tmp_path: Path) -> None:
    # After a checkpoint the WAL is written over from its beginning; what stands behind is of before.
    saves: list[Save] = [
        (state(term, 1, 0), (entry(term, term, b"x" * (CHECKPOINT_BYTES // 4)),)) for term in range(1, 6)
    ]
    saves += [(state(term, 1, 0), (entry(term, term),)) for term in range(6, 9)]

    data, wal, lengths = crashed_files(tmp_path, saves)

    assert lengths[-1] == lengths[-2] == lengths[-3]
    assert load_bytes(tmp_path, data, wal) == StoredLog(saves[-1][0], None, tuple(new[0] for _, new in saves))


def test_what_a_first_crash_tore_does_not_make_a_second_one_look_like_damage(tmp_path: Path) -> None:
    many: Save = (None, tuple(entry(index, 9, b"x" * 700) for index in range(3, 60)))
    data, wal, lengths = crashed_files(tmp_path, [SAVES[0], many])
    torn = bytearray(wal)
    torn[lengths[0] + 100] ^= 1
    assert load_bytes(tmp_path, data, bytes(torn)) == after(1)
    for name, content in ((NAME, data), (f"{NAME}-wal", bytes(torn))):
        (tmp_path / name).write_bytes(content)

    store = SqliteStore(tmp_path / NAME)
    store.save(*SAVES[1])
    store.save(*SAVES[2])
    data, wal = (tmp_path / NAME).read_bytes(), (tmp_path / f"{NAME}-wal").read_bytes()
    store.close()
    torn = bytearray(wal)
    torn[len(wal) - 4000] ^= 1

    assert load_bytes(tmp_path, data, bytes(torn)) == after(2)


def test_a_running_store_is_in_use_whatever_stands_in_its_wal(tmp_path: Path) -> None:
    wal = tmp_path / f"{NAME}-wal"
    first = SqliteStore(tmp_path / NAME)
    for hard_state, entries in SAVES:
        first.save(hard_state, entries)
    content = wal.read_bytes()
    wal.write_bytes(bytes([content[0] ^ 1]) + content[1:])  # as if read in the middle of a write

    with pytest.raises(ConfigError, match="in use by another process"):
        SqliteStore(tmp_path / NAME)

    wal.write_bytes(content)
    assert first.load() == after(len(SAVES))
    first.close()


def test_a_wal_without_its_file_is_refused_and_kept(tmp_path: Path) -> None:
    _, wal, _ = crashed_files(tmp_path, SAVES)

    with pytest.raises(StorageError, match=f"{NAME}-wal tells"):
        load_bytes(tmp_path, b"", wal)

    assert (tmp_path / f"{NAME}-wal").read_bytes() == wal


SAVING_LOOP = """
import sys
from pathlib import Path
from raftgossip.core.raft.message import Entry, EntryKind, HardState
from raftgossip.runtime.store import SqliteStore

store = SqliteStore(Path(sys.argv[1]))
print("open", flush=True)
for index in range(1, 100_000):
    entry = Entry(index, index, EntryKind.COMMAND, b"x" * (index % 700))
    store.save(HardState(index, 1, index - 1), (entry,))
    print(index, flush=True)
"""


@pytest.mark.parametrize("num_acknowledged", [1, 7, 40])
def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path, num_acknowledged: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING_LOOP, str(tmp_path / NAME)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(num_acknowledged + 1)]
    process.kill()
    lines += process.stdout.read().split()
    process.wait()
    process.stdout.close()
    last = int(lines[-1])

    store = SqliteStore(tmp_path / NAME)
    found = store.load()
    store.close()

    assert lines == ["open", *map(str, range(1, last + 1))]
    assert last >= num_acknowledged
    assert len(found.entries) in (last, last + 1), "the save under way may have been finished"
    assert found.entries[:last] == tuple(entry(index, index, b"x" * (index % 700)) for index in range(1, last + 1))
    assert found.hard_state == state(len(found.entries), 1, len(found.entries) - 1)
