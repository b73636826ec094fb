"""The parameters that requests share: keys, filters, pages."""

import json
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import StringConstraints

from fingerprintdb.api.access import Reader
from fingerprintdb.api.problem import ProblemError
from fingerprintdb.api.service import Database
from fingerprintdb.store import library
from fingerprintdb.store.match import Scope

DEEPEST = 32
"""Levels of metadata; at some 250 those who write JSON give up, and with them a whole page."""

# What Postgres' text cannot hold.
NO_NUL = r"^[^\x00]*$"

Text = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=1000)]
Name = Annotated[str, StringConstraints(pattern=NO_NUL, min_length=1, max_length=200)]
JsonObject = Annotated[str, StringConstraints(pattern=NO_NUL, max_length=100_000)]

AssetId = Annotated[int, Path(ge=1, le=2**63 - 1, description="Key of the asset.", examples=[3])]
Collection = Annotated[Name | None, Query(description="Only this collection.")]
ContentType = Annotated[Name | None, Query(description="Only this content type: music, ...")]
Metadata = Annotated[
    JsonObject | None,
    Query(
        max_length=8_000,  # what stands in a URL
        description="Only assets whose metadata hold this JSON object.",
        examples=['{"year": 1999}'],
    ),
]
K = Annotated[int, Query(ge=1, le=1000, description="Most results.")]


def parsed(text: str | None, name: str) -> dict[str, Any] | None:
    """Return the JSON object that a parameter holds; ProblemError 422 where it holds another."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ProblemError(
            422, "invalid-request", f"{name} is not a JSON object", 'write it as {"key": "value"}'
        )
    return plain(value, name)


def plain(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a JSON object that every reader can read; ProblemError 422 where it nests too deep."""
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        inner = [list(v.values()) if isinstance(v, dict) else v for v in level]
        level = [v for values in inner if isinstance(values, list) for v in values]
        if not level:
            return value
    raise ProblemError(
        422, "invalid-request", f"{name} nests deeper than {DEEPEST} levels", "make it flatter"
    )


def search_scope(
    caller: Reader,
    connection: Database,
    k: K = 10,
    collection: Collection = None,
    content_type: ContentType = None,
    metadata: Metadata = None,
) -> Scope:
    """Return where a search looks; a name that is misspelt is a problem, not an empty answer."""
    where = caller.scope(collection)
    if collection is not None:
        library.require_collection(connection, collection)
    if content_type is not None:
        library.require_content_type(connection, content_type)
    return Scope(
        k=k,
        collection=where,
        content_type=content_type,
        metadata=parsed(metadata, "metadata"),
    )


Where = Annotated[Scope, Depends(search_scope)]
MinConfidence = Annotated[
    float | None,
    Query(ge=0, le=1, description="Least confidence; default: the content type's threshold."),
]
