"""Closed models on disk: bit-exact, named by content, refused by name when damaged, and nowhere but in their folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from raftgossip.errors import NotFound, StorageError
from raftgossip.runtime.model_store import MAX_HEADER_BYTES, SUFFIX, ModelStore
from raftgossip.update import FloatVector, ParameterSchema, TensorSpec, vector_digest

SCHEMA = ParameterSchema(
    (
        TensorSpec("layer.weight", (3, 4), "float32"),
        TensorSpec("layer.bias", (3,), "float32"),
        TensorSpec("scale", (), "float32"),
        TensorSpec("../../größe\0", (2,), "float32"),
        TensorSpec("empty", (0, 5), "float32"),
    )
)
"""Names come from a user's modules: they are text in the file, and never part of a path."""


def vector(seed: int = 1) -> FloatVector:
    return np.random.default_rng(seed).standard_normal(SCHEMA.num_elements).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


def path_of(store: ModelStore, digest: bytes) -> Path:
    return store._folder / f"{digest.hex()}{SUFFIX}"


@pytest.mark.parametrize("seed", range(5))
def test_a_model_comes_back_bit_for_bit_and_read_only(store: ModelStore, seed: int) -> None:
    digest = store.save(vector(seed), SCHEMA)

    loaded = store.load(digest, SCHEMA)

    assert loaded.tobytes() == vector(seed).tobytes()
    assert digest == vector_digest(vector(seed))
    assert not loaded.flags.writeable


def test_values_that_are_not_finite_are_kept_as_they_are(store: ModelStore) -> None:
    # The store is not the judge: whether a vector is finite is checked where it comes from, in trainer and exchange.
    odd = vector()
    odd[:5] = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000, 1], dtype="<u4").view("<f4")

    assert store.load(store.save(odd, SCHEMA), SCHEMA).tobytes() == odd.tobytes()


def test_a_model_that_is_not_here_is_not_found(store: ModelStore) -> None:
    assert not store.has(b"x" * 32)
    with pytest.raises(NotFound, match="787878"):
        store.load(b"x" * 32, SCHEMA)


def test_saving_the_same_model_again_changes_nothing(store: ModelStore) -> None:
    assert store.save(vector(), SCHEMA) == store.save(vector(), SCHEMA)

    assert len(list(store._folder.iterdir())) == 1


def test_models_are_listed_from_the_oldest_on(store: ModelStore) -> None:
    digests = [store.save(vector(seed), SCHEMA) for seed in range(4)]
    for age, digest in enumerate(digests):
        os.utime(path_of(store, digest), ns=(0, 10 - age))
    (store._folder / f"notes{SUFFIX}").touch()

    assert store.digests() == digests[::-1]


def test_pruning_keeps_what_it_is_told_to(store: ModelStore) -> None:
    digests = [store.save(vector(seed), SCHEMA) for seed in range(4)]

    store.prune(digests[1:3])

    assert sorted(store.digests()) == sorted(digests[1:3])
    assert store.load(digests[1], SCHEMA).tobytes() == vector(1).tobytes()


# --- damage


def test_a_file_with_another_model_than_its_name_says_is_refused(store: ModelStore) -> None:
    digest, other = store.save(vector(1), SCHEMA), store.save(vector(2), SCHEMA)
    path_of(store, other).replace(path_of(store, digest))

    with pytest.raises(StorageError, match="another model than its name"):
        store.load(digest, SCHEMA)


def test_a_file_cut_at_any_byte_is_refused_by_name(store: ModelStore) -> None:
    digest = store.save(vector(), SCHEMA)
    path = path_of(store, digest)
    data = path.read_bytes()

    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(StorageError, match=str(path)):
            store.load(digest, SCHEMA)


def test_a_file_with_any_byte_changed_is_refused_or_still_the_same_model(store: ModelStore) -> None:
    digest = store.save(vector(), SCHEMA)
    path = path_of(store, digest)
    data = path.read_bytes()
    num_refused = 0

    for offset in range(len(data)):
        for bit in (offset % 8, (offset + 3) % 8):
            damaged = bytearray(data)
            damaged[offset] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                assert store.load(digest, SCHEMA).tobytes() == vector().tobytes()
            except StorageError:
                num_refused += 1

    assert num_refused > len(data)


def test_bytes_after_the_end_are_refused(store: ModelStore) -> None:
    digest = store.save(vector(), SCHEMA)
    with path_of(store, digest).open("ab") as file:
        file.write(b"\0")

    with pytest.raises(StorageError, match="bytes instead of"):
        store.load(digest, SCHEMA)


Header = dict[str, object]


def rewritten(data: bytes, change: Callable[[Header], object]) -> bytes:
    """The same file with another header; `change` may give it as text, or edit the table in place."""
    size = int.from_bytes(data[:8], "little")
    header: Header = json.loads(data[8 : 8 + size])
    result = change(header)
    text = (result if isinstance(result, str) else json.dumps(header)).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def renamed(header: Header) -> None:
    header["layer.heaviness"] = header.pop("layer.weight")


def reshaped(header: Header) -> None:
    header["layer.weight"] = {**dict(header["layer.weight"]), "shape": [4, 3]}  # type: ignore[call-overload]


def retyped(header: Header) -> None:
    header["layer.weight"] = {**dict(header["layer.weight"]), "dtype": "I32"}  # type: ignore[call-overload]


def extra(header: Header) -> None:
    header["more"] = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}


def missing(header: Header) -> None:
    del header["empty"]


