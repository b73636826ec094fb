"""Windows longer than a model hears at once: cut into pieces, and their vectors joined."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from fingerprintdb.embedding.embedder import Array, ModelError, unit


def embed_in_pieces(
    windows: Sequence[Array],
    longest: int,
    dims: int,
    embed: Callable[[Sequence[Array]], Sequence[Array]],
    *,
    normalize: bool,
) -> Array:
    """Return a vector for each window, of whatever length: float32 of shape (n, dims).

    A window of more than `longest` samples is cut into pieces of that and a rest; its vector is
    the mean of the pieces' vectors weighted by their lengths: with `normalize` of the unit
    vectors, brought to unit length again, without of what `embed` returns for them.

    Raises ModelError where a window holds NaN or infinity.
    """
    if not all(np.isfinite(window).all() for window in windows):
        raise ModelError(
            "the audio holds values that are not finite numbers",
            "decode it again, or replace them by zeros",
        )
    pieces = [
        (row, window[start : start + longest])
        for row, window in enumerate(windows)
        for start in range(0, len(window), longest)
    ]
    vectors = np.zeros((len(windows), dims), np.float32)
    embedded = embed([samples for _, samples in pieces])
    for (row, samples), vector in zip(pieces, embedded, strict=True):
        weight = np.float32(len(samples) / len(windows[row]))
        vectors[row] += weight * (unit(vector) if normalize else vector)
    return unit(vectors) if normalize else vectors


def require_finite(vectors: Iterable[Array], model: str) -> None:
    """Raise ModelError, naming the model, where a vector holds NaN or infinity."""
    if not all(np.isfinite(vector).all() for vector in vectors):
        raise ModelError(
            f"{model} gave numbers that are not finite",
            "check the audio for extreme values, then the model's files",
        )
