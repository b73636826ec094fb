"""Opens what a URI or bytes name as a local, seekable file.

A local file is read where it lies. What lies elsewhere is streamed through fsspec to a temporary
file, which is gone when the context ends: decoders seek, and a local copy seeks for nothing.
"""

import errno
import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import aiohttp
import fsspec
from fsspec.core import split_protocol, url_to_fs
from fsspec.implementations.http import HTTPFileSystem
from fsspec.registry import known_implementations

from fingerprintdb.errors import FingerprintError

MAX_BYTES: Final = 8 * 2**30
_READ_BYTES: Final = 2**20
_CONNECT_TIMEOUT_SEC: Final = 10
_READ_TIMEOUT_SEC: Final = 60

# No limit on the whole transfer, which may be long; only on waiting for its next bytes.
_TIMEOUT: Final = aiohttp.ClientTimeout(
    total=None, sock_connect=_CONNECT_TIMEOUT_SEC, sock_read=_READ_TIMEOUT_SEC
)
_HTTP: Final = {"client_kwargs": {"timeout": _TIMEOUT}}
_S3: Final = {
    "config_kwargs": {
        "connect_timeout": _CONNECT_TIMEOUT_SEC,
        "read_timeout": _READ_TIMEOUT_SEC,
    }
}
_GCS: Final = {"requests_timeout": _TIMEOUT}
_FILESYSTEM_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "http": _HTTP,
    "https": _HTTP,
    "s3": _S3,
    "s3a": _S3,
    "gs": _GCS,
    "gcs": _GCS,
}
# One GET, read as a stream. A size keeps fsspec from asking for it first with a HEAD, which signed
# links refuse and whose every failure, a timeout too, fsspec reports as a missing file.
_HTTP_STREAM: Final = {"block_size": 0, "size": -1}

_EXTRAS: Final = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}

# The last is a body that ends early; within, aiohttp calls that a status of 400.
_BROKEN_CONNECTION: Final = (
    TimeoutError,
    ConnectionError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
)


class SourceError(FingerprintError):
    """A URI that cannot be read, today or tomorrow."""


class SourceUnreachableError(SourceError):
    """A URI whose host, network or disk is to blame, and may recover."""

    transient = True


@dataclass(frozen=True, slots=True)
class Source:
    """A readable medium: `file` is what `audio.probe` and `audio.decode` take.

    `sha256` is the hexadecimal digest of all its `size_bytes` bytes.
    """

    file: Path | BytesIO
    sha256: str
    size_bytes: int


@contextmanager
def open_source(
    uri: str | None, content: bytes | None = None, *, max_bytes: int = MAX_BYTES
) -> Iterator[Source]:
    """Open `content` if given, else what `uri` names: a path, `~`, or a URL of any fsspec scheme.

    Raises SourceError, before the block is entered, for what is missing, forbidden, empty, larger
    than `max_bytes`, or out of reach. No message shows credentials or a query string.
    """
    if content is not None:
        name = redact(uri) if uri else "the content"
        _check_size(len(content), name, max_bytes)
        yield Source(BytesIO(content), hashlib.sha256(content).hexdigest(), len(content))
        return
    if not uri:
        raise SourceError("no file was named", "give a path, a URL or the bytes of a file")
    path = local_path(uri)
    if path is not None:
        yield _read_local(path, redact(uri), max_bytes)
        return
    # A directory rather than a NamedTemporaryFile, which Windows cannot open a second time.
    with tempfile.TemporaryDirectory(prefix="fpdb-", ignore_cleanup_errors=True) as folder:
        yield _download(uri, Path(folder, "source"), max_bytes)


def local_digest(uri: str) -> str | None:
    """Return the SHA-256 of a local file; None for what lies elsewhere or cannot be read."""
    try:
        path = local_path(uri)
        return None if path is None else _read_local(path, redact(uri), MAX_BYTES).sha256
    except SourceError:
        return None


def may_be_read(uri: str) -> bool:
    """Say, without looking further than this machine, whether `uri` names something to be read."""
    scheme, _ = split_protocol(uri)
    if scheme in {None, "file"}:
        try:
            path = local_path(uri)
            return path is not None and path.is_file()
        except (SourceError, OSError, ValueError):
            return False
    return scheme in known_implementations


def redact(uri: str) -> str:
    """Return `uri` without user, password, query string and fragment, at most 200 characters."""
    scheme, _ = split_protocol(uri)
    if scheme == "data":
        return "data:…"
    if scheme not in {None, "file"}:
        # Regular expressions, because they also hold for a URL that urlsplit refuses to parse. The
        # user goes first: a password may hold the ? or # at which the query would be cut.
        uri = re.sub(r"[?#].*", "", re.sub(r"(?<=://)[^/]*@", "", uri), flags=re.DOTALL)
    return uri[:200]


def local_path(uri: str) -> Path | None:
    """Return the path that `uri` names on this machine, or None where it names another place."""
    scheme, path = split_protocol(uri)
    if scheme is None:
        try:
            return Path(path).expanduser()
        except RuntimeError:
            raise SourceError(
                f"{uri} names an unknown home folder", "write the path in full"
            ) from None
    if scheme != "file":
        return None
    parts = urlsplit(uri)
    if parts.netloc not in {"", "localhost"}:
        raise SourceError(
            f"{uri} names a file on another host", "write file:///path with three slashes"
        )
    return Path(url2pathname(parts.path))


