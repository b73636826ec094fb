"""Finds a checkpoint on this machine, and says what is wrong with it before it is loaded."""

import hashlib
import json
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fingerprintdb.embedding.embedder import ModelError

DEFAULT_CHECKPOINT = "laion/clap-htsat-unfused"
INSTALL_COMMAND = "pip install 'fingerprintdb[clap]'"

ARCHITECTURES = ("clap", "audio-spectrogram-transformer")
"""The model types of transformers that can be loaded."""

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_EXTRACTOR = ("preprocessor_config.json", "processor_config.json")


class Checkpoint(NamedTuple):
    """A complete model's folder, the name that finds it again, its revision and architecture.

    `architecture` is one of ARCHITECTURES.
    """

    folder: Path
    name: str
    revision: str
    architecture: str


def is_installed() -> bool:
    """Whether torch and transformers are there (not whether they import, which takes seconds)."""
    return find_spec("torch") is not None and find_spec("transformers") is not None


def fetch_command(checkpoint: str) -> str:
    """Return the shell command that installs what a model needs and fetches a checkpoint."""
    fetch = f"hf download {checkpoint}"
    return fetch if is_installed() else f"{INSTALL_COMMAND} && {fetch}"


def cached_folder(checkpoint: str) -> Path | None:
    """Return the folder of a complete checkpoint in the hub's cache; never asks the network."""
    if find_spec("huggingface_hub") is None:
        return None
    found = import_module("huggingface_hub").try_to_load_from_cache(checkpoint, _CONFIG)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder and not _absent(folder) else None


def find(name: str, *, download: bool = False) -> Checkpoint:
    """Find a checkpoint of the hub, by its name, or a folder with a saved model.

    The hub's revision is its commit; a folder's is the digest of its files, and its name the
    absolute path, so that the name finds it again. The network is used only with `download`, and
    only for a checkpoint that is not in the hub's cache. Raises ModelError where something is
    missing or of an architecture that is not supported.
    """
    if (folder := Path(name).expanduser()).is_dir():
        folder = folder.resolve()
        if absent := _absent(folder):
            raise ModelError(
                f"the folder {folder} lacks {' and '.join(absent)}",
                "save the model and its feature extractor there with save_pretrained",
            )
        return Checkpoint(folder, str(folder), _digest(folder), _architecture(folder))
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise ModelError(
            f"there is no model or folder {name!r}",
            f"use builtin, {DEFAULT_CHECKPOINT}, or a folder with a saved model",
        )
    cached = cached_folder(name) or (_download(name) if download else None)
    if cached is None:
        raise ModelError(f"the weights of {name} are not on this machine", fetch_command(name))
    return Checkpoint(cached, name, cached.name, _architecture(cached))


def _download(checkpoint: str) -> Path | None:
    """Fetch a checkpoint, with one kind of weights only, into the hub's cache."""
    if not is_installed():
        raise ModelError("the model needs torch and transformers", INSTALL_COMMAND)
    hub = import_module("huggingface_hub")
    for weights in ("model.safetensors", "pytorch_model.bin"):
        try:
            hub.snapshot_download(checkpoint, allow_patterns=["*.json", "*.txt", weights])
        except (OSError, ValueError, hub.errors.HfHubHTTPError) as error:
            raise ModelError(
                f"{checkpoint} cannot be fetched from the hub: {first_line(error)}",
                "check the name, the network and HF_HUB_OFFLINE, or name a folder",
            ) from error
        if folder := cached_folder(checkpoint):
            return folder
    return None


def _absent(folder: Path) -> list[str]:
    """Name the needed files that a model's folder lacks."""
    return [
        names[0]
        for names in ((_CONFIG,), _WEIGHTS, _EXTRACTOR)
        if not any((folder / name).is_file() for name in names)
    ]


def _architecture(folder: Path) -> str:
    """Read a model's architecture; refuse one that is not supported before loading any weights."""
    try:
        kind = json.loads((folder / _CONFIG).read_text()).get("model_type")
    except ValueError as error:
        raise broken(folder, f"{_CONFIG} is not JSON") from error
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"the model in {folder} is of type {kind}, not {' or '.join(ARCHITECTURES)}",
            f"use such a checkpoint, {DEFAULT_CHECKPOINT} for one",
        )
    return str(kind)


def _digest(folder: Path) -> str:
    """Return the identity of a local model: what its configuration and weights contain."""
    digest = hashlib.sha256()
    paths = [folder / name for name in (_CONFIG, *_EXTRACTOR, *_WEIGHTS)]
    for path in [*paths, *sorted(folder.glob("model-*.safetensors"))]:
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def broken(folder: Path, why: str) -> ModelError:
    """Return the error of a model whose files are there and do not load."""
    return ModelError(
        f"the model in {folder} does not load: {why}", "fetch or save it again, whole"
    )


def first_line(error: BaseException) -> str:
    """Return the first line that an exception says, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
