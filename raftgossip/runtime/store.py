"""What Raft must not forget, on disk: term, vote, commit index, log and snapshot, in one SQLite file.

WAL mode with `synchronous=FULL`: a transaction that was committed survives a power cut, and one that was torn is gone
as a whole, so no half of a Ready is ever seen. Each row carries its own checksum, because SQLite does not notice a
flipped bit in it; a lost row shows in SQLite's own bookkeeping, which is checked at the start; and damage in the WAL,
which SQLite would take for a torn end, is told from one before SQLite sees it (`find_wal_damage`). Raft roles are not
known here.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import struct
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from raftgossip.core.raft.message import Configuration, Entry, EntryKind, HardState, Snapshot, SnapshotSave
from raftgossip.errors import ConfigError, StorageError, StorageFull
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store_rows import (
    FORMAT_VERSION,
    MAX_ROWS,
    create_tables,
    insert_entries,
    migrate_tables,
    row_checksum,
    text_checksum,
)
from raftgossip.runtime.wal_damage import find_wal_damage

LOCK_WAIT_S = 0.5
CHECKPOINT_BYTES = 4 << 20
"""So much is written to the WAL before it is folded into the file. More: rarer pauses, but longer ones, and a start
after a crash reads that much. Not left to SQLite, which keeps quiet when a write or fsync of its own fails there."""
WAL_KEPT_BYTES = 8 << 20
"""A snapshot lets the WAL grow beyond this; it is cut back when it is folded in. The rest is written over in place,
which costs the file system less than growing a file."""

_FAILURES = (sqlite3.Error, OverflowError, UnicodeDecodeError, struct.error, OSError)
"""What a failing disk or a number out of bounds raises; `UnicodeDecodeError` when the text of SQLite's own error quotes
damaged bytes."""

# No auto_vacuum: pages that a compaction frees are taken by what comes next, so the file stays at its largest size,
# about one log between two snapshots and one snapshot; moving pages to shrink it would be undone by the next entries.
# No secure_delete (the default of some builds): it would write every freed page once more, in the commits' way.
_SETTINGS = (
    "locking_mode=EXCLUSIVE",
    "journal_mode=WAL",
    "synchronous=FULL",
    "wal_autocheckpoint=0",
    f"journal_size_limit={WAL_KEPT_BYTES}",
    "secure_delete=OFF",
)


# What is no blob any more is read as NULL, which no checksum is right for; as a text, it might not be read at all.
_READ_LOG = (
    "SELECT position, term, kind, CASE typeof(data) WHEN 'blob' THEN data END, checksum FROM log ORDER BY position"
)
_READ_SNAPSHOT = (
    "SELECT last_index, last_term, CASE typeof(configuration) WHEN 'blob' THEN configuration END, base_index, "
    "base_term, data_checksum, CASE typeof(data) WHEN 'blob' THEN data END, checksum FROM snapshot"
)


@dataclass(frozen=True, slots=True)
class StoredLog:
    """What a disk holds; a new one holds None and nothing."""

    hard_state: HardState | None
    snapshot: SnapshotSave | None
    """Its `is_received` is always false: whoever sent it, the state is restored from it at a start."""
    entries: tuple[Entry, ...]
    """Those behind the snapshot's `base_index`, without gaps."""


class Storage(Protocol):
    """Durable state of one node. `save` blocks until the disk has it; used by one thread at a time."""

    def load(self) -> StoredLog:
        """Read everything back.

        Raises:
            StorageError: a row is damaged or missing; names the file and the entry.
        """

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        snapshot: SnapshotSave | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        """Write all of it in one transaction: hard state, snapshot, entries, settings.

        A snapshot replaces the one before and the entries up to its `base_index`, or all entries if it was received.
        `entries` replace everything from the first one's index on.

        Raises:
            StorageFull: no room; nothing of it was written.
            StorageError: the disk failed. The process must stop: what it would promise next may be lost. Every later
                call fails as well, because an fsync that is repeated after a failed one may claim what is not so.
        """

    def get_meta(self, key: str) -> str | None:
        """A remembered setting; None: never set."""

    def set_meta(self, key: str, value: str) -> None:
        """Remember a setting; durable when this returns. Raises as `save` does."""

    def close(self) -> None:
        """Let go of the file."""


