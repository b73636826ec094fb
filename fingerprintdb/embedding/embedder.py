"""What an embedder is, and the error it raises."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fingerprintdb.errors import FingerprintError

Array = NDArray[np.float32]


class ModelError(FingerprintError):
    """A model that is missing, incomplete, of another kind, or that gives no usable vectors."""


class Embedder(Protocol):
    """Turns windows of sound into vectors whose cosine says how alike they are.

    `name` loads the same model again; `revision` identifies its exact weights or parameters, and
    vectors of different names or revisions are never compared. `dims` is the length of a vector.
    `is_light` says that it costs next to nothing to load it in each of many processes.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def revision(self) -> str: ...  # noqa: D102
    @property
    def dims(self) -> int: ...  # noqa: D102
    @property
    def sample_rate_hz(self) -> int: ...  # noqa: D102
    @property
    def is_light(self) -> bool: ...  # noqa: D102

    def embed_audio(self, windows: Sequence[Array], *, normalize: bool = True) -> Array:
        """Embed mono float32 windows at `sample_rate_hz`: float32 rows of shape (n, dims).

        Rows have unit length unless `normalize` is false. Raises ModelError where a vector would
        not be finite.
        """
        ...


@runtime_checkable
class TextEmbedder(Embedder, Protocol):
    """An embedder that puts sentences into the same space as sound."""

    def embed_text(self, texts: Sequence[str]) -> Array:
        """Embed sentences: float32 rows of unit length, shape (n, dims)."""
        ...


def unit(vectors: Array) -> Array:
    """Scale the rows (the last axis) to unit length; a row of zeros stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: Array = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return scaled
