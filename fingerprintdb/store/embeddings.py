"""Stores the segments and vectors of an asset, and knows the models that made them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from fingerprintdb.store.asset import Claim, is_current
from fingerprintdb.store.database import Connection, DatabaseError

if TYPE_CHECKING:
    from fingerprintdb.extraction import EmbeddedSegment


@dataclass(frozen=True, slots=True)
class Model:
    """A registered model; `source` is what a worker loads to get it."""

    model_id: int
    name: str
    revision: str
    source: str


def active_model(connection: Connection) -> Model:
    """Return the active model; DatabaseError before `fpdb init`."""
    with connection.cursor(row_factory=class_row(Model)) as cursor:
        model = cursor.execute(
            "SELECT model_id, name, revision, source FROM fpdb.model WHERE state = 'active'"
        ).fetchone()
    if model is None:
        raise DatabaseError("no embedding model is active in this database", "run `fpdb init`")
    return model


def has_active_model(connection: Connection) -> bool:
    """Say whether `fpdb init` has chosen a model."""
    row = connection.execute("SELECT fpdb.active_model() IS NOT NULL").fetchone()
    return bool(row and row[0])


def register_model(
    connection: Connection,
    *,
    name: str,
    revision: str,
    source: str,
    sample_rate_hz: int,
    confidence: tuple[float, float] | None,
) -> int:
    """Make a model known, active from now on, and return its key."""
    intercept, slope = confidence or (None, None)
    with connection.transaction():
        row = connection.execute(
            "SELECT fpdb.register_model(%s, %s, %s, 512, %s, %s, %s)",
            (name, revision, source, sample_rate_hz, intercept, slope),
        ).fetchone()
        assert row is not None  # noqa: S101 — a function always gives a row
        connection.execute("SELECT fpdb.activate_model(%s::smallint)", (row[0],))
    return int(row[0])


def store_embeddings(
    connection: Connection, job: Claim, model_id: int, segments: "list[EmbeddedSegment]"
) -> bool:
    """Replace the asset's segments and vectors at once; False where the claim is void."""
    with connection.transaction():
        if not is_current(connection, job):
            return False
        copy_segments(connection, job.asset_id, model_id, segments)
        connection.execute(
            "UPDATE fpdb.asset SET embedding_status = 'ready', embedding_error = NULL,"
            " processed_at = now() WHERE asset_id = %s",
            (job.asset_id,),
        )
    return True


def copy_segments(
    connection: Connection, asset_id: int, model_id: int, segments: "list[EmbeddedSegment]"
) -> None:
    """Replace an asset's vectors of one model; its segments too, where they are cut anew.

    Vectors of other models stay as long as the segments do, so that going back costs nothing.
    """
    keys = _keys_of_same(connection, asset_id, segments)
    if keys is None:
        connection.execute("DELETE FROM fpdb.embedding WHERE asset_id = %s", (asset_id,))
        connection.execute("DELETE FROM fpdb.segment WHERE asset_id = %s", (asset_id,))
        keys = _insert_segments(connection, asset_id, segments)
    else:
        connection.execute(
            "DELETE FROM fpdb.embedding WHERE asset_id = %s AND model_id = %s",
            (asset_id, model_id),
        )
    with connection.cursor().copy(
        "COPY fpdb.embedding (model_id, segment_id, asset_id, embedding, processing_time_ms)"
        " FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.set_types(["int2", "int8", "int8", "vector", "float4"])
        for segment in segments:
            if segment.vector is not None:
                key = keys[segment.index]
                copy.write_row(
                    (model_id, key, asset_id, segment.vector, segment.processing_time_ms)
                )


def _keys_of_same(
    connection: Connection, asset_id: int, segments: "list[EmbeddedSegment]"
) -> dict[int, int] | None:
    """Return the stored segments' keys by index; None unless they are cut the same."""
    rows = connection.execute(
        "SELECT segment_index, segment_id, start_time_sec, end_time_sec, is_silent"
        " FROM fpdb.segment WHERE asset_id = %s ORDER BY segment_index",
        (asset_id,),
    ).fetchall()
    same = len(rows) == len(segments) and all(
        (row[0], row[4]) == (segment.index, segment.vector is None)
        # Models listen at different rates: a window's end may differ by a sample.
        and abs(row[2] - segment.start_sec) + abs(row[3] - segment.end_sec) < 0.01
        for row, segment in zip(rows, segments, strict=True)
    )
    return {row[0]: row[1] for row in rows} if same else None


def _insert_segments(
    connection: Connection, asset_id: int, segments: "list[EmbeddedSegment]"
) -> dict[int, int]:
    rows = connection.execute(
        "INSERT INTO fpdb.segment"
        " (asset_id, segment_index, start_time_sec, end_time_sec, is_silent)"
        " SELECT %s, * FROM unnest(%s::int[], %s::float8[], %s::float8[], %s::bool[])"
        " RETURNING segment_index, segment_id",
        (
            asset_id,
            [segment.index for segment in segments],
            [segment.start_sec for segment in segments],
            [segment.end_sec for segment in segments],
            [segment.vector is None for segment in segments],
        ),
    ).fetchall()
    return dict(rows)
