"""The registry's file: what is saved is there after a kill at any moment, and damage is told in one sentence."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.leadership import MAX_TERM
from gateway.registry import Memory, Registry
from gateway.registry_store import FILE_NAME, RegistryStore
from raftgossip.errors import ConfigError, StorageError, StorageFull
from raftgossip.ids import NodeId
from tests.support.registry_builders import at, ids, make_registry, node

PAGE_BYTES = 4096


@contextmanager
def opened(path: Path) -> Iterator[RegistryStore]:
    """A store that is closed at the end."""
    with closing(RegistryStore(path)) as store:
        yield store


def copy(path: Path, to: Path) -> Path:
    """The file and its WAL as they are now, as a kill would leave them; returns the copied file."""
    to.mkdir()
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        if (path.parent / name).exists():
            shutil.copyfile(path.parent / name, to / name)
    return to / FILE_NAME


def read(path: Path) -> Memory | None:
    """What a file holds."""
    with opened(path) as store:
        return store.load()


def full_registry() -> Registry:
    """A registry with something of everything."""
    registry = make_registry()
    registry.register(node(1, owner="o", can_wait=True), at(0))
    registry.register(node(2, owner="spiffe://f/o/2", identity="spiffe://f/o/2", cluster_id="c"), at(5))
    registry.update_leader(NodeId(2), MAX_TERM, at(6))
    return registry


def test_a_new_file_holds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "new" / FILE_NAME) is None


def test_everything_comes_back(tmp_path: Path) -> None:
    unsaved = full_registry().unsaved(None)
    with opened(tmp_path / FILE_NAME) as store:
        store.save(unsaved)
    memory = read(tmp_path / FILE_NAME)
    assert memory is not None
    again = make_registry(memory=memory, started=at(50)).unsaved(None).memory
    assert again.cluster_ids == ("c",)
    assert (again.leader_id, again.leader_term, again.leader_was_reported) == (2, MAX_TERM, True)
    assert (again.registry_id, again.gateway_id) == (unsaved.memory.registry_id, unsaved.memory.gateway_id)
    for before, after in zip(unsaved.memory.records, again.records, strict=True):
        assert after.registration == before.registration
        assert (after.joined_seconds, after.seen_seconds, after.stamp_ms) == (
            before.joined_seconds,
            before.seen_seconds,
            before.stamp_ms,
        )


def test_a_named_bootstrap_comes_back(tmp_path: Path) -> None:
    registry = make_registry()
    registry.register(node(7, owner="o", can_wait=True), at(0))
    with opened(tmp_path / FILE_NAME) as store:
        store.save(registry.unsaved(None))
    memory = read(tmp_path / FILE_NAME)
    assert memory is not None and (memory.bootstrap, memory.bootstrap_principal) == (7, "o")


def test_only_what_changed_is_written_and_what_is_gone_goes(tmp_path: Path) -> None:
    registry = make_registry()
    with opened(tmp_path / FILE_NAME) as store:
        step = None
        for node_id in (1, 2, 3):
            registry.register(node(node_id), at(0))
            unsaved = registry.unsaved(step)
            store.save(unsaved)
            step = unsaved.step
        registry.remove(NodeId(2), at(0))
        store.save(registry.unsaved(step))
        memory = read(copy(tmp_path / FILE_NAME, tmp_path / "copy"))
    assert memory is not None and ids(memory.records) == [1, 3]


def test_a_whole_list_replaces_what_was_there(tmp_path: Path) -> None:
    with opened(tmp_path / FILE_NAME) as store:
        for node_id in (1, 2):
            registry = make_registry()
            registry.register(node(node_id), at(0))
            store.save(registry.unsaved(None))
    memory = read(tmp_path / FILE_NAME)
    assert memory is not None and ids(memory.records) == [2]


def test_a_kill_at_any_statement_leaves_all_that_was_saved_and_nothing_half(tmp_path: Path) -> None:
    registry = make_registry()
    copies: list[tuple[int, Path]] = []  # how many nodes were saved when it was made
    with opened(tmp_path / FILE_NAME) as store:
        num_saved, step = 0, None

        def kill(_statement: str) -> None:
            copies.append((num_saved, copy(tmp_path / FILE_NAME, tmp_path / f"copy{len(copies)}")))

        store._connection.set_trace_callback(kill)
        for batch in range(6):
            for node_id in range(1, 6):
                registry.register(node(5 * batch + node_id), at(0))
            registry.heartbeat(NodeId(1), "c" if batch == 3 else "", at(0))
            unsaved = registry.unsaved(step)
            store.save(unsaved)
            step, num_saved = unsaved.step, num_saved + 5
        store._connection.set_trace_callback(None)
    assert len(copies) > 50
    for num_saved, path in copies:
        memory = read(path)
        found = [] if memory is None else ids(memory.records)
        assert found in (list(range(1, num_saved + 1)), list(range(1, num_saved + 6)))
        if num_saved >= 20:
            assert memory is not None and memory.cluster_ids == ("c",)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A file of many pages."""
    registry = make_registry()
    for node_id in range(1, 301):
        registry.register(node(node_id, cluster_id="c"), at(0))
    with opened(tmp_path / FILE_NAME) as store:
        store.save(registry.unsaved(None))
    return tmp_path / FILE_NAME


