"""The registry on disk, in one SQLite file: what a gateway knew, so that it serves the same list after a restart.

WAL mode, `synchronous=FULL`: what was saved survives a power cut, and what was torn is gone as a whole. Each row has
a checksum, because SQLite does not notice a flipped bit in it. What is known about founding is folded into the file
itself at once: a damaged end of the WAL looks like a torn one, and must not bring the bootstrap of a second cluster.
A gateway can always do without its file, so whatever is wrong with it ends in one sentence that says how.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path

from gateway.registry_values import SUSPECTED, Memory, NodeRecord, Registration, Unsaved
from raftgossip.errors import ConfigError, StorageError, StorageFull
from raftgossip.ids import Address, parse_node_id

FILE_NAME = "registry.sqlite"
FORMAT_VERSION = 1
LOCK_WAIT_S = 0.5
MIN_FILE_BYTES = 512
"""The smallest page that SQLite knows."""

_SETTINGS = ("locking_mode=EXCLUSIVE", "journal_mode=WAL", "synchronous=FULL")
_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE nodes (node_id INTEGER PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL)",
)
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError)
"""What a row raises whose checksum is right and whose content is not what this version writes."""


class RegistryStore:
    """The file in a gateway's data directory, held exclusively by this process. Thread-safe."""

    def __init__(self, path: Path) -> None:
        """Open the file, or create it, readable by this user alone.

        Raises:
            ConfigError: it is damaged, of a newer version, held by another process, or cannot be created; names it and
                what to do.
            StorageFull: there is no room to create it.
        """
        self._path = path
        self._lock = threading.Lock()
        self._failed: StorageError | None = None
        self._facts: dict[str, str] = {}
        self._num_facts = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._refuse_lost_content()
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._connection = sqlite3.connect(path, timeout=LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            if _is_full(error, path):
                raise self._failure(error) from None
            raise ConfigError(f"cannot open {path}: {error}; give a --data-dir that this user can write") from None
        try:
            self._open()
            self._memory = self._read()
        except BaseException:
            self._connection.close()
            raise

    def load(self) -> Memory | None:
        """What was in the file when it was opened; None: it is new."""
        return self._memory

    def save(self, unsaved: Unsaved) -> None:
        """Write all of it in one transaction; it is on disk when this returns.

        Raises:
            StorageFull: no room; nothing of it was written, and the same may be tried again.
            StorageError: the disk failed. Nothing can be saved any more: an fsync that is repeated after a failed one
                may claim what is not so.
        """
        memory, run = unsaved.memory, self._connection.execute
        facts = {name: text for name, text in _facts_of(memory).items() if self._facts.get(name) != text}
        with self._lock:
            if self._failed is not None:
                raise type(self._failed)(str(self._failed))
            try:
                run("BEGIN IMMEDIATE")
                if unsaved.is_whole:
                    run("DELETE FROM nodes")
                self._put("facts", facts.items())
                self._put("nodes", ((record.node_id, _record_to_text(record)) for record in memory.records))
                self._connection.executemany("DELETE FROM nodes WHERE node_id = ?", ((key,) for key in unsaved.gone))
                run("COMMIT")
                if unsaved.num_facts != self._num_facts:
                    run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except sqlite3.Error as error:
                failure = self._failure(error)
                self._roll_back()
                if not isinstance(failure, StorageFull):
                    self._failed = failure
                raise failure from None
            self._facts |= facts
            self._num_facts = unsaved.num_facts

    def close(self) -> None:
        """Let go of the file. Harmless when repeated."""
        with self._lock:
            self._connection.close()

    # --- opening

    def _refuse_lost_content(self) -> None:
        """Refuse what SQLite would take for a new file: one cut to a few bytes, or emptied beside its WAL. One that is
        empty and alone is a new one: then there is no memory, and the gateway waits for members as at its first start.
        """
        wal_path = self._path.with_name(f"{self._path.name}-wal")
        num_bytes = self._path.stat().st_size if self._path.exists() else 0
        if 0 < num_bytes < MIN_FILE_BYTES:
            raise self._damaged(f"it has {num_bytes} bytes")
        if num_bytes == 0 and wal_path.exists() and wal_path.stat().st_size > 0:
            raise self._damaged(f"it is empty or missing, but {wal_path} tells of its content")

    def _open(self) -> None:
        run = self._connection.execute
        try:
            for setting in _SETTINGS:
                run(f"PRAGMA {setting}").fetchall()
            run("BEGIN IMMEDIATE")
            (version,) = run("PRAGMA user_version").fetchone()
            if version not in (0, FORMAT_VERSION):
                raise ConfigError(
                    f"{self._path} has format {version}, this version knows {FORMAT_VERSION}: install the newer "
                    "raftgossip, or give an empty --data-dir"
                )
            (verdict,) = run("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise self._damaged(str(verdict))
            if version == 0:
                for statement in _TABLES:
                    run(statement)
                run(f"PRAGMA user_version={FORMAT_VERSION}")
            run("COMMIT")
        except sqlite3.Error as error:
            raise self._cannot_read(error) from None

    def _read(self) -> Memory | None:
        run = self._connection.execute
        try:
            fact_rows = run("SELECT name, value, checksum FROM facts").fetchall()
            node_rows = run("SELECT node_id, value, checksum FROM nodes ORDER BY node_id").fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise self._cannot_read(error) from None
        for name, value, checksum in (*fact_rows, *node_rows):
            if not isinstance(value, str) or checksum != _checksum(name, value):
                raise self._damaged(f"the row {name!r} is not what was written")
        if not fact_rows and not node_rows:
            return None
        self._facts = {name: value for name, value, _ in fact_rows}
        try:
            records = tuple(_record_from_text(node_id, value) for node_id, value, _ in node_rows)
            return _memory_of(self._facts, records)
        except _MALFORMED as error:
            raise self._damaged(f"a row has a wrong content ({error})") from None

    # --- writing

    def _put(self, table: str, rows: Iterable[tuple[str | int, str]]) -> None:
        self._connection.executemany(
            f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)",  # noqa: S608 - one of the two names above
            ((name, value, _checksum(name, value)) for name, value in rows),
        )

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._failed = self._failure(error)

    # --- what went wrong

    def _failure(self, error: Exception) -> StorageError:
        if _is_full(error, self._path):
            return StorageFull(f"no room left to write {self._path}: {error}; free some room on its disk")
        return StorageError(
            f"cannot write {self._path}: {error}; see to the disk and start the gateway again: members register again "
            "by themselves"
        )

    def _cannot_read(self, error: Exception) -> ConfigError | StorageError:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return ConfigError(
                f"{self._path} is in use by another process: give each gateway its own --data-dir, or stop the other"
            )
        return self._failure(error) if _is_full(error, self._path) else self._damaged(str(error))

    def _damaged(self, what: str) -> ConfigError:
        return ConfigError(
            f"{self._path} is damaged: {what}; move it and its -wal file away and start the gateway again: it then "
            "waits for the members of a running cluster to register before anybody may found one"
        )


def _facts_of(memory: Memory) -> dict[str, str]:
    return {
        "registry_id": json.dumps(memory.registry_id),
        "gateway_id": json.dumps(memory.gateway_id),
        "version": json.dumps(memory.version),
        "cluster_ids": json.dumps(memory.cluster_ids),
        "bootstrap": json.dumps([memory.bootstrap or 0, memory.bootstrap_principal]),
        "leader": json.dumps([memory.leader_id or 0, memory.leader_term]),
        "leader_was_reported": json.dumps(memory.leader_was_reported),
    }


def _memory_of(facts: dict[str, str], records: tuple[NodeRecord, ...]) -> Memory:
    """Raises one of `_MALFORMED` if a fact is missing or of another kind."""
    values = {name: json.loads(text) for name, text in facts.items()}
    bootstrap, principal = values["bootstrap"]
    leader_id, leader_term = values["leader"]
    return Memory(
        registry_id=str(values["registry_id"]),
        gateway_id=str(values["gateway_id"]),
        version=int(values["version"]),
        cluster_ids=tuple(str(cluster_id) for cluster_id in values["cluster_ids"]),
        bootstrap=parse_node_id(bootstrap) if bootstrap else None,
        bootstrap_principal=str(principal),
        leader_id=parse_node_id(leader_id) if leader_id else None,
        leader_term=int(leader_term),
        leader_was_reported=bool(values["leader_was_reported"]),
        records=records,
    )


def _record_to_text(record: NodeRecord) -> str:
    registration = record.registration
    return json.dumps(
        {
            "host": registration.address.host,
            "port": registration.address.port,
            "capabilities": registration.capabilities,
            "metadata": registration.metadata,
            "owner": registration.owner,
            "identity": registration.identity,
            "cluster_id": registration.cluster_id,
            "can_wait": registration.can_wait,
            "joined_seconds": record.joined_seconds,
            "seen_seconds": record.seen_seconds,
            "stamp_ms": record.stamp_ms,
        }
    )


def _record_from_text(node_id: int, text: str) -> NodeRecord:
    """The record as it was, but suspected and not heard yet. Raises one of `_MALFORMED`."""
    values = json.loads(text)
    registration = Registration(
        node_id=parse_node_id(node_id),
        address=Address(values["host"], values["port"]),
        capabilities=tuple(str(name) for name in values["capabilities"]),
        metadata=tuple((str(key), str(value)) for key, value in values["metadata"]),
        owner=str(values["owner"]),
        identity=str(values["identity"]),
        cluster_id=str(values["cluster_id"]),
        can_wait=bool(values["can_wait"]),
    )
    return NodeRecord(
        registration,
        SUSPECTED,
        joined_seconds=float(values["joined_seconds"]),
        seen_seconds=float(values["seen_seconds"]),
        heard_ms=0,
        stamp_ms=int(values["stamp_ms"]),
    )


def _checksum(name: str | int, value: str) -> int:
    return zlib.crc32(f"{type(name).__name__} {name} {value}".encode(errors="surrogatepass"))


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
