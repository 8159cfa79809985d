"""A store of an older version is brought to this one whole, or stays what it was."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from raftgossip.core.raft.message import Entry, EntryKind, HardState
from raftgossip.errors import StorageError
from raftgossip.ids import LogIndex, NodeId, Term
from raftgossip.runtime.store import SqliteStore, StoredLog
from raftgossip.runtime.store_rows import FORMAT_VERSION

NAME = "raft.db"
VERSION_1 = """
PRAGMA journal_mode=WAL;
BEGIN;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE hard_state (id INTEGER PRIMARY KEY CHECK (id = 1), term INTEGER NOT NULL, voted_for INTEGER NOT NULL,
    commit_index INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE log (position INTEGER PRIMARY KEY, term INTEGER NOT NULL, kind INTEGER NOT NULL, data BLOB NOT NULL,
    checksum INTEGER NOT NULL);
INSERT INTO hard_state VALUES(1,4,2,3,752159001);
INSERT INTO log VALUES(1,1,2,X'312C322C337C',3911205617);
INSERT INTO log VALUES(2,2,1,X'',1684178648);
INSERT INTO log VALUES(3,2,0,X'FAFBFCFDFEFF00',110846579);
INSERT INTO log VALUES(4,4,0,X'787878787878787878787878787878787878787878787878787878787878',1582917562);
INSERT INTO meta VALUES('cluster_id','größe',1694243806);
INSERT INTO meta VALUES('node_id','3',3806451783);
INSERT INTO meta VALUES('owner','ab12',1380822133);
PRAGMA user_version=1;
COMMIT;
"""
"""What version 1 wrote, frozen: it is never adapted to a change of the program."""

ENTRIES = (
    Entry(LogIndex(1), Term(1), EntryKind.CONFIGURATION, b"1,2,3|"),
    Entry(LogIndex(2), Term(2), EntryKind.NOOP, b""),
    Entry(LogIndex(3), Term(2), EntryKind.COMMAND, b"\xfa\xfb\xfc\xfd\xfe\xff\x00"),
    Entry(LogIndex(4), Term(4), EntryKind.COMMAND, b"x" * 30),
)
CONTENT = StoredLog(HardState(Term(4), NodeId(2), LogIndex(3)), None, ENTRIES)
SETTINGS = {"cluster_id": "größe", "node_id": "3", "owner": "ab12"}


def write_version_1(path: Path, change: str = "") -> None:
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1 + change)
    connection.close()


def version_of(path: Path) -> int:
    connection = sqlite3.connect(path)
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return int(version)


def assert_opens_whole(path: Path) -> None:
    store = SqliteStore(path)
    try:
        assert store.load() == CONTENT
        assert {key: store.get_meta(key) for key in SETTINGS} == SETTINGS
    finally:
        store.close()
    assert version_of(path) == FORMAT_VERSION


def test_a_store_of_version_1_keeps_everything(tmp_path: Path) -> None:
    write_version_1(tmp_path / NAME)

    assert_opens_whole(tmp_path / NAME)
    assert_opens_whole(tmp_path / NAME)


def test_a_migrated_store_goes_on(tmp_path: Path) -> None:
    write_version_1(tmp_path / NAME)
    store = SqliteStore(tmp_path / NAME)
    new = Entry(LogIndex(4), Term(5), EntryKind.COMMAND, b"new")
    store.save(HardState(Term(5), None, LogIndex(4)), (new,))
    store.close()

    store = SqliteStore(tmp_path / NAME)
    assert store.load() == StoredLog(HardState(Term(5), None, LogIndex(4)), None, (*ENTRIES[:3], new))
    store.close()


DAMAGES = {
    "UPDATE log SET data = x'00' WHERE position = 3": "log entry 3",
    "UPDATE log SET data = CAST('1,2,3|' AS TEXT) WHERE position = 1": "log entry 1",
    "UPDATE log SET term = 3 WHERE position = 4": "log entry 4",
    "UPDATE hard_state SET voted_for = 1": "the term and vote",
    "UPDATE meta SET value = '4' WHERE key = 'node_id'": "the setting node_id",
}


@pytest.mark.parametrize("statement", DAMAGES)
def test_damage_is_not_migrated_but_refused(tmp_path: Path, statement: str) -> None:
    write_version_1(tmp_path / NAME, statement)

    for _ in range(2):
        with pytest.raises(StorageError, match=f"{NAME} is damaged at {DAMAGES[statement]};"):
            SqliteStore(tmp_path / NAME)
    assert version_of(tmp_path / NAME) == 1


@pytest.mark.parametrize("place", [1, 3])
def test_an_entry_that_version_1_lost_is_still_missed(tmp_path: Path, place: int) -> None:
    write_version_1(tmp_path / NAME, f"DELETE FROM log WHERE position = {place}")
    store = SqliteStore(tmp_path / NAME)

    with pytest.raises(StorageError, match=f"log entry {place}"):
        store.load()
    store.close()


OPENINGS = """
import os, signal, sqlite3, sys
from pathlib import Path
from raftgossip.runtime import store

connect = sqlite3.connect

def dies_at(number):
    steps = iter(range(10**9))
    def step(_):
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)
    def connect_traced(*arguments, **options):
        connection = connect(*arguments, **options)
        connection.set_trace_callback(step)
        return connection
    return connect_traced

for number, path in enumerate(sys.argv[1:]):
    child = os.fork()
    if child == 0:
        sqlite3.connect = dies_at(number)
        opened = store.SqliteStore(Path(path))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Opens each file and is killed in front of its n-th statement."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_in_the_middle_of_it_leaves_a_store_that_opens(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" / NAME for number in range(60)]
    for path in paths:
        path.parent.mkdir()
        write_version_1(path)

    ran = subprocess.run(
        [sys.executable, "-c", OPENINGS, *map(str, paths)], stdout=subprocess.PIPE, text=True, check=True
    )

    codes = [int(code) for code in ran.stdout.split()]
    num_killed = codes.index(0)
    assert codes == [-signal.SIGKILL] * num_killed + [0] * (len(paths) - num_killed)
    assert num_killed > 20, "the trace sees each statement, so each row of the migration is a place to die"
    versions = [version_of(path) for path in paths]
    assert versions == sorted(versions)
    assert versions.count(1) > num_killed - 5, "all but the last crashes undo all of it"
    for path in paths:
        assert_opens_whole(path)
