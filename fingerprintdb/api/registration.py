"""Makes an asset of what was sent: a file, whose bytes go to the database, or a URI."""

import re
from pathlib import Path
from typing import Any

from fastapi import UploadFile
from psycopg.types.json import Jsonb

from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.problem import ProblemError
from fingerprintdb.api.upload import content_of, name_of, received
from fingerprintdb.audio import probe
from fingerprintdb.pipeline import titles
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
        allowed = ", ".join(options.allowed_uris) or "no URIs at all"
        raise ProblemError(
            403,
            "forbidden-uri",
            f"new assets may name {allowed}",
            "upload the file, or start the service with --allow-uri PREFIX",
        )
    library.require_content_type(connection, values["content_type"])
    library.ensure_collection(connection, values["collection"])
    return catalogue.add(connection, values | {"uri": uri, "metadata": Jsonb(values["metadata"])})


def is_allowed(uri: str, prefixes: tuple[str, ...]) -> bool:
    """Say whether a URI lies below one of the prefixes, as its reader will understand it.

    A local path is compared as the real path that it leads to; a URL whose path climbs, or whose
    host is not the prefix's whole host, is not below it.
    """
    if re.match(r"^[a-zA-Z][a-zA-Z0-9+.-]+:", uri) is None:
        try:
            path = Path(uri).expanduser().resolve()
        except (OSError, RuntimeError, ValueError):
            return False
        local = [prefix for prefix in prefixes if "://" not in prefix]
        return any(path.is_relative_to(Path(prefix).expanduser().resolve()) for prefix in local)
    if (
        "://" not in uri
        or "::" in uri
        or "\\" in uri
        or "/../" in f"{uri.lower()}/".replace("%2e", ".")
    ):
        return False
    return any(_is_below(uri, prefix) for prefix in prefixes if "://" in prefix)


def _is_below(uri: str, prefix: str) -> bool:
    if not uri.startswith(prefix):
        return False
    scheme_end = prefix.index("://") + 3
    is_host_whole = len(prefix) == scheme_end or "/" in prefix[scheme_end:]
    return is_host_whole or uri[len(prefix) : len(prefix) + 1] in {"/", ""}
