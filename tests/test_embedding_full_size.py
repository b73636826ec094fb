"""A CLAP of full size, with random weights, gives the library's vectors, also in bfloat16."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_clap import by_the_library, save_full_size, sound  # noqa: E402

from fingerprintdb.embedding import Embedder, device, load  # noqa: E402
from fingerprintdb.embedding.embedder import Array, unit  # noqa: E402

BOUND = 1e-4


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_full_size(tmp_path_factory.mktemp("full"), fuses=request.param)


@pytest.fixture(scope="module")
def embedder(folder: Path) -> Embedder:
    return load(str(folder))


def cosine_distance(first: Array, second: Array) -> float:
    return float(1 - np.dot(unit(first.astype(np.float64)), unit(second.astype(np.float64))))


def test_equals_the_library(embedder: Embedder, folder: Path) -> None:
    """Shorter than ten seconds (repeated), exactly ten, and longer (the mean of its pieces)."""
    long = sound(3, 15.0)
    windows = [sound(1, 3.3), sound(2, 10.0), long]
    short, whole, first, rest = by_the_library(
        folder, [*windows[:2], long[:480_000], long[480_000:]]
    )
    joined = unit(first) * 10 + unit(rest) * 5
    vectors = embedder.embed_audio(windows)
    for vector, expected in zip(vectors, (short, whole, joined), strict=True):
        assert cosine_distance(vector, expected) <= BOUND
    # Or the bound would say nothing: the model tells these sounds apart.
    assert cosine_distance(vectors[0], vectors[1]) > 20 * BOUND


@pytest.mark.parametrize("folder", [False], ids=["unfused"], indirect=True)
def test_equals_the_library_in_bfloat16(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_has_bf16", lambda *_: True)
    window = sound(4, 5.0)
    (vector,) = load(str(folder)).embed_audio([window])
    (expected,) = by_the_library(folder, [window])
    # Not zero, which would be float32 again.
    assert 1e-8 < cosine_distance(vector, expected) <= BOUND
