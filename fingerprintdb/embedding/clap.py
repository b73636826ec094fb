"""CLAP through transformers: sound and sentences as vectors in one 512-d space.

Method: Wu et al., "Large-scale Contrastive Language-Audio Pretraining with Feature Fusion and
Keyword-to-Caption Augmentation", ICASSP 2023. torch and transformers are imported when a model is
loaded, never before: they take seconds, and a host without them can still use the rest.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from fingerprintdb.embedding.checkpoint import (
    DIMS,
    INSTALL_COMMAND,
    Checkpoint,
    broken,
    first_line,
    is_installed,
)
from fingerprintdb.embedding.embedder import Array, ModelError, unit

# Ten-second pieces at a time, which also bounds the memory. One core takes 0.23 s a piece in fours,
# 0.26 s singly and 0.29 s in eights.
_BATCH = 4
_BATCH_GPU = 32


class ClapEmbedder:
    """A loaded ClapModel, on the GPU where there is one."""

    dims = DIMS
    is_light = False

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Load what `find` has found. Raises ModelError where it does not load whole."""
        folder, self.name, self.revision = checkpoint
        self._folder = folder
        self._torch, transformers = _libraries()
        with _quiet(transformers):
            try:
                extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
                model, report = transformers.ClapModel.from_pretrained(
                    folder, local_files_only=True, output_loading_info=True
                )
            except Exception as error:  # safetensors, pickle and torch each raise their own
                raise broken(folder, first_line(error)) from error
        if absent := sorted(report["missing_keys"]):
            # transformers fills what is missing with random numbers and only logs it.
            raise broken(folder, f"{len(absent)} weights are missing, the first {absent[0]}")
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._batch = _BATCH_GPU if self._device == "cuda" else _BATCH
        self._model = model.eval().to(self._device)
        self._tokenizer: Any = None
        self.sample_rate_hz: int = extractor.sampling_rate
        self._piece = int(extractor.nb_max_samples)
        self._hop: int = extractor.hop_length
        # The original implementation's two mel scales: HTK's where it fuses, else Slaney's.
        fuses = model.config.audio_config.enable_fusion
        filters = extractor.mel_filters if fuses else extractor.mel_filters_slaney
        self._filters = self._tensor(filters)
        self._taper = self._torch.hann_window(extractor.fft_window_size, device=self._device)

    def embed_audio(self, windows: Sequence[Array], *, normalize: bool = True) -> Array:
        """Embed mono float32 windows at `sample_rate_hz`: float32 of shape (n, 512).

        A window up to ten seconds is repeated as often as it fits into ten and padded with zeros
        (the library's `repeatpad`). A longer one, which the library would crop at random, is cut
        into pieces of ten seconds and a rest, and its vector is the mean of the pieces' unit
        vectors weighted by their lengths. Rows have unit length; with `normalize` false they are
        the projection's own output, for a long window the weighted mean of it.

        Raises ModelError where the output is not finite.
        """
        pieces = [
            (row, window[start : start + self._piece])
            for row, window in enumerate(windows)
            for start in range(0, len(window), self._piece)
        ]
        vectors = np.zeros((len(windows), DIMS), np.float32)
        with self._torch.inference_mode():
            for start in range(0, len(pieces), self._batch):
                batch = pieces[start : start + self._batch]
                mel = self._log_mel([samples for _, samples in batch])
                longer = self._torch.zeros((len(batch), 1), dtype=bool, device=self._device)
                pooled = self._model.audio_model(mel, is_longer=longer).pooler_output
                embedded = self._finite(self._model.audio_projection(pooled))
                for (row, samples), vector in zip(batch, embedded, strict=True):
                    weight = np.float32(len(samples) / len(windows[row]))
                    vectors[row] += weight * (unit(vector) if normalize else vector)
        return unit(vectors) if normalize else vectors

    def embed_text(self, texts: Sequence[str]) -> Array:
        """Embed sentences: float32 rows of unit length, shape (n, 512).

        Raises ModelError where the folder holds no tokenizer or the output is not finite.
        """
        self._tokenizer = self._tokenizer or self._load_tokenizer()
        vectors = np.zeros((len(texts), DIMS), np.float32)
        with self._torch.inference_mode():
            for start in range(0, len(texts), self._batch):
                batch = list(texts[start : start + self._batch])
                tokens = self._tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
                output = self._model.get_text_features(**tokens.to(self._device))
                vectors[start : start + self._batch] = self._finite(output.pooler_output)
        return unit(vectors)

    def _log_mel(self, pieces: Sequence[Array]) -> Any:
        """Return what ClapFeatureExtractor returns, from torch, (batch, 1, frames, bands) in dB.

        It takes a sixth of the library's time (5.6 against 33 ms a window on one core) and equals
        it within 0.005 dB; the vectors' cosine is 1 to seven digits.
        """
        torch = self._torch
        samples = np.zeros((len(pieces), self._piece), np.float32)
        for row, piece in zip(samples, pieces, strict=True):
            repeated = np.tile(piece, self._piece // len(piece))
            row[: len(repeated)] = repeated
        spectrum = torch.stft(
            self._tensor(samples), len(self._taper), self._hop, window=self._taper,
            pad_mode="reflect", return_complex=True,
        )  # fmt: skip
        power = spectrum.real**2 + spectrum.imag**2
        mel = power.transpose(1, 2) @ self._filters
        return 10.0 * torch.log10(mel.clamp(min=1e-10)).unsqueeze(1)

    def _tensor(self, values: Any) -> Any:
        return self._torch.as_tensor(values, dtype=self._torch.float32, device=self._device)

    def _finite(self, output: Any) -> Array:
        vectors: Array = output.float().cpu().numpy()
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"{self.name} gave numbers that are not finite",
                "check the audio for NaN or infinity, then the model's files",
            )
        return vectors

    def _load_tokenizer(self) -> Any:
        # Without these files AutoTokenizer makes one with an empty vocabulary, and says nothing.
        if not any((self._folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise ModelError(
                f"{self._folder} holds no tokenizer, so {self.name} cannot embed text",
                "save the checkpoint's tokenizer there with save_pretrained",
            )
        _, transformers = _libraries()
        with _quiet(transformers):
            try:
                return transformers.AutoTokenizer.from_pretrained(
                    self._folder, local_files_only=True
                )
            except Exception as error:  # as above, and tokenizers its own
                raise broken(self._folder, first_line(error)) from error


def _libraries() -> tuple[ModuleType, ModuleType]:
    """Import torch and transformers, or say what is wrong with them."""
    if not is_installed():
        raise ModelError("CLAP needs torch and transformers", INSTALL_COMMAND)
    try:
        torch, transformers = import_module("torch"), import_module("transformers")
        _ = transformers.ClapModel  # transformers imports a model, and torchaudio, only now
    except (ImportError, OSError, RuntimeError) as error:
        told = first_line(error)
        remedy = f"{INSTALL_COMMAND} into a fresh environment"
        if find_spec("torchaudio") is not None:
            # The published torchaudio links CUDA and does not load beside a CPU build of torch.
            remedy = (
                "pip uninstall torchaudio (CLAP does not need it), or install it for your torch"
            )
        raise ModelError(f"transformers cannot import its ClapModel: {told}", remedy) from error
    return torch, transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Keep transformers' load report and progress bars off the terminal, then as they were."""
    log = transformers.utils.logging
    verbosity, shows_progress = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if shows_progress:
            log.enable_progress_bar()
