"""The door to a key folder's files: whole and durable when written, for their owner alone, no longer than ours are.

What is in them, and where they lie, is not known here.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raftgossip.errors import ConfigError, StorageError, Unauthenticated

MAX_FILE_BYTES = 512 << 10
"""The longest that are kept are revocation lists."""
PRIVATE, PUBLIC = 0o600, 0o644
OTHERS_WRITE = 0o022
"""What nobody has given others on purpose: who can write here decides who belongs to the federation."""


def read_file(path: Path) -> bytes:
    """A whole file.

    Raises:
        ConfigError: it is missing, unreadable or too long for one of ours, or others can write it or its folder.
    """
    return _read(path, forbidden_mode=0)


def read_private(path: Path) -> bytes:
    """A private key's file.

    Raises:
        ConfigError: as `read_file`, or others than its owner can read it.
    """
    return _read(path, forbidden_mode=0o077)


def write_file(path: Path, data: bytes, mode: int = PUBLIC) -> None:
    """Replace a file as a whole, durably: written aside, fsynced, renamed. Its folder is made if there is none.

    Raises:
        ConfigError: others can write its folder.
        StorageError: the disk did not take it; what was there before still is.
    """
    make_folder(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        _require_owners(path.parent, path.parent.stat().st_mode)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, for the mode that it was made with)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from None


def rename_file(path: Path, to: Path) -> None:
    """Give a file another name in its folder, durably.

    Raises:
        StorageError: the disk did not take it.
    """
    try:
        path.replace(to)
        _sync_folder(to.parent)
    except OSError as error:
        raise StorageError(f"cannot rename {path}: {error.strerror}") from None


def make_folder(path: Path) -> None:
    """A folder for its owner alone, and those above it; one that is there stays as it is.

    Raises:
        StorageError: it cannot be made.
    """
    if not path.parent.exists():
        make_folder(path.parent)
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder {path}: {error.strerror}") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a folder against other programs, and other threads of this one, that change it. Not to be nested: it would
    wait for itself. Each holds it for milliseconds, so there is no deadline.

    Raises:
        ConfigError: others can write the folder.
        StorageError: the folder cannot be made or opened.
    """
    make_folder(path)
    try:
        _require_owners(path, path.stat().st_mode)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise StorageError(f"cannot open {path}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Whoever reads a file of ours here: what is wrong with it is its keeper's mistake, not that of somebody who calls.

    Raises:
        ConfigError: names the file.
    """
    try:
        yield
    except Unauthenticated as error:
        raise ConfigError(f"{path}: {error}") from None


def stamp_of(paths: list[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """What tells whether any of these was replaced: name, time of change in ns, bytes and inode of each."""
    found = []
    for path in paths:
        try:
            seen = path.stat()
        except OSError:  # who reads it says what is wrong, if it must be there
            found.append((path.name, 0, 0, 0))
            continue
        found.append((path.name, seen.st_mtime_ns, seen.st_size, seen.st_ino))
    return tuple(found)


def _read(path: Path, forbidden_mode: int) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777  # of what was opened, which nobody can exchange any more
            if mode & forbidden_mode:
                raise ConfigError(f"others can read the private key {path} (mode {mode:o}); run: chmod 600 {path}")
            _require_owners(path, mode)
            _require_owners(path.parent, path.parent.stat().st_mode)
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is longer than {MAX_FILE_BYTES} bytes; it is none of ours")
    return data


def _require_owners(path: Path, mode: int) -> None:
    """Refuse what others than its owner can write; in a folder they could exchange any file, whatever its own mode.

    Raises:
        ConfigError: names it, and what to run.
    """
    if mode & OTHERS_WRITE:
        raise ConfigError(f"others can write {path} (mode {mode & 0o777:o}); run: chmod go-w {path}")


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
