"""CLAP through the real loading code, with a tiny model of random weights; no network."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_clap import (  # noqa: E402
    RATE_HZ,
    by_the_library,
    save_model,
    save_tokenizer,
    sound,
)

from fingerprintdb.embedding import ModelError, TextEmbedder, load, resolve  # noqa: E402
from fingerprintdb.embedding import checkpoint as checkpoints  # noqa: E402
from fingerprintdb.embedding.embedder import Array  # noqa: E402

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty hub cache; returns the cache."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("clap"))
    save_tokenizer(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy of the saved model that a test may damage."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.fixture(scope="session")
def embedder(saved: Path) -> TextEmbedder:
    loaded = load(str(saved))
    assert isinstance(loaded, TextEmbedder)
    return loaded


def test_what_it_says_of_itself(embedder: TextEmbedder, saved: Path) -> None:
    assert (embedder.name, embedder.dims, embedder.sample_rate_hz) == (str(saved), 512, 48_000)
    assert embedder.revision == load(str(saved)).revision


@pytest.mark.parametrize("duration_sec", [0.5, 3.3, 5.0, 10.0])
def test_equals_the_library(embedder: TextEmbedder, saved: Path, duration_sec: float) -> None:
    window = sound(1, duration_sec)
    (vector,) = embedder.embed_audio([window])
    np.testing.assert_allclose(vector, by_the_library(saved, [window])[0], atol=1e-4)


@pytest.mark.parametrize("duration_sec", [2.0, 10.0])
def test_log_mel_equals_the_librarys(embedder: Any, saved: Path, duration_sec: float) -> None:
    window = sound(2, duration_sec)
    extractor = transformers.ClapFeatureExtractor.from_pretrained(saved)
    theirs = extractor(window, sampling_rate=RATE_HZ, truncation="rand_trunc", padding="repeatpad")
    ours = embedder._log_mel([window]).cpu().numpy()
    assert ours.shape == (1, 1, 1001, 64)
    np.testing.assert_allclose(ours[0], theirs["input_features"][0], atol=1e-3)  # dB


def test_a_model_that_fuses_equals_the_library(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "fused", fuses=True)
    window = sound(3, 5.0)
    (vector,) = load(str(folder)).embed_audio([window])
    np.testing.assert_allclose(vector, by_the_library(folder, [window])[0], atol=1e-4)


def test_rows_are_units_and_batches_equal_single_windows(embedder: TextEmbedder) -> None:
    windows = [sound(seed, 1 + 0.5 * seed) for seed in range(10)]
    together = embedder.embed_audio(windows)
    assert together.shape == (10, 512)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    singly = np.concatenate([embedder.embed_audio([w]) for w in windows])
    np.testing.assert_allclose(together, singly, atol=1e-5)
    np.testing.assert_array_equal(together, embedder.embed_audio(windows))
    assert embedder.embed_audio([]).shape == (0, 512)


def test_a_long_window_is_the_weighted_mean_of_its_pieces(embedder: TextEmbedder) -> None:
    long = sound(4, 25.0)
    pieces = embedder.embed_audio([long[:480_000], long[480_000:960_000], long[960_000:]])
    expected = pieces[0] * 10 + pieces[1] * 10 + pieces[2] * 5
    before, vector = embedder.embed_audio([sound(5, 1.0), long])
    np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    np.testing.assert_allclose(before, embedder.embed_audio([sound(5, 1.0)])[0], atol=1e-5)


def test_unnormalised_rows_keep_the_projections_length(embedder: TextEmbedder) -> None:
    raw = embedder.embed_audio([sound(6, 5.0)], normalize=False)
    assert abs(np.linalg.norm(raw) - 1) > 1e-3
    unit = embedder.embed_audio([sound(6, 5.0)])
    np.testing.assert_allclose(raw / np.linalg.norm(raw), unit, atol=1e-6)


def test_text_goes_into_the_same_space(embedder: TextEmbedder, saved: Path) -> None:
    texts = [f"the sound of {'rain ' * n}" for n in range(1, 11)]
    vectors = embedder.embed_text(texts)
    assert vectors.shape == (10, 512)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    model = transformers.ClapModel.from_pretrained(saved).eval()
    with torch.inference_mode():
        output = model.get_text_features(**tokenizer(texts[:1], return_tensors="pt"))
    np.testing.assert_allclose(vectors[0], output.pooler_output.numpy()[0], atol=1e-5)


def test_a_sentence_longer_than_the_model_reads_is_cut(embedder: TextEmbedder) -> None:
    assert np.isfinite(embedder.embed_text(["rain " * 100])).all()


def test_loading_prints_nothing_and_leaves_the_librarys_log_as_it_was(
    saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = transformers.utils.logging.get_verbosity()
    load(str(saved))
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == before
    assert transformers.utils.logging.is_progress_bar_enabled()


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_revision_follows_the_weights(folder: Path, embedder: TextEmbedder) -> None:
    assert load(str(folder)).revision == embedder.revision
    model = transformers.ClapModel.from_pretrained(folder)
    with torch.no_grad():
        model.logit_scale_a.add_(1)
    model.save_pretrained(folder)
    assert load(str(folder)).revision != embedder.revision


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_folder_that_lacks_a_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        load(str(folder))


def test_weights_cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(ModelError, match=r"does not load.*fetch or save it again"):
        load(str(folder))


def test_weights_of_which_some_are_missing(folder: Path) -> None:
    model = transformers.ClapModel.from_pretrained(folder)
    weights = {k: v for k, v in model.state_dict().items() if "audio_projection" not in k}
    model.save_pretrained(folder, state_dict=weights)
    with pytest.raises(ModelError, match="4 weights are missing, the first audio_projection"):
        load(str(folder))


def test_configuration_that_is_no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        load(str(folder))


def test_another_architecture(folder: Path) -> None:
    edit_config(folder, model_type="wav2vec2")
    supported = "of type wav2vec2, not clap or audio-spectrogram-transformer"
    with pytest.raises(ModelError, match=supported):
        load(str(folder))


def test_another_vector_length(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "narrow", projection_dim=256)
    save_tokenizer(folder)
    embedder = load(str(folder))
    assert isinstance(embedder, TextEmbedder)
    assert embedder.dims == 256
    assert embedder.embed_audio([sound(1, 1.0)]).shape == (1, 256)
    assert embedder.embed_text(["rain"]).shape == (1, 256)


def test_no_tokenizer_still_embeds_audio(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()
    embedder = load(str(folder))
    assert isinstance(embedder, TextEmbedder)
    assert embedder.embed_audio([sound(1, 1.0)]).shape == (1, 512)
    with pytest.raises(ModelError, match="holds no tokenizer"):
        embedder.embed_text(["rain"])


def test_a_tokenizer_that_does_not_load(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    embedder = load(str(folder))
    assert isinstance(embedder, TextEmbedder)
    with pytest.raises(ModelError, match="does not load"):
        embedder.embed_text(["rain"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_audio_that_is_not_finite(embedder: TextEmbedder, value: float) -> None:
    broken = sound(1, 1.0)
    broken[100] = value
    with pytest.raises(ModelError, match="audio holds values that are not finite"):
        embedder.embed_audio([sound(1, 1.0), broken])


def test_output_that_is_not_finite(folder: Path) -> None:
    model = transformers.ClapModel.from_pretrained(folder)
    with torch.no_grad():
        model.audio_projection.linear2.bias[7] = np.inf
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="gave numbers that are not finite"):
        load(str(folder)).embed_audio([sound(1, 1.0)])


def test_output_that_is_not_finite_fails_the_call_whose_it_is(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls share a batch; the model gives NaN for a piece of one."""
    embedder: Any = load(str(saved))
    run, batches = embedder._batches._model, []
    has_begun, may_go_on = Event(), Event()

    def nan_for_long(pieces: Sequence[Array]) -> Array:
        batches.append(len(pieces))
        has_begun.set()
        assert may_go_on.wait(30)
        vectors: Array = run(pieces)
        vectors[[len(piece) == 2 * RATE_HZ for piece in pieces]] = np.nan
        return vectors

    monkeypatch.setattr(embedder._batches, "_model", nan_for_long)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(embedder.embed_audio, [sound(1, 1.0)])
        assert has_begun.wait(30)
        failing = pool.submit(embedder.embed_audio, [sound(2, 1.0), sound(3, 2.0)])
        whole = pool.submit(embedder.embed_audio, [sound(4, 1.0)])
        while len(embedder._batches._waiting) < 3:
            assert not any(call.done() for call in (first, failing, whole))
        may_go_on.set()
        assert np.isfinite(first.result()).all()
        assert np.isfinite(whole.result()).all()
        with pytest.raises(ModelError, match="gave numbers that are not finite"):
            failing.result()
    assert batches == [1, 3]


