"""What Raft must not forget, on disk: term, vote, commit index and log, in one SQLite file.

WAL mode with `synchronous=FULL`: a transaction that was committed survives a power cut, and one that was torn is gone
as a whole, so no half of a Ready is ever seen. Each row carries its own checksum, because SQLite does not notice a
flipped bit in it; a lost row shows in SQLite's own bookkeeping, which is checked at the start. Raft roles are not known
here.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from raftgossip.core.raft.message import Entry, EntryKind, HardState
from raftgossip.errors import ConfigError, StorageError
from raftgossip.ids import LogIndex, NodeId, Term

FORMAT_VERSION = 1
LOCK_WAIT_S = 0.5

_FAILURES = (sqlite3.Error, OverflowError, UnicodeDecodeError)
"""What `sqlite3` raises: the last one when the text of its own error quotes damaged bytes."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE hard_state (id INTEGER PRIMARY KEY CHECK (id = 1), term INTEGER NOT NULL, voted_for INTEGER NOT NULL,
    commit_index INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE log (position INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, data BLOB NOT NULL,
    checksum INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class StoredLog:
    """What a disk holds; a new one holds None and nothing."""

    hard_state: HardState | None
    entries: tuple[Entry, ...]


class Storage(Protocol):
    """Durable state of one node. `save` blocks until the disk has it; used by one thread at a time."""

    def load(self) -> StoredLog:
        """Read everything back.

        Raises:
            StorageError: a row is damaged or missing; names the file and the entry.
        """

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Write both in one transaction; `entries` replace everything from the first one's index on.

        Raises:
            StorageError: the disk failed. The process must stop: what it would promise next may be lost.
        """

    def get_meta(self, key: str) -> str | None:
        """A remembered setting; None: never set."""

    def set_meta(self, key: str, value: str) -> None:
        """Remember a setting; durable when this returns."""

    def close(self) -> None:
        """Let go of the file."""


class MemoryStore:
    """Forgets everything with the process: for a node without a state directory, and for tests."""

    def __init__(self) -> None:
        self._hard_state: HardState | None = None
        self._entries: list[Entry] = []
        self._meta: dict[str, str] = {}

    def load(self) -> StoredLog:
        """What was saved."""
        return StoredLog(self._hard_state, tuple(self._entries))

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Keep both; `entries` replace everything from the first one's index on."""
        if hard_state is not None:
            self._hard_state = hard_state
        if entries:
            self._entries[entries[0].index - 1 :] = entries

    def get_meta(self, key: str) -> str | None:
        """A remembered setting; None: never set."""
        return self._meta.get(key)

    def set_meta(self, key: str, value: str) -> None:
        """Remember a setting."""
        self._meta[key] = value

    def close(self) -> None:
        """Nothing to let go of."""


class SqliteStore:
    """One SQLite file, held exclusively by this process. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it.

        Raises:
            ConfigError: another process holds it, or it cannot be created.
            StorageError: it is not a store, damaged, or of a newer version.
        """
        self._path = path
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise ConfigError(f"cannot open {path}: {error}; give a --data-dir that this user can write") from None
        try:
            self._open()
        except BaseException:
            self._connection.close()
            raise

    def _open(self) -> None:
        run = self._connection.execute
        try:
            run("PRAGMA locking_mode=EXCLUSIVE")
            run("PRAGMA journal_mode=WAL")
            run("PRAGMA synchronous=FULL")
            run("BEGIN IMMEDIATE")
            (version,) = run("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";"):
                    run(statement)
                run(f"PRAGMA user_version={FORMAT_VERSION}")
            run("COMMIT")
            (verdict,) = run("PRAGMA quick_check(1)").fetchone()
            settings = run("SELECT key, value, checksum FROM meta").fetchall() if version <= FORMAT_VERSION else []
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise ConfigError(
                    f"{self._path} is in use by another process: give each node its own --data-dir, or stop the other"
                ) from None
            raise self._failure("open", error) from None
        except _FAILURES as error:
            raise self._failure("open", error) from None
        if version > FORMAT_VERSION:
            raise StorageError(
                f"{self._path} has format {version}, this version knows {FORMAT_VERSION}: install the newer raftgossip"
            )
        if verdict != "ok":
            raise self._damaged(str(verdict))
        for key, value, checksum in settings:
            if checksum != _checksum(key, value):
                raise self._damaged(f"the setting {key}")

    def load(self) -> StoredLog:
        """Read everything back, comparing each row's checksum."""
        with self._lock:
            try:
                state_rows = self._connection.execute(
                    "SELECT term, voted_for, commit_index, checksum FROM hard_state"
                ).fetchall()
                log_rows = self._connection.execute(
                    "SELECT position, term, kind, data, checksum FROM log ORDER BY position"
                ).fetchall()
            except _FAILURES as error:
                raise self._failure("read", error) from None
        hard_state = None
        for term, voted_for, commit_index, checksum in state_rows:
            if checksum != _checksum(term, voted_for, commit_index):
                raise self._damaged("the term and vote")
            hard_state = HardState(Term(term), NodeId(voted_for) or None, LogIndex(commit_index))
        entries = tuple(self._entry(place, row) for place, row in enumerate(log_rows, start=1))
        if hard_state is not None and hard_state.commit_index > len(entries):
            raise self._damaged(f"log entry {len(entries) + 1}")
        return StoredLog(hard_state, entries)

    def _entry(self, place: int, row: tuple[int, int, int, bytes, int]) -> Entry:
        position, term, kind, data, checksum = row
        if position != place or checksum != _checksum(position, term, kind, data):
            raise self._damaged(f"log entry {place}")
        return Entry(LogIndex(position), Term(term), EntryKind(kind), data)

    def save(self, hard_state: HardState | None, entries: Sequence[Entry]) -> None:
        """Write both in one transaction, and return when it is on disk."""
        run = self._connection.execute
        with self._lock:
            try:
                run("BEGIN IMMEDIATE")
                if entries:
                    run("DELETE FROM log WHERE position >= ?", (entries[0].index,))
                    self._connection.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?)", map(_row, entries))
                if hard_state is not None:
                    state = (hard_state.term, hard_state.voted_for or 0, hard_state.commit_index)
                    run("INSERT OR REPLACE INTO hard_state VALUES (1, ?, ?, ?, ?)", (*state, _checksum(*state)))
                run("COMMIT")
            except _FAILURES as error:
                raise self._failure("write", error) from None

    def get_meta(self, key: str) -> str | None:
        """A remembered setting; None: never set."""
        with self._lock:
            try:
                row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
            except _FAILURES as error:
                raise self._failure("read", error) from None
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Remember a setting; durable when this returns."""
        with self._lock:
            try:
                row = (key, value, _checksum(key, value))
                self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", row)
            except _FAILURES as error:
                raise self._failure("write", error) from None

    def close(self) -> None:
        """Let go of the file. Harmless when repeated."""
        with self._lock:
            self._connection.close()

    def _failure(self, verb: str, error: Exception) -> StorageError:
        return StorageError(f"cannot {verb} {self._path}: {error}; {_REMEDY}")

    def _damaged(self, what: str) -> StorageError:
        return StorageError(f"{self._path} is damaged at {what}; {_REMEDY}")


_REMEDY = (
    "free the disk or restore the file from a backup; else start this machine as a new node: "
    "an empty --data-dir and another --node-id"
)


def _row(entry: Entry) -> tuple[int, int, int, bytes, int]:
    fields = (entry.index, entry.term, entry.kind.value, entry.data)
    return (*fields, _checksum(*fields))


def _checksum(*values: int | bytes | str) -> int:
    """CRC-32 over the values, each with its type and length in front: a flipped bit can turn bytes into a text."""
    crc = 0
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        crc = zlib.crc32(data, zlib.crc32(f"{type(value).__name__} {len(data)}:".encode(), crc))
    return crc
