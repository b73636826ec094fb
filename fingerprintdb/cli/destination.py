"""Writes a file that appears whole or not at all."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fingerprintdb.errors import FingerprintError

STANDARD = "-"
"""What stands for standard output, or input, in place of a file's name."""


class DestinationError(FingerprintError):
    """A place that is not to be written to."""


@contextmanager
def destination(name: str, *, is_text: bool, force: bool) -> Iterator[BinaryIO]:
    """Open a file that appears under its name when the block ends, and not where it fails.

    Raises DestinationError where there is something of this name, unless `force` replaces it, and
    where what is not text would go to a terminal.
    """
    if name == STANDARD:
        if sys.stdout.isatty() and not is_text:
            raise DestinationError(
                "the compact form is not for a terminal", "name a file, or say --form lines"
            )
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name).expanduser()
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as file:  # a pipe, or a device, is not to be replaced
            yield file
        return
    _require_free(path, force=force)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _require_free(path, force=force)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _require_free(path: Path, *, force: bool) -> None:
    if path.is_dir():
        raise DestinationError(f"{path} is a folder", "name a file inside it")
    if path.exists() and not force:
        raise DestinationError(f"{path} is there already", "say --force to replace it")
