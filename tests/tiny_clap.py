"""Makes CLAP models that are small enough for tests."""

from pathlib import Path


def save_model(folder: Path, *, projection_dim: int = 512, fuses: bool = False) -> Path:
    """Save a tiny ClapModel of random weights, always the same, with its feature extractor."""
    import torch
    import transformers

    torch.manual_seed(0)
    config = transformers.ClapConfig(
        text_config={
            "vocab_size": 300,
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "max_position_embeddings": 64,
        },
        audio_config={
            "patch_embeds_hidden_size": 8,
            "hidden_size": 64,
            "depths": [1, 1, 1, 1],
            "num_attention_heads": [1, 1, 2, 2],
            "enable_fusion": fuses,
        },
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