def put_into_cache(cache: Path, saved: Path, name: str = checkpoints.DEFAULT_CHECKPOINT) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    return Path(shutil.copytree(saved, repository / "snapshots" / COMMIT))


@pytest.mark.parametrize("name", ["clap", "laion/clap-htsat-tiny", "laion/clap-htsat-unfused"])
def test_aliases_load_the_real_checkpoint_from_the_cache(
    name: str, offline: Path, saved: Path
) -> None:
    put_into_cache(offline, saved)
    embedder = load(name)
    assert (embedder.name, embedder.revision) == ("laion/clap-htsat-unfused", COMMIT)
    assert resolve(name).name == "laion/clap-htsat-unfused"


def test_auto_takes_clap_where_its_weights_are_and_says_why(offline: Path, saved: Path) -> None:
    without = resolve("auto")
    assert without.name == "builtin"
    assert without.reason == "CLAP's weights are not on this machine"
    assert without.remedy == "hf download laion/clap-htsat-unfused"
    folder = put_into_cache(offline, saved)
    assert resolve("auto").name == "laion/clap-htsat-unfused"
    (folder / "model.safetensors").unlink()  # as an interrupted download leaves it
    assert resolve("auto").name == "builtin"


def test_weights_not_on_this_machine() -> None:
    with pytest.raises(ModelError, match="not on this machine — hf download laion/clap"):
        load("clap")


