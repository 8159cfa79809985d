"""A model update on the wire: a header, chunks of raw float32, an end record with the content hash.

The receiver knows from its own plan what has to come, compares the header with that before it reads on, and takes
chunks of exactly the announced size, so that nobody can make it buffer more. Sockets are not known here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from google.protobuf.message import DecodeError

from raftgossip.errors import (
    IntegrityError,
    Oversized,
    PermissionDenied,
    SchemaMismatch,
    StaleEpoch,
    WireError,
    WrongCluster,
)
from raftgossip.update import FloatVector
from raftgossip.wire.pb import grpc_comm_manager_pb2 as pb

CHUNK_BYTES = 1 << 20
"""Large enough to amortise gRPC's cost per message, small enough to stay in the cache while it is hashed and folded."""
MAX_CHUNK_BYTES = 2 << 20
MAX_HEADER_BYTES = 4096
CODEC = "fp32"
MAX_MASS = 1e15
"""More than any sample count: a larger mass would drown everybody else's share."""


@dataclass(frozen=True, slots=True)
class ExchangeHeader:
    """What one direction of an edge announces. `byte_count` 0: this direction carries no data."""

    cluster_id: str
    epoch: int
    attempt: int
    step: int
    sender: int
    receiver: int
    schema_digest: bytes
    plan_digest: bytes
    start: int
    stop: int
    mass: float
    byte_count: int
    chunk_bytes: int
    codec: str = CODEC

    def encode(self) -> bytes:
        """The first message of a direction."""
        return pb.ExchangeHeader(
            cluster_id=self.cluster_id,
            epoch=self.epoch,
            attempt=self.attempt,
            step=self.step,
            sender=self.sender,
            receiver=self.receiver,
            schema_digest=self.schema_digest,
            plan_digest=self.plan_digest,
            codec=self.codec,
            start=self.start,
            stop=self.stop,
            mass=self.mass,
            byte_count=self.byte_count,
            chunk_bytes=self.chunk_bytes,
        ).SerializeToString()

    @classmethod
    def decode(cls, data: bytes) -> ExchangeHeader:
        """Read the first message of a direction.

        Raises:
            Oversized: it is longer than `MAX_HEADER_BYTES`.
            WireError: it is no header.
        """
        if len(data) > MAX_HEADER_BYTES:
            raise Oversized(f"a header of {len(data)} bytes; at most {MAX_HEADER_BYTES} are allowed")
        try:
            header = pb.ExchangeHeader.FromString(data)
        except DecodeError:
            raise WireError("the first message of the stream is not an ExchangeHeader") from None
        return cls(
            cluster_id=header.cluster_id,
            epoch=header.epoch,
            attempt=header.attempt,
            step=header.step,
            sender=header.sender,
            receiver=header.receiver,
            schema_digest=header.schema_digest,
            plan_digest=header.plan_digest,
            start=header.start,
            stop=header.stop,
            mass=header.mass,
            byte_count=header.byte_count,
            chunk_bytes=header.chunk_bytes,
            codec=header.codec,
        )


@dataclass(frozen=True, slots=True)
class ExpectedTransfer:
    """What this node's own plan says about a direction of an edge."""

    cluster_id: str
    epoch: int
    attempt: int
    step: int
    sender: int
    receiver: int
    schema_digest: bytes
    plan_digest: bytes
    start: int
    stop: int


def check_header(header: ExchangeHeader, expected: ExpectedTransfer) -> None:
    """Compare what a neighbour announces with what the plan says, before anything else is read.

    Raises:
        WrongCluster, StaleEpoch, PermissionDenied, SchemaMismatch, Oversized, WireError: the first thing that differs.
    """
    if header.cluster_id != expected.cluster_id:
        raise WrongCluster(f"an update of cluster {header.cluster_id!r}; this is {expected.cluster_id!r}")
    place = (header.epoch, header.attempt, header.step)
    if place != (expected.epoch, expected.attempt, expected.step):
        raise StaleEpoch(
            f"an update for epoch {header.epoch} attempt {header.attempt} step {header.step}; here it is epoch "
            f"{expected.epoch} attempt {expected.attempt} step {expected.step}"
        )
    if (header.sender, header.receiver) != (expected.sender, expected.receiver):
        raise PermissionDenied(
            f"rule plan-edge: an update from node {header.sender} to {header.receiver} on the edge of "
            f"{expected.sender} and {expected.receiver}"
        )
    if header.schema_digest != expected.schema_digest:
        raise SchemaMismatch(
            f"node {header.sender} sends a model of schema {header.schema_digest.hex()[:12]}, "
            f"this cluster trains {expected.schema_digest.hex()[:12]}"
        )
    if header.plan_digest != expected.plan_digest:
        raise WireError(f"node {header.sender} follows another exchange plan; do all nodes run the same version?")
    _check_size(header, expected)