def _read_local(path: Path, name: str, max_bytes: int) -> Source:
    try:
        if path.is_dir():
            raise SourceError(f"{name} is a directory", "name a file inside it")
        if path.exists() and not path.is_file():
            raise SourceError(f"{name} is not a regular file", "name a file")
        with path.open("rb") as file:
            size_bytes = path.stat().st_size
            _check_size(size_bytes, name, max_bytes)
            digest = hashlib.file_digest(file, "sha256")
    except (OSError, ValueError) as error:
        raise _failure(error, name) from None
    return Source(path, digest.hexdigest(), size_bytes)


def _download(uri: str, path: Path, max_bytes: int) -> Source:
    """Stream `uri` into `path`, hashing on the way."""
    name = redact(uri)
    digest = hashlib.sha256()
    size_bytes = 0
    try:
        fs, remote_path = _filesystem(uri, name)
        options = _HTTP_STREAM if isinstance(fs, HTTPFileSystem) else {}
        with fs.open(remote_path, "rb", **options) as remote, path.open("wb") as local:
            while size_bytes <= max_bytes and (block := remote.read(_READ_BYTES)):
                size_bytes += len(block)
                digest.update(block)
                local.write(block)
    except SourceError:
        raise
    # Each file system raises what its library raises. `from None`, because that library's own
    # traceback would show the signed URL.
    except Exception as error:
        raise _failure(error, name) from None
    _check_size(size_bytes, name, max_bytes)
    return Source(path, digest.hexdigest(), size_bytes)


def _filesystem(uri: str, name: str) -> tuple[Any, str]:
    """Return fsspec's file system for `uri`, time limits set, and the path within it."""
    # fsspec chains file systems with "::", as in zip://a.mp3::https://host/album.zip.
    schemes = {split_protocol(link)[0] or link for link in uri.split("::")}
    for scheme in schemes & known_implementations.keys() or schemes:
        try:
            fsspec.get_filesystem_class(scheme)
        except ImportError as error:
            extra = _EXTRAS.get(scheme)
            remedy = f"pip install 'fingerprintdb[{extra}]'" if extra else str(error)
            raise SourceError(
                f"{name} needs a library that is not installed here", remedy
            ) from None
        except ValueError:
            raise SourceError(
                f"{name} has an unknown scheme",
                "use a path, file://, http://, https://, s3:// or gs://",
            ) from None
    options = {s: _FILESYSTEM_OPTIONS[s] for s in schemes & _FILESYSTEM_OPTIONS.keys()}
    fs, path = url_to_fs(uri, **options)
    return fs, path


def _check_size(size_bytes: int, name: str, max_bytes: int) -> None:
    if size_bytes == 0:
        raise SourceError(f"{name} is empty", "supply the file again: it holds no bytes")
    if size_bytes > max_bytes:
        raise SourceError(
            f"{name} is larger than the limit of {max_bytes:,} bytes",
            "raise the limit or split the file",
        )


def _failure(error: Exception, name: str) -> SourceError:
    """Say in plain words what `error` means for `name`, and whether time may heal it."""
    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__:
        chain.append(cause)

    def has(*types: type[BaseException]) -> bool:
        return any(isinstance(link, types) for link in chain)

    # aiohttp says `status`, gcsfs `code`; s3fs turns S3's answer into the OSError that fits.
    codes = [getattr(link, "status", None) or getattr(link, "code", None) for link in chain]
    status = next((code for code in codes if isinstance(code, int)), 0)
    # botocore, which says NoCredentialsError, may not be installed.
    no_credentials = any(type(link).__name__ == "NoCredentialsError" for link in chain)
    disk_full = any(getattr(link, "errno", None) == errno.ENOSPC for link in chain)

    # fmt: off
    verdicts = (  # the first that holds
        (has(*_BROKEN_CONNECTION), SourceUnreachableError,
         f"{name} could not be reached, or broke off", "check the host and the network"),
        (status in {408, 425, 429} or status >= 500, SourceUnreachableError,
         f"{name} answered HTTP {status}", "try again later"),
        (disk_full, SourceUnreachableError,
         f"there is no room to download {name}", "free space, or set TMPDIR"),
        (status in {401, 403} or has(PermissionError), SourceError,
         f"{name} may not be read", "grant the worker read access to it"),
        (status in {404, 410}, SourceError,
         f"{name} does not exist", "check its spelling"),
        (status > 0, SourceError,
         f"{name} answered HTTP {status}", "check the URL"),
        (has(FileNotFoundError, NotADirectoryError), SourceError,
         f"{name} does not exist", "check its spelling, and that the worker's machine sees it"),
        (has(IsADirectoryError), SourceError,
         f"{name} is a directory", "name a file inside it"),
        (no_credentials, SourceError,
         f"{name} needs credentials", "set them in the worker's environment"),
        (has(ValueError), SourceError,
         f"{name} is not a valid path or URL", "check its spelling"),
        (True, SourceUnreachableError,
         f"{name} could not be read ({type(error).__name__})", "try again, and check the file"),
    )
    # fmt: on
    return next(kind(message, remedy) for holds, kind, message, remedy in verdicts if holds)
