"""The rows of a store's file: their tables, their checksums, and how a file of the version before becomes one of this.

A row's checksum covers all of it. SQLite would give back a flipped bit as it stands.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Iterable

from raftgossip.core.raft.message import Entry

FORMAT_VERSION = 2
"""2: snapshots, and the checksums of entries and hard state are over packed numbers. 1: neither."""
MAX_ROWS = 64
"""Entries that one statement writes: one call of SQLite for many rows costs a third less than one for each."""

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE hard_state (id INTEGER PRIMARY KEY CHECK (id = 1), term INTEGER NOT NULL, "
    "voted_for INTEGER NOT NULL, commit_index INTEGER NOT NULL, checksum INTEGER NOT NULL)",
    "CREATE TABLE log (position INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, "
    "data BLOB NOT NULL, checksum INTEGER NOT NULL)",
)
_SNAPSHOT_TABLE = (
    "CREATE TABLE snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), last_index INTEGER NOT NULL, "
    "last_term INTEGER NOT NULL, configuration BLOB NOT NULL, base_index INTEGER NOT NULL, "
    "base_term INTEGER NOT NULL, data_checksum INTEGER NOT NULL, checksum INTEGER NOT NULL, data BLOB NOT NULL)"
)
_INSERTS = tuple(
    "INSERT INTO log VALUES " + ", ".join(["(?, ?, ?, ?, ?)"] * num_rows)  # noqa: S608 - nothing in it comes from outside
    for num_rows in range(MAX_ROWS + 1)
)
_NUMBERS = struct.Struct("<4Q")


def create_tables(connection: sqlite3.Connection) -> None:
    """Lay out a new file; part of the caller's transaction."""
    for statement in (*_TABLES, _SNAPSHOT_TABLE):
        connection.execute(statement)


def migrate_tables(connection: sqlite3.Connection) -> str | None:
    """Bring a file of version 1 to this one; part of the caller's transaction. Returns what is damaged, None: nothing.

    No row changes but for its checksum, and only where the old one was right: damage is not blessed with a new one.
    """
    connection.execute(_SNAPSHOT_TABLE)
    changed: list[tuple[int, int]] = []
    for term, voted_for, commit_index, checksum in connection.execute(
        "SELECT term, voted_for, commit_index, checksum FROM hard_state"
    ):
        if checksum != text_checksum(term, voted_for, commit_index):
            return "the term and vote"
        changed.append((row_checksum(term, voted_for, commit_index), 1))
    connection.executemany("UPDATE hard_state SET checksum = ? WHERE id = ?", changed)
    changed.clear()
    for position, *fields, checksum in connection.execute("SELECT position, term, kind, data, checksum FROM log"):
        if checksum != text_checksum(position, *fields):
            return f"log entry {position}"
        changed.append((row_checksum(position, *fields), position))
    connection.executemany("UPDATE log SET checksum = ? WHERE position = ?", changed)
    return None


def insert_entries(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Write at most `MAX_ROWS` entries whose places are free."""
    values: list[int | bytes] = []
    pack, crc32 = _NUMBERS.pack, zlib.crc32  # once a row, between a proposal and its fsync
    for entry in entries:
        index, term, kind, data = entry.index, entry.term, entry.kind.value, entry.data
        values += (index, term, kind, data, crc32(data, crc32(pack(index, term, kind, len(data)))))
    connection.execute(_INSERTS[len(values) // 5], values)


def row_checksum(first: int, second: int, third: int, data: bytes = b"") -> int:
    """CRC-32 over three numbers, the length and the bytes; -1, which is none, if they are of other types.

    A flipped bit can turn a row's bytes into a text, or a number into a fraction.
    """
    try:
        return zlib.crc32(data, zlib.crc32(_NUMBERS.pack(first, second, third, len(data))))
    except (struct.error, TypeError):
        return -1


def text_checksum(*values: int | bytes | str) -> int:
    """CRC-32 over any values, each with its type and length in front; for rows that are written seldom."""
    crc = 0
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode()
        crc = zlib.crc32(data, zlib.crc32(f"{type(value).__name__} {len(data)}:".encode(), crc))
    return crc
