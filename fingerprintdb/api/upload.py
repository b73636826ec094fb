"""Takes a file that was sent, as a source of the stages."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path, PureWindowsPath

from fastapi import UploadFile

from fingerprintdb.api.options import MEBIBYTE, ServiceOptions
from fingerprintdb.api.problem import ProblemError
from fingerprintdb.audio import AudioError
from fingerprintdb.source import Source

IN_MEMORY_BYTES = 8 * MEBIBYTE
"""Up to here a file is handed to the decoder's process as it is; beyond, as a file on disk."""


def name_of(upload: UploadFile) -> str:
    """Return what a file is called at its sender's, without folders and control characters."""
    name = PureWindowsPath(upload.filename or "").name
    return "".join(c for c in name if c.isprintable())[:200] or "the upload"


@contextmanager
def received(upload: UploadFile, options: ServiceOptions) -> Iterator[Source]:
    """Open a file that was sent, whole; an AudioError from within names it.

    Raises ProblemError 413 where it is larger than the limit.
    """
    size_bytes = upload.size or 0
    if size_bytes > options.max_upload_bytes:
        raise ProblemError(
            413,
            "too-large",
            f"{name_of(upload)} exceeds {options.max_upload_bytes} bytes",
            "send a shorter file, or raise FPDB_MAX_UPLOAD_BYTES",
        )
    try:
        upload.file.seek(0)
        if size_bytes <= IN_MEMORY_BYTES:
            content = upload.file.read()
            yield Source(BytesIO(content), hashlib.sha256(content).hexdigest(), size_bytes)
            return
        with tempfile.TemporaryDirectory(prefix="fpdb-") as folder:
            path = Path(folder, "upload")
            with path.open("w+b") as file:
                shutil.copyfileobj(upload.file, file, MEBIBYTE)
                file.seek(0)
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            yield Source(path, digest, size_bytes)
    except AudioError as error:
        raise AudioError(f"{name_of(upload)}: {error.message}", error.remedy) from error


def content_of(source: Source) -> bytes:
    """Return the bytes of a source."""
    return source.file.getvalue() if isinstance(source.file, BytesIO) else source.file.read_bytes()