def not_a_table_entry(header: Header) -> None:
    header["layer.bias"] = [1, 2]


def offsets_beyond_the_end(header: Header) -> None:
    header["layer.bias"] = {"dtype": "F32", "shape": [3], "data_offsets": [10**6, 10**6 + 12]}


def offsets_that_overlap(header: Header) -> None:
    header["layer.bias"] = {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}


def offsets_missing(header: Header) -> None:
    header["layer.bias"] = {"dtype": "F32", "shape": [3]}


def shape_of_fractions(header: Header) -> None:
    header["layer.bias"] = {**dict(header["layer.bias"]), "shape": [3.0]}  # type: ignore[call-overload]


def shape_of_truths(header: Header) -> None:
    header["scale"] = {**dict(header["scale"]), "shape": True}  # type: ignore[call-overload]


def metadata_of_numbers(header: Header) -> None:
    header["__metadata__"] = {"format": 1}


def a_key_twice(header: Header) -> str:
    return json.dumps(header)[:-1] + ', "layer.bias": ' + json.dumps(header["layer.bias"]) + "}"


def a_key_twice_inside(header: Header) -> str:
    return json.dumps(header).replace('"shape": [3]', '"shape": [4], "shape": [3]')


def a_list(header: Header) -> str:
    return "[]"


def nested_beyond_reason(header: Header) -> str:
    return "[" * 200_000


def infinite(header: Header) -> str:
    return '{"layer.bias": Infinity}'


CHANGES: tuple[Callable[[Header], object], ...] = (
    renamed,
    reshaped,
    retyped,
    extra,
    missing,
    not_a_table_entry,
    offsets_beyond_the_end,
    offsets_that_overlap,
    offsets_missing,
    shape_of_fractions,
    shape_of_truths,
    metadata_of_numbers,
    a_key_twice,
    a_key_twice_inside,
    a_list,
    nested_beyond_reason,
    infinite,
)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_file_whose_header_lies_is_refused_by_name(store: ModelStore, change: Callable[[Header], object]) -> None:
    digest = store.save(vector(), SCHEMA)
    path = path_of(store, digest)
    path.write_bytes(rewritten(path.read_bytes(), change))

    with pytest.raises(StorageError, match=str(path)):
        store.load(digest, SCHEMA)


@pytest.mark.parametrize("change", [renamed, reshaped, missing], ids=lambda change: change.__name__)
def test_a_tensor_that_differs_from_the_schema_is_named(store: ModelStore, change: Callable[[Header], object]) -> None:
    digest = store.save(vector(), SCHEMA)
    path = path_of(store, digest)
    path.write_bytes(rewritten(path.read_bytes(), change))

    with pytest.raises(StorageError, match=r"'(layer\.weight|empty)'"):
        store.load(digest, SCHEMA)


@pytest.mark.parametrize("size", [MAX_HEADER_BYTES + 1, 2**63, 2**64 - 1])
def test_a_header_that_claims_to_be_huge_is_refused_unread(store: ModelStore, size: int) -> None:
    digest = store.save(vector(), SCHEMA)
    path = path_of(store, digest)
    path.write_bytes(size.to_bytes(8, "little") + bytes(MAX_HEADER_BYTES + 2))

    with pytest.raises(StorageError, match=f"cannot be {size} bytes"):
        store.load(digest, SCHEMA)


def test_a_model_of_another_schema_is_refused(store: ModelStore) -> None:
    digest = store.save(vector(), SCHEMA)
    other = ParameterSchema((TensorSpec("layer.weight", (18,), "float32"),))

    with pytest.raises(StorageError, match=r"layer\.weight"):
        store.load(digest, other)


# --- the folder


def test_what_an_interrupted_save_left_is_removed_at_the_next_start(store: ModelStore) -> None:
    digest = store.save(vector(), SCHEMA)
    (store._folder / f"{'ab' * 32}.part").write_bytes(b"half")

    again = ModelStore(store._folder)

    assert again.digests() == [digest]
    assert [path.suffix for path in store._folder.iterdir()] == [SUFFIX]


def test_an_interrupted_save_is_never_seen_under_the_model_s_name(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)  # no folder of a test runs out of space by itself

    with pytest.raises(StorageError, match="No space left on device"):
        store.save(vector(), SCHEMA)
    assert store.digests() == []
    assert not store.has(vector_digest(vector()))
    assert list(ModelStore(store._folder)._folder.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").touch()

    with pytest.raises(StorageError, match=str(tmp_path / "models")):
        ModelStore(tmp_path / "models")


def test_nothing_outside_the_folder_is_written_through_a_link(store: ModelStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    digest = vector_digest(vector())
    path_of(store, digest).symlink_to(outside)
    path_of(store, digest).with_suffix(".part").symlink_to(outside)

    store.save(vector(), SCHEMA)

    assert outside.read_bytes() == b"precious"
    assert store.load(digest, SCHEMA).tobytes() == vector().tobytes()
    store.prune([])
    assert outside.read_bytes() == b"precious"


@pytest.mark.parametrize("name", [b"../x", b"/etc/passwd", b"", b"\0", b"a" * 10_000, "größe".encode()])
def test_a_digest_that_is_no_digest_is_only_a_name_that_is_not_found(
    store: ModelStore, name: bytes, tmp_path: Path
) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"outside")

    assert not store.has(name)
    with pytest.raises(NotFound):
        store.load(name, SCHEMA)
    assert [path.name for path in store._folder.iterdir()] == []
