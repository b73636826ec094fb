"""Turns windows of sound, and sentences, into vectors: CLAP, AST, or the built-in embedder."""

from dataclasses import dataclass

from fingerprintdb.embedding.ast import AstEmbedder
from fingerprintdb.embedding.builtin import BuiltinEmbedder
from fingerprintdb.embedding.checkpoint import (
    DEFAULT_CHECKPOINT,
    cached_folder,
    fetch_command,
    find,
    is_installed,
)
from fingerprintdb.embedding.clap import ClapEmbedder
from fingerprintdb.embedding.embedder import Embedder, ModelError, TextEmbedder

__all__ = ["Choice", "Embedder", "ModelError", "TextEmbedder", "load", "resolve"]

_ALIASES = {
    "clap": DEFAULT_CHECKPOINT,
    # HTSAT-tiny is the name of the audio tower; no checkpoint of this name is known on the hub.
    "laion/clap-htsat-tiny": DEFAULT_CHECKPOINT,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which model a name stands for, why, and the command that would change that, if any."""

    name: str
    reason: str
    remedy: str = ""


def resolve(name: str) -> Choice:
    """Say which model `name` stands for, without loading it and without the network.

    "auto" is CLAP where its weights lie in the hub's cache and its libraries are installed, else
    the built-in embedder; then `remedy` is the command that fetches CLAP. Every other name stands
    for itself or, as an alias, for a checkpoint.
    """
    if name != "auto":
        checkpoint = _ALIASES.get(name, name)
        reason = "as asked" if checkpoint == name else f"{name} is an alias"
        return Choice(checkpoint, reason)
    if not is_installed():
        lacking = "torch and transformers are not installed"
    elif cached_folder(DEFAULT_CHECKPOINT) is None:
        lacking = "CLAP's weights are not on this machine"
    else:
        return Choice(DEFAULT_CHECKPOINT, "CLAP's weights are on this machine")
    return Choice("builtin", lacking, fetch_command(DEFAULT_CHECKPOINT))


def load(name: str, *, download: bool = False) -> Embedder:
    """Load an embedder: "auto", "builtin", "clap", a checkpoint on the hub, or a folder.

    A checkpoint's configuration says whether it is a CLAP or an Audio Spectrogram Transformer.
    The network is used only with `download`, and only for what the hub's cache lacks. Raises
    ModelError, with the remedy, where the libraries or the weights are missing or wrong.
    """
    chosen = resolve(name).name
    if chosen == "builtin":
        return BuiltinEmbedder()
    checkpoint = find(chosen, download=download)
    return (ClapEmbedder if checkpoint.architecture == "clap" else AstEmbedder)(checkpoint)