def _check_size(header: ExchangeHeader, expected: ExpectedTransfer) -> None:
    if header.codec != CODEC:
        raise WireError(f"the codec {header.codec!r} is unknown here; this version knows {CODEC!r}")
    due = 4 * (expected.stop - expected.start)
    if header.byte_count > due:
        raise Oversized(f"node {header.sender} announces {header.byte_count} bytes; the plan says {due}")
    if (header.start, header.stop) != (expected.start, expected.stop) or header.byte_count != due:
        raise WireError(
            f"node {header.sender} announces elements {header.start} to {header.stop} in {header.byte_count} bytes; "
            f"the plan says {expected.start} to {expected.stop} in {due}"
        )
    if not (math.isfinite(header.mass) and 0 <= header.mass <= MAX_MASS):
        raise WireError(f"node {header.sender} announces the mass {header.mass}; it must be from 0 to {MAX_MASS:g}")
    if due and (header.chunk_bytes % 4 or not 4 <= header.chunk_bytes <= MAX_CHUNK_BYTES):
        raise WireError(f"chunks of {header.chunk_bytes} bytes; a multiple of 4 up to {MAX_CHUNK_BYTES} is allowed")


class ContentHash:
    """SHA-256 over the chunks of one direction, fed while they are hot in the cache."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        """Take the next chunk."""
        self._hash.update(chunk)

    def digest(self) -> bytes:
        """The hash of all chunks so far: 32 bytes."""
        return self._hash.digest()


def chunks(span: FloatVector, chunk_bytes: int) -> Iterator[bytes]:
    """Cut a span (n,) float32 into messages of `chunk_bytes` bytes; the last one may be shorter."""
    data = np.ascontiguousarray(span, dtype="<f4").data.cast("B")
    for offset in range(0, len(data), chunk_bytes):
        yield bytes(data[offset : offset + chunk_bytes])


def encode_end(byte_count: int, content_hash: bytes) -> bytes:
    """The last message of a direction."""
    return pb.ExchangeEnd(byte_count=byte_count, content_hash=content_hash).SerializeToString()


class SpanSink(Protocol):
    """Where verified spans go."""

    def fold(self, start: int, span: FloatVector) -> None:
        """Take the elements from `start` on; `span` is only valid during the call."""


class Receiver:
    """Feeds the chunks of one direction into its sink and checks them; `header` was checked before.

    Invariant: no more bytes are taken than the header announced.
    """

    def __init__(self, header: ExchangeHeader, sink: SpanSink) -> None:
        self._header = header
        self._sink = sink
        self._num_bytes = 0
        self._hash = ContentHash()

    def feed(self, frame: bytes) -> bool:
        """Take the next message; returns whether it was the end record, and all is well.

        Raises:
            WireError: a chunk of another size than was announced, an element that is not finite, or no end record.
            IntegrityError: the content does not have the hash that its sender computed.
        """
        header = self._header
        remaining = header.byte_count - self._num_bytes
        if not remaining:
            self._check_end(frame)
            return True
        due = min(header.chunk_bytes, remaining)
        if len(frame) != due:
            raise WireError(
                f"node {header.sender} sent a chunk of {len(frame)} bytes after {self._num_bytes} of "
                f"{header.byte_count}; {due} were due"
            )
        span = np.frombuffer(frame, dtype="<f4")
        start = header.start + self._num_bytes // 4
        if not np.isfinite(span).all():
            first = start + int(np.argmin(np.isfinite(span)))
            raise WireError(f"element {first} of node {header.sender}'s update is not finite")
        self._hash.update(frame)
        self._sink.fold(start, span)
        self._num_bytes += len(frame)
        return False

    def _check_end(self, frame: bytes) -> None:
        try:
            end = pb.ExchangeEnd.FromString(frame)
        except DecodeError:
            raise WireError(f"node {self._header.sender} sent no end record after its last chunk") from None
        if end.byte_count != self._num_bytes:
            raise IntegrityError(f"node {self._header.sender} counts {end.byte_count} bytes, {self._num_bytes} arrived")
        if end.content_hash != self._hash.digest():
            raise IntegrityError(f"the update of node {self._header.sender} does not have the hash that it announced")
