"""Loads a checkpoint through transformers: whole and quietly, or with an error that says why not.

torch and transformers are imported when a model is loaded, never before: they take seconds, and a
host without them can still use the rest.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from fingerprintdb.embedding.checkpoint import (
    INSTALL_COMMAND,
    Checkpoint,
    broken,
    first_line,
    is_installed,
)
from fingerprintdb.embedding.device import Device
from fingerprintdb.embedding.embedder import ModelError

T = TypeVar("T")


class Loaded(NamedTuple):
    """torch, and a checkpoint's model, on its device and ready to infer, with its extractor."""

    torch: ModuleType
    model: Any
    extractor: Any
    device: Device


def load_model(checkpoint: Checkpoint, model: str, extractor: str) -> Loaded:
    """Load what `find` has found as classes of transformers, given by their names.

    Weights that the model has no use for, such as a classifier's, are left. Raises ModelError
    where a library is missing or does not import, a file does not load or a weight is missing.
    """
    torch, transformers = _libraries(model)
    folder = checkpoint.folder
    heard = _read(folder, getattr(transformers, extractor).from_pretrained)
    loaded, report = _read(
        folder, getattr(transformers, model).from_pretrained, output_loading_info=True
    )
    if absent := sorted(report["missing_keys"]):
        # transformers fills what is missing with random numbers and only logs it.
        raise broken(folder, f"{len(absent)} weights are missing, the first {absent[0]}")
    device = Device(torch)
    return Loaded(torch, loaded.eval().to(device.name), heard, device)


def load_tokenizer(folder: Path, name: str) -> Any:
    """Load the tokenizer beside a model; ModelError where there is none or it does not load."""
    # Without these files AutoTokenizer makes one with an empty vocabulary, and says nothing.
    if not any((folder / file).is_file() for file in ("tokenizer.json", "vocab.json")):
        raise ModelError(
            f"{folder} holds no tokenizer, so {name} cannot embed text",
            "save the checkpoint's tokenizer there with save_pretrained",
        )
    return _read(folder, import_module("transformers").AutoTokenizer.from_pretrained)


def _read(folder: Path, read: Callable[..., T], **options: Any) -> T:
    with _quiet():
        try:
            return read(folder, local_files_only=True, **options)
        except Exception as error:  # safetensors, pickle, tokenizers and torch raise their own
            raise broken(folder, first_line(error)) from error


def _libraries(model: str) -> tuple[ModuleType, ModuleType]:
    """Import torch and transformers, or say what is wrong with them."""
    if not is_installed():
        raise ModelError("the model needs torch and transformers", INSTALL_COMMAND)
    try:
        torch, transformers = import_module("torch"), import_module("transformers")
        _ = getattr(transformers, model)  # it imports a model, and torchaudio, only now
    except (ImportError, OSError, RuntimeError) as error:
        told = first_line(error)
        remedy = f"{INSTALL_COMMAND} into a fresh environment"
        if find_spec("torchaudio") is not None:
            # The published torchaudio links CUDA and does not load beside a CPU build of torch.
            remedy = "pip uninstall torchaudio (it is not needed), or install it for your torch"
        raise ModelError(f"transformers cannot import its {model}: {told}", remedy) from error
    return torch, transformers


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' load report, warnings and progress bars off the terminal meanwhile."""
    log = import_module("transformers").utils.logging
    verbosity, shows_progress = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        if shows_progress:
            log.enable_progress_bar()
