"""AST through the real loading code, with a tiny model of random weights; no network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_ast import save_model  # noqa: E402

from fingerprintdb.embedding import Embedder, ModelError, TextEmbedder, load  # noqa: E402
from fingerprintdb.embedding.ast import AstEmbedder  # noqa: E402
from fingerprintdb.embedding.embedder import Array  # noqa: E402

RATE_HZ = 16_000
LONGEST = 400 + 1023 * 160


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("ast"))


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="module")
def embedder(saved: Path) -> Embedder:
    return load(str(saved))


def sound(seed: int, samples: int) -> Array:
    rng = np.random.default_rng(seed)
    tone = np.sin(np.arange(samples) * rng.uniform(0.05, 1.5))
    return np.asarray(0.3 * tone + 0.1 * rng.standard_normal(samples), np.float32)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def by_the_library(folder: Path, window: Array) -> Array:
    """Return what the published recipe gives, which reads the classifier's own tower."""
    model = transformers.ASTForAudioClassification.from_pretrained(folder).eval()
    extractor = transformers.ASTFeatureExtractor.from_pretrained(folder)
    inputs = extractor(window, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        pooled = model.audio_spectrogram_transformer(**inputs).pooler_output
    vector: Array = pooled.numpy()[0]
    return vector


def test_what_it_says_of_itself(embedder: Embedder, saved: Path) -> None:
    assert isinstance(embedder, AstEmbedder)
    assert not isinstance(embedder, TextEmbedder)
    assert (embedder.name, embedder.dims, embedder.sample_rate_hz) == (str(saved), 24, RATE_HZ)
    assert not embedder.is_light
    assert embedder.revision == load(str(saved)).revision


@pytest.mark.filterwarnings("ignore:At least one mel filter")
@pytest.mark.parametrize("samples", [400, 5 * RATE_HZ, LONGEST])
def test_equals_the_library(embedder: Embedder, saved: Path, samples: int) -> None:
    window = sound(1, samples)
    (vector,) = embedder.embed_audio([window], normalize=False)
    np.testing.assert_allclose(vector, by_the_library(saved, window), atol=1e-5)


def test_rows_are_units_and_batches_equal_single_windows(embedder: Embedder) -> None:
    windows = [sound(seed, 8_000 * (seed + 1)) for seed in range(6)]
    together = embedder.embed_audio(windows)
    assert (together.shape, together.dtype) == ((6, 24), np.float32)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    singly = np.concatenate([embedder.embed_audio([window]) for window in windows])
    np.testing.assert_allclose(together, singly, atol=1e-5)
    assert np.linalg.norm(together[0] - together[1]) > 1e-3
    assert embedder.embed_audio([]).shape == (0, 24)


def test_a_long_window_is_the_weighted_mean_of_its_pieces(embedder: Embedder) -> None:
    long = sound(2, LONGEST + 50)  # the rest is shorter than a frame
    whole, rest = embedder.embed_audio([long[:LONGEST], long[LONGEST:]])
    expected = whole * LONGEST + rest * 50
    (vector,) = embedder.embed_audio([long])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_model_without_classifier_gives_the_same(embedder: Embedder, tmp_path: Path) -> None:
    bare = load(str(save_model(tmp_path / "bare", classifies=False)))
    window = [sound(3, RATE_HZ)]
    np.testing.assert_array_equal(bare.embed_audio(window), embedder.embed_audio(window))
    assert bare.revision != embedder.revision


def test_the_published_width_is_the_default(tmp_path: Path) -> None:
    folder = save_model(
        tmp_path / "wide", hidden_size=768, num_hidden_layers=1, num_attention_heads=12
    )
    embedder = load(str(folder))
    assert embedder.dims == 768
    assert embedder.embed_audio([sound(1, RATE_HZ)]).shape == (1, 768)


def test_weights_of_which_some_are_missing(folder: Path) -> None:
    model = transformers.ASTForAudioClassification.from_pretrained(folder)
    weights = {k: v for k, v in model.state_dict().items() if "cls_token" not in k}
    model.save_pretrained(folder, state_dict=weights)
    with pytest.raises(ModelError, match=r"1 weights are missing.*embeddings\.cls_token"):
        load(str(folder))


def test_a_feature_extractor_of_another_model(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_length": 512}))
    with pytest.raises(ModelError, match="feature extractor belongs to another model"):
        load(str(folder))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_audio_that_is_not_finite(embedder: Embedder, value: float) -> None:
    broken = sound(1, RATE_HZ)
    broken[100] = value
    with pytest.raises(ModelError, match="audio holds values that are not finite"):
        embedder.embed_audio([broken])


def test_output_that_is_not_finite(folder: Path) -> None:
    model = transformers.ASTForAudioClassification.from_pretrained(folder)
    with torch.no_grad():
        model.audio_spectrogram_transformer.layernorm.bias[3] = np.inf
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="gave numbers that are not finite"):
        load(str(folder)).embed_audio([sound(1, RATE_HZ)])