class MemoryStore:
    """Forgets everything with the process: for a node without a state directory, and for tests."""

    def __init__(self) -> None:
        self._hard_state: HardState | None = None
        self._snapshot: SnapshotSave | None = None
        self._entries: list[Entry] = []
        self._meta: dict[str, str] = {}

    def load(self) -> StoredLog:
        """What was saved."""
        return StoredLog(self._hard_state, self._snapshot, tuple(self._entries))

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        snapshot: SnapshotSave | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        """Keep all of it, replacing what it replaces."""
        if hard_state is not None:
            self._hard_state = hard_state
        if snapshot is not None:
            kept = () if snapshot.is_received else self._entries
            self._entries = [entry for entry in kept if entry.index > snapshot.base_index]
            self._snapshot = replace(snapshot, is_received=False)
        if entries:
            first = self._entries[0].index if self._entries else entries[0].index
            self._entries[max(0, entries[0].index - first) :] = entries
        self._meta.update(meta or {})

    def get_meta(self, key: str) -> str | None:
        """A remembered setting; None: never set."""
        return self._meta.get(key)

    def set_meta(self, key: str, value: str) -> None:
        """Remember a setting."""
        self._meta[key] = value

    def close(self) -> None:
        """Nothing to let go of."""


class SqliteStore:
    """One SQLite file, held exclusively by this process. Thread-safe.

    Beside it lies an empty file `-made`: without it, a file that was emptied could not be told from a new one, and the
    node would vote again in terms in which it has voted.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or create it; one of an older version is migrated.

        Raises:
            ConfigError: another process holds it, or it cannot be created.
            StorageFull: no room to create or migrate it; it is as it was.
            StorageError: it is not a store, damaged, or of a newer version.
        """
        self._path = path
        self._made_path = path.with_name(f"{path.name}-made")
        self._lock = threading.Lock()
        self._failed: StorageError | None = None
        self._num_unfolded_bytes = 0
        self._last_index = 0
        self._refuse_lost_content()
        try:
            self._connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            if _is_full(error, path):
                raise self._failure("create", error) from None
            raise ConfigError(f"cannot open {path}: {error}; give a --data-dir that this user can write") from None
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    # --- opening

    def _refuse_lost_content(self) -> None:
        """Refuse what SQLite would pass over in silence, before it can tidy the traces away."""
        wal_path = self._path.with_name(f"{self._path.name}-wal")
        try:
            wal = wal_path.read_bytes() if wal_path.exists() else b""
            is_empty = not self._path.exists() or self._path.stat().st_size == 0
            was_made = self._made_path.exists()
        except OSError as error:
            raise self._failure("read", error) from None
        # SQLite writes and syncs the file's first page before it makes a WAL, so no crash leaves a WAL alone.
        if is_empty and (wal or was_made):
            trace = wal_path if wal else self._made_path
            raise StorageError(f"{self._path} is empty or missing, but {trace} tells of a store there; {_REMEDY}")
        frame = find_wal_damage(wal)
        if frame is None:
            return
        self._refuse_if_in_use()
        raise StorageError(f"{wal_path} is damaged at {frame}, and saved data stands behind it; {_REMEDY}")

    def _refuse_if_in_use(self) -> None:
        """Read as much as shows whether another process holds the file, changing nothing."""
        try:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT_S)
            try:
                connection.execute("PRAGMA locking_mode=EXCLUSIVE")
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:
                connection.close()
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise self._in_use() from None

    def _open(self) -> None:
        run = self._connection.execute
        try:
            for setting in _SETTINGS:
                run(f"PRAGMA {setting}").fetchall()
            # What a crash left in the WAL is folded in and cut off, so that it is never mistaken for a later process's.
            run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            run("BEGIN IMMEDIATE")
            (version,) = run("PRAGMA user_version").fetchone()
            if version > FORMAT_VERSION:
                raise StorageError(
                    f"{self._path} has format {version}, this version knows {FORMAT_VERSION}: "
                    "install the newer raftgossip"
                )
            (verdict,) = run("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise self._damaged(str(verdict))
            if version < FORMAT_VERSION:
                self._lay_out(version)
                run(f"PRAGMA user_version={FORMAT_VERSION}")
            for key, value, checksum in run("SELECT key, value, checksum FROM meta"):
                if checksum != text_checksum(key, value):
                    raise self._damaged(f"the setting {key}")
            (self._last_index,) = run("SELECT coalesce(max(position), 0) FROM log").fetchone()
            run("COMMIT")
            self._mark_made()
        except _FAILURES as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise self._in_use() from None
            raise self._failure("open", error) from None

    def _lay_out(self, version: int) -> None:
        if version == 0:
            create_tables(self._connection)
        elif (damaged := migrate_tables(self._connection)) is not None:
            raise self._damaged(damaged)

    def _mark_made(self) -> None:
        if self._made_path.exists():
            return
        self._made_path.touch()
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    # --- reading

    def load(self) -> StoredLog:
        """Read everything back, comparing each row's checksum."""
        with self._lock:
            try:
                run = self._connection.execute
                state_rows = run("SELECT term, voted_for, commit_index, checksum FROM hard_state").fetchall()
                snapshot_rows = run(_READ_SNAPSHOT).fetchall()
                log_rows = run(_READ_LOG).fetchall()
            except _FAILURES as error:
                raise self._failure("read", error) from None
        hard_state = None
        for term, voted_for, commit_index, checksum in state_rows:
            if checksum != row_checksum(term, voted_for, commit_index):
                raise self._damaged("the term and vote")
            hard_state = HardState(Term(term), NodeId(voted_for) or None, LogIndex(commit_index))
        snapshot = self._snapshot(*snapshot_rows[0]) if snapshot_rows else None
        base_index = 0 if snapshot is None else snapshot.base_index
        entries = tuple(self._entry(place, row) for place, row in enumerate(log_rows, start=base_index + 1))
        last_index = base_index + len(entries)
        covered_index = 0 if snapshot is None else snapshot.snapshot.last_index
        if max(covered_index, 0 if hard_state is None else hard_state.commit_index) > last_index:
            raise self._damaged(f"log entry {last_index + 1}")
        return StoredLog(hard_state, snapshot, entries)

    def _entry(self, place: int, row: tuple[int, int, int, bytes, int]) -> Entry:
        position, term, kind, data, checksum = row
        if position != place or checksum != row_checksum(position, term, kind, data):
            raise self._damaged(f"log entry {place}")
        return Entry(LogIndex(position), Term(term), EntryKind(kind), data)

    def _snapshot(
        self,
        last_index: int,
        last_term: int,
        configuration: bytes,
        base_index: int,
        base_term: int,
        data_checksum: int,
        data: bytes | None,
        checksum: int,
    ) -> SnapshotSave:
        numbers = (last_index, last_term, configuration, base_index, base_term, data_checksum)
        if checksum != text_checksum(*numbers) or data is None or zlib.crc32(data) != data_checksum:
            raise self._damaged(f"the snapshot of log entry {last_index}")
        members = Configuration.decode(configuration)
        snapshot = Snapshot(LogIndex(last_index), Term(last_term), members, data, data_checksum)
        return SnapshotSave(snapshot, LogIndex(base_index), Term(base_term), is_received=False)

    def get_meta(self, key: str) -> str | None:
        """A remembered setting; None: never set."""
        with self._lock:
            try:
                row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            except _FAILURES as error:
                raise self._failure("read", error) from None
        return None if row is None else str(row[0])

    # --- writing

    def save(
        self,
        hard_state: HardState | None,
        entries: Sequence[Entry],
        snapshot: SnapshotSave | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> None:
        """Write all of it in one transaction, and return when it is on disk."""
        run = self._connection.execute
        with self._lock:
            if self._failed is not None:
                raise type(self._failed)(str(self._failed))
            try:
                run("BEGIN IMMEDIATE")
                if hard_state is not None:
                    state = (hard_state.term, hard_state.voted_for or 0, hard_state.commit_index)
                    run("INSERT OR REPLACE INTO hard_state VALUES (1, ?, ?, ?, ?)", (*state, row_checksum(*state)))
                if snapshot is not None:
                    self._write_snapshot(snapshot)
                if entries:
                    self._write_entries(entries)
                for key, value in meta.items() if meta else ():
                    run("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, value, text_checksum(key, value)))
                run("COMMIT")
                self._fold_when_due(entries, snapshot)
            except _FAILURES as error:
                self._failed = self._failure("write", error)
                raise self._failed from None

    def _write_entries(self, entries: Sequence[Entry]) -> None:
        if entries[0].index <= self._last_index:
            self._connection.execute("DELETE FROM log WHERE position >= ?", (entries[0].index,))
        for start in range(0, len(entries), MAX_ROWS):
            insert_entries(self._connection, entries[start : start + MAX_ROWS])
        self._last_index = entries[-1].index

    def _write_snapshot(self, save: SnapshotSave) -> None:
        run, snapshot = self._connection.execute, save.snapshot
        if save.is_received:
            run("DELETE FROM log")
            self._last_index = 0
        else:
            run("DELETE FROM log WHERE position <= ?", (save.base_index,))
        # Deleted first, not replaced: so the new one takes the old one's pages, and the file does not hold both.
        run("DELETE FROM snapshot")
        numbers = (
            snapshot.last_index,
            snapshot.last_term,
            snapshot.configuration.encode(),
            save.base_index,
            save.base_term,
            snapshot.checksum,
        )
        row = (*numbers, text_checksum(*numbers), snapshot.data)
        run("INSERT INTO snapshot VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _fold_when_due(self, entries: Sequence[Entry], snapshot: SnapshotSave | None) -> None:
        """Fold the WAL into the file once enough has been written; what was saved is durable before and after."""
        # Two pages or so are written whatever is saved; the count need not be right to the byte.
        self._num_unfolded_bytes += 8192 + sum([len(entry.data) for entry in entries])
        if snapshot is not None:
            self._num_unfolded_bytes += len(snapshot.snapshot.data)
        if self._num_unfolded_bytes >= CHECKPOINT_BYTES:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._num_unfolded_bytes = 0

    def set_meta(self, key: str, value: str) -> None:
        """Remember a setting; durable when this returns."""
        self.save(None, (), meta={key: value})

    def close(self) -> None:
        """Let go of the file. Harmless when repeated."""
        with self._lock:
            self._connection.close()

    def _failure(self, verb: str, error: Exception) -> StorageError:
        if _is_full(error, self._path):
            return StorageFull(
                f"no room left to {verb} {self._path}: {error}; free some room on its disk and start it again: "
                "nothing that was confirmed is lost"
            )
        return StorageError(f"cannot {verb} {self._path}: {error}; {_REMEDY}")

    def _damaged(self, what: str) -> StorageError:
        return StorageError(f"{self._path} is damaged at {what}; {_REMEDY}")

    def _in_use(self) -> ConfigError:
        return ConfigError(
            f"{self._path} is in use by another process: give each node its own --data-dir, or stop the other"
        )


_REMEDY = (
    "see to the disk; if the file stays as it is, start this machine as a new node: an empty --data-dir and another "
    "--node-id. No older copy of the file: it would have forgotten votes and entries that others count on"
)


def _is_full(error: Exception, path: Path) -> bool:
    """Whether a write failed for want of room. Some systems only say so when asked."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL or getattr(error, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if code not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return False
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return False
    return room.f_bavail == 0 or (room.f_files > 0 and room.f_favail == 0)
