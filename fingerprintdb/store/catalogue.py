"""Assets as people meet them in a service: page by page, one by one, added and changed."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row
from psycopg.types.json import Jsonb

from fingerprintdb.store.asset import find_same, find_uri, lock_content
from fingerprintdb.store.database import Connection
from fingerprintdb.warp import AS_RECORDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What there is to say of an asset; seconds, Hz, bytes."""

    asset_id: int
    title: str | None
    artist: str | None
    collection: str
    content_type: str
    metadata: dict[str, Any]
    uri: str | None
    version_of: int | None
    status: str
    landmark_status: str
    embedding_status: str
    error: str | None
    duration_sec: float | None
    audio_source_type: str | None
    source_sample_rate: int | None
    landmark_count: int | None
    content_bytes: int | None
    created_at: datetime
    processed_at: datetime | None


COLUMNS = (
    "asset_id, title, artist, collection, content_type, metadata, uri, version_of, status,"
    " landmark_status, embedding_status, error, duration_sec, audio_source_type,"
    " source_sample_rate, landmark_count, octet_length(content) AS content_bytes, created_at,"
    " processed_at"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which assets to show; None does not narrow. `search` is part of title, artist or URI."""

    collection: str | None = None
    content_type: str | None = None
    status: str | None = None
    search: str | None = None
    metadata: dict[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        """Return the values that CONDITIONS names."""
        return {
            "collection": self.collection,
            "content_type": self.content_type,
            "status": self.status,
            "search": self.search,
            "metadata": None if self.metadata is None else Jsonb(self.metadata),
        }


CONDITIONS = (
    " (%(collection)s::text IS NULL OR collection = %(collection)s)"
    " AND (%(content_type)s::text IS NULL OR content_type = %(content_type)s)"
    " AND (%(status)s::text IS NULL OR status = %(status)s)"
    " AND (%(metadata)s::jsonb IS NULL OR metadata @> %(metadata)s)"
    " AND (%(search)s::text IS NULL OR strpos(lower(concat_ws(' ', title, artist,"
    "      fpdb.uri_without_secrets(uri))), lower(%(search)s)) > 0)"
)


def page(
    connection: Connection, wanted: Filter, *, limit: int, before: int | None = None
) -> list[Entry]:
    """Return the newest assets, or the newest of those with keys before one, newest first."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            f"SELECT {COLUMNS} FROM fpdb.asset WHERE"  # noqa: S608 — constants
            f" (%(before)s::bigint IS NULL OR asset_id < %(before)s) AND {CONDITIONS}"
            " ORDER BY asset_id DESC LIMIT %(limit)s".encode(),
            wanted.values() | {"before": before, "limit": limit},
        ).fetchall()


def listing(
    connection: Connection, wanted: Filter, *, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return what a list shows of assets, in order of key."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT asset_id, title, artist, collection, content_type, duration_sec, status, uri,"  # noqa: S608 — constants
            f" error FROM fpdb.asset WHERE {CONDITIONS} ORDER BY asset_id LIMIT %(limit)s".encode(),
            wanted.values() | {"limit": limit},
        ).fetchall()


def count(connection: Connection, wanted: Filter) -> int:
    """Return how many assets there are."""
    row = connection.execute(
        f"SELECT count(*) FROM fpdb.asset WHERE {CONDITIONS}".encode(),  # noqa: S608 — constants
        wanted.values(),
    ).fetchone()
    return int(row[0]) if row else 0


def entry(connection: Connection, asset_id: int, collection: str | None) -> Entry | None:
    """Return an asset; None where there is none, or not in the collection that is named."""
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            f"SELECT {COLUMNS} FROM fpdb.asset WHERE asset_id = %s"  # noqa: S608 — constants
            " AND (%s::text IS NULL OR collection = %s)".encode(),
            (asset_id, collection, collection),
        ).fetchone()


def add(connection: Connection, values: dict[str, Any]) -> tuple[Entry, bool]:
    """Insert an asset, whose jobs are queued with it; False where it was there before.

    `values` are columns of fpdb.asset. The same bytes (`sha256`) and the same URI are in a
    collection once.
    """
    collection, uri, digest = values["collection"], values.get("uri", ""), values.get("sha256")
    with connection.transaction():
        lock_content(connection, collection, digest or uri)
        if digest is not None:
            same = find_same(connection, collection, digest, "", AS_RECORDED)
        else:
            same = find_uri(connection, collection, uri, AS_RECORDED)
        if same is not None:
            found = entry(connection, same["asset_id"], None)
            if found is not None:  # None: it was deleted meanwhile
                return found, False
        statement = sql.SQL("INSERT INTO fpdb.asset ({}) VALUES ({}) RETURNING {}").format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            # As text, bytes would be twice as many.
            sql.SQL(", ").join(
                sql.Placeholder(name, "b" if isinstance(value, bytes) else "s")
                for name, value in values.items()
            ),
            sql.SQL(COLUMNS),
        )
        with connection.cursor(row_factory=class_row(Entry)) as cursor:
            added = cursor.execute(statement, values).fetchone()
    assert added is not None  # noqa: S101 — RETURNING always gives a row
    return added, True


def change(connection: Connection, asset_id: int, values: dict[str, Any]) -> Entry | None:
    """Give an asset other titles, metadata or a place; None where there is none."""
    if not values:
        return entry(connection, asset_id, None)
    changes = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name)) for name in values
    ]
    statement = sql.SQL("UPDATE fpdb.asset SET {} WHERE asset_id = {} RETURNING {}").format(
        sql.SQL(", ").join(changes),
        sql.Literal(asset_id),
        sql.SQL(COLUMNS),
    )
    with connection.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(statement, values).fetchone()


def content_part(connection: Connection, asset_id: int, first: int, size: int) -> bytes:
    """Return `size` bytes of an asset's content, or those that are left, from `first` on."""
    row = connection.execute(
        "SELECT substring(content FROM %s::int + 1 FOR %s) FROM fpdb.asset WHERE asset_id = %s",
        (first, size, asset_id),
    ).fetchone()
    return bytes(row[0]) if row and row[0] is not None else b""


def names(connection: Connection, table: str) -> list[str]:
    """Return the names that stand in a table: collection, content_type or model, in order."""
    statement = sql.SQL("SELECT name FROM fpdb.{} ORDER BY name").format(sql.Identifier(table))
    return [row[0] for row in connection.execute(statement).fetchall()]
