"""A model update on the wire: header checks one by one, chunks, the end record, and what they refuse."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftgossip.errors import (
    IntegrityError,
    Oversized,
    PermissionDenied,
    RemoteError,
    SchemaMismatch,
    StaleEpoch,
    WireError,
    WrongCluster,
)
from raftgossip.update import FloatVector, ModelUpdate, ParameterSchema, TensorSpec, vector_digest
from raftgossip.wire.update_codec import (
    MAX_CHUNK_BYTES,
    MAX_MASS,
    ContentHash,
    ExchangeHeader,
    ExpectedTransfer,
    Receiver,
    check_header,
    chunks,
    encode_end,
)

EXPECTED = ExpectedTransfer("c1", 5, 2, 1, 3, 4, b"s" * 32, b"p" * 32, 10, 30)
HEADER = ExchangeHeader("c1", 5, 2, 1, 3, 4, b"s" * 32, b"p" * 32, 10, 30, mass=7.5, byte_count=80, chunk_bytes=32)
"""Twenty elements in chunks of eight, eight and four."""


class Sink:
    """Keeps what is folded."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, list[float]]] = []

    def fold(self, start: int, span: FloatVector) -> None:
        self.spans.append((start, span.tolist()))


def vector(num_elements: int = 20) -> FloatVector:
    return np.arange(num_elements, dtype=np.float32)


def whole(span: FloatVector, chunk_bytes: int = 32) -> list[bytes]:
    frames = list(chunks(span, chunk_bytes))
    return [*frames, encode_end(span.nbytes, hashlib.sha256(b"".join(frames)).digest())]


def feed(frames: list[bytes], header: ExchangeHeader = HEADER) -> tuple[Sink, list[bool]]:
    sink = Sink()
    return sink, feed_into(sink, frames, header)


def feed_into(sink: Sink, frames: list[bytes], header: ExchangeHeader = HEADER) -> list[bool]:
    receiver = Receiver(header, sink)
    return [receiver.feed(frame) for frame in frames]


# --- headers


def test_the_header_that_the_plan_expects_is_accepted() -> None:
    check_header(HEADER, EXPECTED)


@pytest.mark.parametrize(
    ("changes", "kind", "reason"),
    [
        ({"cluster_id": "c2"}, WrongCluster, "c2"),
        ({"epoch": 4}, StaleEpoch, "epoch 4"),
        ({"epoch": 6}, StaleEpoch, "epoch 6"),
        ({"attempt": 1}, StaleEpoch, "attempt 1"),
        ({"step": 2}, StaleEpoch, "step 2"),
        ({"sender": 9}, PermissionDenied, "node 9"),
        ({"receiver": 9}, PermissionDenied, "9"),
        ({"schema_digest": b"t" * 32}, SchemaMismatch, "747474"),
        ({"schema_digest": b""}, SchemaMismatch, "schema"),
        ({"plan_digest": b"q" * 32}, WireError, "plan"),
        ({"codec": "fp8"}, WireError, "fp8"),
        ({"byte_count": 84}, Oversized, "84"),
        ({"byte_count": 2**64 - 1}, Oversized, "18446744073709551615"),
        ({"byte_count": 76}, WireError, "76"),
        ({"byte_count": 0}, WireError, "in 0 bytes"),
        ({"start": 9}, WireError, "9 to 30"),
        ({"stop": 31}, WireError, "10 to 31"),
        ({"start": 11, "stop": 31}, WireError, "11 to 31"),
        ({"mass": math.nan}, WireError, "nan"),
        ({"mass": math.inf}, WireError, "inf"),
        ({"mass": -1.0}, WireError, "-1"),
        ({"mass": 2 * MAX_MASS}, WireError, "mass"),
        ({"chunk_bytes": 0}, WireError, "chunks of 0"),
        ({"chunk_bytes": 30}, WireError, "chunks of 30"),
        ({"chunk_bytes": MAX_CHUNK_BYTES + 4}, WireError, "chunks of"),
    ],
)
def test_a_header_that_differs_in_one_thing_is_refused_by_name(
    changes: dict[str, object], kind: type[RemoteError], reason: str
) -> None:
    with pytest.raises(RemoteError, match=reason) as caught:
        check_header(replace(HEADER, **changes), EXPECTED)  # type: ignore[arg-type]

    assert type(caught.value) is kind


