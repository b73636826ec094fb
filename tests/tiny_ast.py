"""Makes Audio Spectrogram Transformers that are small enough for tests."""

import warnings
from pathlib import Path


def save_model(folder: Path, *, classifies: bool = True, **changes: int) -> Path:
    """Save a tiny AST of random weights, always the same, with its feature extractor.

    As the published ones it has a classifier; `classifies` false leaves that out.
    """
    import torch
    import transformers

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = transformers.ASTConfig(**(sizes | changes), num_labels=3)
    kind = transformers.ASTForAudioClassification if classifies else transformers.ASTModel
    kind(config).save_pretrained(folder)
    with warnings.catch_warnings():
        # Of 128 mel bands the lowest are narrower than a bin; so it is in the published ones.
        warnings.simplefilter("ignore")
        transformers.ASTFeatureExtractor().save_pretrained(folder)
    return folder
