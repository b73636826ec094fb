"""Makes CLAP models for tests, sounds for them to hear, and says what the library makes of both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fingerprintdb.embedding.embedder import Array

RATE_HZ = 48_000
TEXT = {
    "vocab_size": 300,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": 64,
}


def save_model(folder: Path, *, projection_dim: int = 512, fuses: bool = False) -> Path:
    """Save a tiny ClapModel of random weights, always the same, with its feature extractor."""
    audio = {
        "patch_embeds_hidden_size": 8,
        "hidden_size": 64,
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
    }
    return _save(folder, audio, projection_dim=projection_dim, fuses=fuses)


def save_full_size(folder: Path, *, fuses: bool = False) -> Path:
    """Save a ClapModel whose audio tower is as large as the published ones, of random weights."""
    return _save(folder, {}, projection_dim=512, fuses=fuses)


def _save(folder: Path, audio: dict[str, Any], *, projection_dim: int, fuses: bool) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ClapConfig(
        text_config=TEXT,
        audio_config=audio | {"enable_fusion": fuses},
        projection_dim=projection_dim,
    )
    transformers.ClapModel(config).save_pretrained(folder)
    transformers.ClapFeatureExtractor(
        frequency_min=50, truncation="fusion" if fuses else "rand_trunc"
    ).save_pretrained(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """Save a byte-level tokenizer without any merges, RoBERTa's special tokens included."""
    import transformers
    from tokenizers.pre_tokenizers import ByteLevel

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    tokenizer = transformers.RobertaTokenizerFast(
        vocab={word: number for number, word in enumerate(words)}, merges=[]
    )
    tokenizer.model_max_length = 60
    tokenizer.save_pretrained(folder)


def sound(seed: int, duration_sec: float) -> Array:
    """Return a tone in noise, at RATE_HZ."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(duration_sec * RATE_HZ)) * 0.1
    tone = np.sin(np.arange(noise.size) * rng.uniform(0.02, 0.5))
    return np.asarray(0.3 * tone + noise, np.float32)


def by_the_library(folder: Path, windows: Sequence[Array]) -> list[Array]:
    """Return what the library alone makes of windows of up to ten seconds, one at a time."""
    import torch
    import transformers

    model = transformers.ClapModel.from_pretrained(folder).eval()
    extractor = transformers.ClapFeatureExtractor.from_pretrained(folder)
    fuses = model.config.audio_config.enable_fusion
    vectors: list[Array] = []
    for window in windows:
        inputs = extractor(
            window,
            sampling_rate=RATE_HZ,
            truncation="fusion" if fuses else "rand_trunc",
            padding="repeatpad",
            return_tensors="pt",
        )
        # Where it fuses, the extractor calls one of each batch longer, at random, if none is.
        inputs["is_longer"] = torch.zeros((1, 1), dtype=torch.bool)
        with torch.inference_mode():
            vectors.append(model.get_audio_features(**inputs).pooler_output.numpy()[0])
    return vectors