@pytest.mark.parametrize("mass", [0.0, 1.0, MAX_MASS])
def test_every_mass_in_the_range_is_accepted(mass: float) -> None:
    check_header(replace(HEADER, mass=mass), EXPECTED)


def test_a_direction_without_data_needs_no_chunk_size() -> None:
    nothing = replace(HEADER, start=0, stop=0, byte_count=0, chunk_bytes=0)

    check_header(nothing, replace(EXPECTED, start=0, stop=0))


def test_a_direction_that_should_be_silent_may_not_announce_data() -> None:
    with pytest.raises(Oversized, match="80 bytes; the plan says 0"):
        check_header(HEADER, replace(EXPECTED, start=0, stop=0))


# --- chunks


@given(st.integers(0, 70), st.integers(1, 20))
def test_what_is_cut_into_chunks_arrives_bit_for_bit(num_elements: int, elements_per_chunk: int) -> None:
    sent = vector(num_elements) * np.float32(0.1)
    header = replace(
        HEADER, start=0, stop=num_elements, byte_count=4 * num_elements, chunk_bytes=4 * elements_per_chunk
    )

    sink, ends = feed(whole(sent, header.chunk_bytes), header)

    assert [value for _, span in sink.spans for value in span] == sent.tolist()
    assert [start for start, _ in sink.spans] == list(range(0, num_elements, elements_per_chunk))
    assert ends == [False] * len(sink.spans) + [True]


def test_spans_are_placed_from_the_header_s_start_on() -> None:
    sink, ends = feed(whole(vector()))

    assert sink.spans == [
        (10, vector()[:8].tolist()),
        (18, vector()[8:16].tolist()),
        (26, vector()[16:].tolist()),
    ]
    assert ends == [False, False, False, True]


def test_a_vector_that_does_not_lie_in_one_piece_is_cut_by_its_values() -> None:
    strided = np.arange(40, dtype=np.float32)[::2]

    assert b"".join(chunks(strided, 32)) == strided.tobytes()


def test_the_content_hash_is_that_of_the_whole() -> None:
    content_hash = ContentHash()
    for chunk in chunks(vector(), 32):
        content_hash.update(chunk)

    assert content_hash.digest() == vector_digest(vector())


def test_a_direction_of_length_zero_is_only_an_end_record() -> None:
    header = replace(HEADER, stop=10, byte_count=0)

    sink, ends = feed(whole(vector(0)), header)

    assert (sink.spans, ends) == ([], [True])


FRAMES = whole(vector())


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([FRAMES[0][:-4]], WireError),
        ([FRAMES[0] + b"\0\0\0\0"], WireError),
        ([FRAMES[0][:-1]], WireError),
        ([b""], WireError),
        ([FRAMES[3]], WireError),
        ([FRAMES[0], FRAMES[3]], WireError),
        ([FRAMES[0], FRAMES[1], FRAMES[3]], WireError),
        ([FRAMES[0], FRAMES[2]], WireError),
        ([FRAMES[0], FRAMES[1], FRAMES[1]], WireError),
        ([FRAMES[0], FRAMES[1], FRAMES[2], FRAMES[2]], WireError),
        ([FRAMES[1], FRAMES[0], FRAMES[2], FRAMES[3]], IntegrityError),
        ([FRAMES[0], FRAMES[0], FRAMES[2], FRAMES[3]], IntegrityError),
        ([*FRAMES[:3], encode_end(76, hashlib.sha256(b"".join(FRAMES[:3])).digest())], IntegrityError),
        ([*FRAMES[:3], encode_end(80, b"")], IntegrityError),
        ([*FRAMES[:3], b""], IntegrityError),
        ([*FRAMES[:3], b"\xff"], WireError),
        ([bytes(1 << 20)], WireError),
    ],
    ids=[
        "first chunk four bytes short",
        "first chunk four bytes long",
        "first chunk one byte short",
        "empty chunk",
        "end record at once",
        "end record after one chunk",
        "end record instead of the last chunk",
        "second chunk missing",
        "second chunk twice",
        "extra chunk",
        "chunks swapped",
        "chunk repeated in the place of another",
        "end record with another count",
        "end record without a hash",
        "empty end record",
        "end record of junk",
        "a chunk of another size than announced",
    ],
)
def test_frames_that_are_not_what_was_announced_are_refused(frames: list[bytes], kind: type[RemoteError]) -> None:
    with pytest.raises(RemoteError) as caught:
        feed(frames)

    assert type(caught.value) is kind
    assert "node 3" in str(caught.value)


