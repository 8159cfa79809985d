"""A model update on its way between peers: one flat vector, its mass, and what its elements mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

FloatVector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One averaged tensor: its name in the module, its shape, and its dtype's name (e.g. `float32`)."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def num_elements(self) -> int:
        """How many elements it takes in the flat vector."""
        product = 1
        for size in self.shape:
            product *= size
        return product


@dataclass(frozen=True)
class ParameterSchema:
    """What the elements of a flat vector mean: the averaged tensors in order. Two peers may average iff it is equal."""

    tensors: tuple[TensorSpec, ...]

    @cached_property
    def num_elements(self) -> int:
        """P, the length of the flat vector."""
        return sum(tensor.num_elements for tensor in self.tensors)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over names, shapes and dtypes, in order."""
        lines = (f"{t.name}\0{','.join(map(str, t.shape))}\0{t.dtype}\n" for t in self.tensors)
        return hashlib.sha256("".join(lines).encode()).digest()

    def difference(self, other: ParameterSchema) -> str | None:
        """Name the first tensor in which the two schemas differ; None if they are equal."""
        for mine, theirs in zip(self.tensors, other.tensors, strict=False):
            if mine != theirs:
                return f"{mine.name} {mine.shape} {mine.dtype} against {theirs.name} {theirs.shape} {theirs.dtype}"
        if len(self.tensors) != len(other.tensors):
            return f"{len(self.tensors)} tensors against {len(other.tensors)}"
        return None


@dataclass(frozen=True, eq=False)
class ModelUpdate:
    """A vector that is averaged. `vector`: (P,) float32, read-only, owned by whoever holds the update.

    `mass` is the push-sum weight that travels with it (Kempe et al. 2003): the sample count for FedAvg, 1 for uniform
    mixing. It is finite and not negative.
    """

    vector: FloatVector
    mass: float
    schema: ParameterSchema

    def __post_init__(self) -> None:
        if self.vector.shape != (self.schema.num_elements,) or self.vector.dtype != np.float32:
            raise ValueError(
                f"the vector is {self.vector.shape} {self.vector.dtype}; "
                f"the schema says ({self.schema.num_elements},) float32"
            )
        if not (np.isfinite(self.mass) and self.mass >= 0):
            raise ValueError(f"the mass {self.mass} is not a finite number from 0 on")
        self.vector.flags.writeable = False


def vector_digest(vector: FloatVector) -> bytes:
    """SHA-256 of a flat vector's float32 little-endian bytes: the content hash of a model. `vector`: (P,) float32."""
    return hashlib.sha256(np.ascontiguousarray(vector, dtype="<f4").data).digest()