def test_download_honours_offline() -> None:
    with pytest.raises(ModelError, match=r"cannot be fetched from the hub.*HF_HUB_OFFLINE"):
        load("clap", download=True)


def test_download_fetches_into_the_cache(
    offline: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []

    def snapshot_download(name: str, *, allow_patterns: list[str]) -> None:
        asked.append(allow_patterns[-1])
        if len(asked) == 2:
            put_into_cache(offline, saved, name)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert load("clap", download=True).revision == COMMIT
    assert asked == ["model.safetensors", "pytorch_model.bin"]


@pytest.mark.parametrize("name", ["nonsense", "/no/such/folder", ""])
def test_name_that_means_nothing(name: str) -> None:
    with pytest.raises(ModelError):
        load(name)


def test_without_torch_it_names_the_extra(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None)
    assert resolve("auto").reason == "torch and transformers are not installed"
    for name in ("clap", str(saved)):
        with pytest.raises(ModelError, match=r"pip install 'fingerprintdb\[clap\]'"):
            load(name)


def test_broken_torchaudio_gets_a_message_not_a_traceback(saved: Path, tmp_path: Path) -> None:
    """As the published wheel beside a CPU build of torch: it is there, and its import fails."""
    package = tmp_path / "broken" / "torchaudio"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open')")
    metadata = tmp_path / "broken" / "torchaudio-2.11.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.11.0\n")
    program = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r})\n"
        "from fingerprintdb.embedding import ModelError, load\n"
        f"try: load({str(saved)!r})\n"
        "except ModelError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert "cannot import its ClapModel" in done.stdout
    assert "pip uninstall torchaudio" in done.stdout
