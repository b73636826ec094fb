"""Makes an asset of what was sent: a file, whose bytes go to the database, or a URI."""

from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from fastapi import UploadFile
from psycopg.types.json import Jsonb

from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.problem import ProblemError
from fingerprintdb.api.upload import content_of, name_of, received
from fingerprintdb.audio import probe
from fingerprintdb.pipeline import titles
from fingerprintdb.source import SourceError, local_path
from fingerprintdb.store import catalogue, library
from fingerprintdb.store.catalogue import Entry
from fingerprintdb.store.database import Connection


def register_upload(
    connection: Connection, options: ServiceOptions, file: UploadFile, values: dict[str, Any]
) -> tuple[Entry, bool]:
    """Store a file's bytes and what its tags say; False where the collection has them already.

    Raises AudioError where the file is no audio at all: such a row would only fail later.
    """
    library.require_content_type(connection, values["content_type"])
    with received(file, options) as source:
        info = probe(source.file)
        content = content_of(source)
    library.ensure_collection(connection, values["collection"])
    name = name_of(file)
    told = titles(info.tags, name)
    return catalogue.add(
        connection,
        values
        | {
            "content": content,
            "sha256": source.sha256,
            "title": values["title"] or told["title"],
            "artist": values["artist"] or told["artist"],
            "metadata": Jsonb({"filename": name} | told["metadata"].obj | values["metadata"]),
        },
    )


def register_uri(
    connection: Connection, options: ServiceOptions, uri: str, values: dict[str, Any]
) -> tuple[Entry, bool]:
    """Register what workers are to fetch; ProblemError 403 where the service does not allow it."""
    if not is_allowed(uri, options.allowed_uris):
        raise ProblemError(
            403,
            "forbidden-uri",
            "this service does not register that URI",
            "upload the file, or start the service with --allow-uri PREFIX",
        )
    library.require_content_type(connection, values["content_type"])
    library.ensure_collection(connection, values["collection"])
    return catalogue.add(connection, values | {"uri": uri, "metadata": Jsonb(values["metadata"])})


def is_allowed(uri: str, prefixes: tuple[str, ...]) -> bool:
    """Say whether a URI lies below one of the prefixes, as its reader will understand it.

    A local path, also as file://, is compared as the real path that it leads to. A URL is below a
    prefix of its own scheme and host, down to a whole folder; one that climbs, hides a slash or
    names a chain of readers is below none.
    """
    if not uri.isprintable() or "::" in uri or "\\" in uri:
        return False
    try:
        path = local_path(uri)
        if path is not None:
            return any(_holds(prefix, path) for prefix in prefixes)
        return any(_is_below(urlsplit(uri), urlsplit(prefix)) for prefix in prefixes)
    except (OSError, RuntimeError, ValueError, SourceError):
        return False


def _holds(prefix: str, path: Path) -> bool:
    folder = local_path(prefix) if prefix else None
    return folder is not None and path.resolve().is_relative_to(folder.expanduser().resolve())


def _is_below(parts: SplitResult, prefix: SplitResult) -> bool:
    if not (prefix.scheme and parts.netloc) or prefix.scheme != parts.scheme:
        return False
    if prefix.netloc not in {"", parts.netloc}:
        return False
    # Twice, as what decodes may decode again; and readers drop what is no text.
    path = unquote(unquote(parts.path))
    climbs = {".", ".."} & set(path.split("/")) or not path.isprintable()
    if climbs or path.count("/") != parts.path.count("/") or "\\" in path:
        return False
    folder = prefix.path.rstrip("/")
    return parts.path == prefix.path or parts.path.startswith(f"{folder}/")