@given(st.integers(0, 79), st.integers(0, 7))
def test_a_flipped_bit_is_never_taken_for_the_whole(offset: int, bit: int) -> None:
    data = bytearray(b"".join(FRAMES[:3]))
    data[offset] ^= 1 << bit

    with pytest.raises(WireError if not np.isfinite(np.frombuffer(data, "<f4")).all() else IntegrityError):
        feed([bytes(data[:32]), bytes(data[32:64]), bytes(data[64:]), FRAMES[3]])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 7, 8, 19])
def test_an_element_that_is_not_finite_is_named_and_not_folded(value: float, position: int) -> None:
    poisoned = vector()
    poisoned[position] = value
    sink = Sink()

    with pytest.raises(WireError, match=f"element {10 + position} of node 3"):
        feed_into(sink, whole(poisoned))

    assert all(math.isfinite(element) for _, span in sink.spans for element in span)


# --- updates


def test_an_update_of_another_length_than_its_schema_is_a_bug_of_ours() -> None:
    schema = ParameterSchema((TensorSpec("w", (2, 3), "float32"),))

    with pytest.raises(ValueError, match=r"\(5,\)"):
        ModelUpdate(vector(5), 1.0, schema)


@pytest.mark.parametrize("mass", [-1.0, math.nan, math.inf])
def test_an_update_has_a_finite_mass_from_zero_on(mass: float) -> None:
    schema = ParameterSchema((TensorSpec("w", (2, 3), "float32"),))

    with pytest.raises(ValueError, match="mass"):
        ModelUpdate(vector(6), mass, schema)


def test_an_update_s_vector_can_no_longer_be_written() -> None:
    update = ModelUpdate(vector(6), 1.0, ParameterSchema((TensorSpec("w", (2, 3), "float32"),)))

    assert not update.vector.flags.writeable


def test_schemas_of_other_names_shapes_or_dtypes_have_other_digests() -> None:
    specs = [
        (TensorSpec("a", (2, 3), "float32"), TensorSpec("b", (1,), "float32")),
        (TensorSpec("b", (1,), "float32"), TensorSpec("a", (2, 3), "float32")),
        (TensorSpec("a", (3, 2), "float32"), TensorSpec("b", (1,), "float32")),
        (TensorSpec("a", (2, 3), "float64"), TensorSpec("b", (1,), "float32")),
        (TensorSpec("a", (2, 3), "float32"), TensorSpec("c", (1,), "float32")),
        (TensorSpec("a", (2, 3), "float32"),),
        (TensorSpec("a", (2, 3), "float32"), TensorSpec("b", (), "float32")),
    ]

    assert len({ParameterSchema(spec).digest for spec in specs}) == len(specs)
    assert ParameterSchema(specs[0]).difference(ParameterSchema(specs[0])) is None
    assert "(3, 2)" in str(ParameterSchema(specs[0]).difference(ParameterSchema(specs[2])))
    assert "2 tensors against 1" in str(ParameterSchema(specs[0]).difference(ParameterSchema(specs[5])))
