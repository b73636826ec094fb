"""The Audio Spectrogram Transformer through transformers: sound as vectors, without text.

Method: Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021. The vector is
the mean of the class and distillation tokens, which the classifier of a fine-tuned model reads.
"""

from collections.abc import Sequence

import numpy as np

from fingerprintdb.embedding.batches import Batches
from fingerprintdb.embedding.checkpoint import Checkpoint, broken
from fingerprintdb.embedding.embedder import Array
from fingerprintdb.embedding.loading import load_model
from fingerprintdb.embedding.pieces import embed_in_pieces, require_finite

# As CLAP's; neither was measured for this model, whose piece costs some seventeen times as much.
_BATCH = 4
_BATCH_GPU = 64

# Kaldi's frames, which the library's extractor fixes: 25 ms every 10 ms at 16 kHz.
_FRAME = 400
_HOP = 160


class AstEmbedder:
    """A loaded ASTModel, on the GPU where there is one; threads share its batches."""

    is_light = False

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Load what `find` has found. Raises ModelError where it does not load whole."""
        self.name, self.revision = checkpoint.name, checkpoint.revision
        self._torch, self._model, self._extractor, self._device = load_model(
            checkpoint, "ASTModel", "ASTFeatureExtractor"
        )
        config = self._model.config
        image = (self._extractor.max_length, self._extractor.num_mel_bins)
        if image != (config.max_length, config.num_mel_bins):
            raise broken(checkpoint.folder, "its feature extractor belongs to another model")
        self.dims: int = config.hidden_size
        self.sample_rate_hz: int = self._extractor.sampling_rate
        self._piece = _FRAME + (config.max_length - 1) * _HOP
        self._batches = Batches(self._pool, _BATCH_GPU if self._device.name == "cuda" else _BATCH)

    def embed_audio(self, windows: Sequence[Array], *, normalize: bool = True) -> Array:
        """Embed mono float32 windows at `sample_rate_hz`: float32 of shape (n, dims).

        A window shorter than the model hears, 10.3 s as published, is padded with zeros after the
        logarithm, as the library does. A longer one, which the library would crop, is cut into
        pieces of that and a rest, and its vector is the mean of the pieces' unit vectors weighted
        by their lengths. Rows have unit length; with `normalize` false they are the model's own
        output, for a long window the weighted mean of it.

        Calls of several threads share batches. Raises ModelError where the audio or the output is
        not finite, in the call whose it is.
        """
        return embed_in_pieces(windows, self._piece, self.dims, self._embed, normalize=normalize)

    def _embed(self, pieces: Sequence[Array]) -> Sequence[Array]:
        # Here and not in the batch, so that the threads' spectrograms are made side by side.
        vectors = self._batches.run([self._spectrogram(piece) for piece in pieces])
        require_finite(vectors, self.name)
        return vectors

    def _spectrogram(self, piece: Array) -> Array:
        """Return the extractor's normalised log-mel spectrogram: (frames, bands)."""
        framed = np.pad(piece, (0, max(0, _FRAME - len(piece))))  # the library needs one frame
        features = self._extractor(framed, sampling_rate=self.sample_rate_hz)
        return np.asarray(features["input_values"][0], np.float32)

    def _pool(self, images: Sequence[Array]) -> Array:
        """Return the model's pooled output for spectrograms: (n, dims)."""
        torch = self._torch
        with torch.inference_mode(), self._device.precision():
            values = torch.as_tensor(np.stack(images), device=self._device.name)
            vectors: Array = self._model(values).pooler_output.float().cpu().numpy()
        return vectors
