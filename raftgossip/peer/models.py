"""The models that this peer holds: the newest closed ones, by content hash, in memory or on disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from raftgossip.errors import NotFound, StorageError
from raftgossip.runtime.model_store import ModelStore
from raftgossip.update import FloatVector, ParameterSchema


class Models:
    """Keeps the newest `keep` models. Thread-safe: neighbours fetch from gRPC's threads.

    With a store, at most two models stay in memory (the candidate and the newest) and closed ones are on disk; without
    one, all of them are in memory and are gone with the process.
    """

    def __init__(self, schema: ParameterSchema, store: ModelStore | None, keep: int) -> None:
        self._schema = schema
        self._store = store
        self._keep = keep
        self._lock = threading.Lock()
        self._memory: OrderedDict[bytes, FloatVector] = OrderedDict()
        self._closed = store.digests() if store is not None else []
        self._saved = b""
        """The model that was written last."""

    def offer(self, digest: bytes, vector: FloatVector) -> None:
        """Hold a model that may become the epoch's, durably: once it is reported the epoch may close with it, and if
        all peers are killed then, somebody must still have it. Blocks on the disk.

        Raises:
            StorageError: the disk failed.
        """
        if self._store is not None:
            self._store.save(vector, self._schema)
            self._saved = digest
        self._hold(digest, vector)

    def _hold(self, digest: bytes, vector: FloatVector) -> None:
        vector.flags.writeable = False
        with self._lock:
            self._memory[digest] = vector
            self._memory.move_to_end(digest)
            limit = 2 if self._store is not None else max(2, self._keep)
            while len(self._memory) > limit:
                self._memory.popitem(last=False)

    def commit(self, digest: bytes, vector: FloatVector) -> None:
        """Keep a closed epoch's model durably; older ones than the newest `keep` go. Blocks on the disk.

        Raises:
            StorageError: the disk failed.
        """
        if digest != self._saved:
            self.offer(digest, vector)
        if self._store is None:
            return
        self._closed = [*(kept for kept in self._closed if kept != digest), digest][-self._keep :]
        self._store.prune(self._closed)

    def find(self, digests: Sequence[bytes]) -> tuple[bytes, FloatVector] | None:
        """The first of these models that is held here; None: none of them. Blocks on the disk."""
        for digest in digests:
            try:
                return digest, self.get(digest)
            except (NotFound, StorageError):  # a damaged file is as good as none: a neighbour has the model
                continue
        return None

    def get(self, digest: bytes) -> FloatVector:
        """A held model: (P,) float32, read-only. Blocks on the disk.

        Raises:
            NotFound: it is not held here.
            RaftGossipError: the file is damaged; says which.
        """
        with self._lock:
            vector = self._memory.get(digest)
        if vector is not None:
            return vector
        if self._store is None or not self._store.has(digest):
            raise NotFound(f"no model {digest.hex()[:12]} is held here")
        return self._store.load(digest, self._schema)