def test_a_file_cut_at_any_page_is_refused_with_a_remedy(saved: Path) -> None:
    whole = saved.read_bytes()
    assert len(whole) > 10 * PAGE_BYTES
    for size in (*range(PAGE_BYTES, len(whole), PAGE_BYTES), 1, 100, PAGE_BYTES - 1, len(whole) - 1):
        saved.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"registry\.sqlite is damaged: .*move it and its -wal file away"):
            RegistryStore(saved)
    saved.write_bytes(whole)
    assert read(saved) is not None


def test_a_flipped_bit_in_a_row_is_noticed(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    place = whole.index(b'"metadata"') + 3
    whole[place] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(ConfigError, match="is damaged"):
        RegistryStore(saved)


@pytest.mark.parametrize("junk", [b"junk", b"\0" * 10_000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_registry_is_refused(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(junk)
    with pytest.raises(ConfigError, match="is damaged"):
        RegistryStore(tmp_path / FILE_NAME)


def test_a_row_of_another_meaning_is_refused(saved: Path) -> None:
    from gateway.registry_store import _checksum

    with closing(sqlite3.connect(saved)) as connection:
        connection.execute("INSERT OR REPLACE INTO nodes VALUES (1, '[]', ?)", (_checksum(1, "[]"),))
        connection.commit()
    with pytest.raises(ConfigError, match="a row has a wrong content"):
        RegistryStore(saved)


def test_an_emptied_file_beside_its_wal_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / FILE_NAME) as store:
        for _ in range(2):
            store.save(full_registry().unsaved(None))
        path = copy(tmp_path / FILE_NAME, tmp_path / "copy")
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="is empty or missing"):
        RegistryStore(path)


def test_a_file_of_a_newer_version_is_refused(saved: Path) -> None:
    with closing(sqlite3.connect(saved)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(ConfigError, match=r"registry\.sqlite has format 99, .*install the newer raftgossip"):
        RegistryStore(saved)


def test_two_gateways_cannot_share_a_file(tmp_path: Path) -> None:
    with opened(tmp_path / FILE_NAME), pytest.raises(ConfigError, match="in use by another process"):
        RegistryStore(tmp_path / FILE_NAME)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="give a --data-dir"):
        RegistryStore(tmp_path / "file" / FILE_NAME)


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    with opened(tmp_path / "data" / FILE_NAME) as store:
        store.save(full_registry().unsaved(None))
        for path in (tmp_path / "data").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_full_disk_is_told_as_such_and_room_mends_it(tmp_path: Path) -> None:
    registry = make_registry()
    with opened(tmp_path / FILE_NAME) as store:
        store.save(registry.unsaved(None))
        (num_pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count={num_pages}")
        for node_id in range(1, 200):
            registry.register(node(node_id), at(0))
        with pytest.raises(StorageFull, match="no room left"):
            store.save(registry.unsaved(None))
        store._connection.execute("PRAGMA max_page_count=100000")
        store.save(registry.unsaved(None))
    memory = read(tmp_path / FILE_NAME)
    assert memory is not None and len(memory.records) == 199


def test_a_disk_that_fails_is_never_trusted_again(tmp_path: Path) -> None:
    class FailingConnection:
        in_transaction = False

        def execute(self, _statement: str) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    with opened(tmp_path / FILE_NAME) as store:
        healthy = store._connection
        for connection in (FailingConnection(), healthy):
            store._connection = connection  # type: ignore[assignment]  # what stands for a disk that fails
            with pytest.raises(StorageError, match="disk I/O error"):
                store.save(full_registry().unsaved(None))


def test_the_facts_about_founding_are_in_the_file_itself_at_once(tmp_path: Path) -> None:
    registry = make_registry()
    with opened(tmp_path / FILE_NAME) as store:
        unsaved = registry.unsaved(None)
        store.save(unsaved)
        registry.register(node(1, cluster_id="c"), at(0))
        store.save(registry.unsaved(unsaved.step))
        path = copy(tmp_path / FILE_NAME, tmp_path / "copy")
    wal = path.with_name(f"{FILE_NAME}-wal")
    if wal.exists():
        os.truncate(wal, 0)  # a damaged WAL looks like this
    memory = read(path)
    assert memory is not None and memory.cluster_ids == ("c",)
