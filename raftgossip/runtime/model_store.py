"""Closed models on disk: safetensors files named by content hash.

Written aside, fsynced and renamed, so that a file with the right name is whole. safetensors cannot run code, but it
does not check what it loads either; so the header is compared with the schema before anything else is read. What an
epoch is, is not known here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from raftgossip.errors import NotFound, StorageError
from raftgossip.update import FloatVector, ParameterSchema, vector_digest

SUFFIX = ".safetensors"
FORMAT_VERSION = "1"
MAX_HEADER_BYTES = 1 << 20
DIGEST_BYTES = 32
"""Of SHA-256. A neighbour may ask for a digest of any length: it becomes no file name."""


class ModelStore:
    """One folder of models. Different models may be saved and loaded by several threads at once."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if there is none; what an interrupted save left behind is removed.

        Raises:
            StorageError: the folder cannot be written.
        """
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob("*.part"):
                leftover.unlink()
        except OSError as error:
            raise StorageError(f"cannot write to {folder}: {error.strerror}; give another --data-dir") from None

    def digests(self) -> list[bytes]:
        """The models that are here, the oldest first."""
        files = [path for path in self._folder.glob(f"*{SUFFIX}") if _is_digest(path.stem)]
        return [bytes.fromhex(path.stem) for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)]

    def has(self, digest: bytes) -> bool:
        """Whether this model is here."""
        return len(digest) == DIGEST_BYTES and self._path(digest).is_file()

    def save(self, vector: FloatVector, schema: ParameterSchema) -> bytes:
        """Write a model durably; returns its digest. `vector`: (P,) float32.

        Raises:
            StorageError: the disk failed.
        """
        digest = vector_digest(vector)
        path = self._path(digest)
        data = save_safetensors(_tensors(vector, schema), {"format": FORMAT_VERSION, "sha256": digest.hex()})
        part = path.with_suffix(".part")
        try:
            part.unlink(missing_ok=True)
            with part.open("xb") as file:  # never through a link that somebody put there
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
            _sync_folder(self._folder)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}; free the disk and start again") from None
        return digest

    def load(self, digest: bytes, schema: ParameterSchema) -> FloatVector:
        """Read a model: (P,) float32, read-only.

        Raises:
            NotFound: it is not here.
            StorageError: the file is damaged, or holds another model than its name says.
        """
        path = self._path(digest)
        try:
            if not self.has(digest):
                raise FileNotFoundError
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no model {digest.hex()[:12]} is held here") from None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from None
        problem = _difference(data, schema)
        if problem:
            raise StorageError(f"{path} is damaged: {problem}; delete it, and it is fetched from a neighbour")
        try:
            tensors = load_safetensors(data)
        except SafetensorError as error:
            raise StorageError(f"{path} is damaged: {error}; delete it, and it is fetched from a neighbour") from None
        parts = [tensors[tensor.name].reshape(-1) for tensor in schema.tensors]
        vector: FloatVector = np.concatenate(parts).astype(np.float32, copy=False)
        if vector_digest(vector) != digest:
            raise StorageError(f"{path} holds another model than its name says; delete it, and it is fetched again")
        vector.flags.writeable = False
        return vector

    def prune(self, keep: Iterable[bytes]) -> None:
        """Delete all models but these."""
        names = {digest.hex() for digest in keep}
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path.stem not in names:
                path.unlink(missing_ok=True)

    def _path(self, digest: bytes) -> Path:
        return self._folder / f"{digest.hex()}{SUFFIX}"


def _tensors(vector: FloatVector, schema: ParameterSchema) -> dict[str, FloatVector]:
    """Views of the vector, by name."""
    tensors: dict[str, FloatVector] = {}
    start = 0
    for tensor in schema.tensors:
        tensors[tensor.name] = vector[start : start + tensor.num_elements].reshape(tensor.shape)
        start += tensor.num_elements
    return tensors


def _difference(data: bytes, schema: ParameterSchema) -> str:
    """How the file's header differs from the schema; empty if it does not."""
    header_bytes = int.from_bytes(data[:8], "little")
    if len(data) < 8 or header_bytes > min(MAX_HEADER_BYTES, len(data) - 8):
        return f"its header cannot be {header_bytes} bytes long"
    try:
        header = json.loads(data[8 : 8 + header_bytes], object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        return f"its header is not readable ({error})"
    if not isinstance(header, Mapping):
        return "its header is not a table"
    found = {name: entry for name, entry in header.items() if name != "__metadata__"}
    expected = {t.name: {"dtype": "F32", "shape": list(t.shape)} for t in schema.tensors}
    shown = {
        name: {key: entry.get(key) for key in ("dtype", "shape")} if isinstance(entry, Mapping) else {}
        for name, entry in found.items()
    }
    for name in expected | shown:
        if expected.get(name) != shown.get(name):
            return f"tensor {name!r} is {shown.get(name)} instead of {expected.get(name)}"
    if len(data) != 8 + header_bytes + 4 * schema.num_elements:
        return f"it has {len(data)} bytes instead of {8 + header_bytes + 4 * schema.num_elements}"
    return ""


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """JSON keeps the last of two equal keys silently; here that is an error."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


def _is_digest(name: str) -> bool:
    return len(name) == 64 and all(character in "0123456789abcdef" for character in name)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
