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
        connection.execute("DELETE FROM fpdb.embedding WHERE asset_id = %s", (job.asset_id,))
        connection.execute("DELETE FROM fpdb.segment WHERE asset_id = %s", (job.asset_id,))
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
    """Insert the segments of one asset and COPY their vectors."""
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
    keys: dict[int, int] = dict(rows)
    with connection.cursor().copy(
        "COPY fpdb.embedding (model_id, segment_id, asset_id, embedding, processing_time_ms)"
        " FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.set_types(["int2", "int8", "int8", "vector", "float4"])
        for segment in segments:
            if segment.vector is not None:
                copy.write_row(
                    (
                        model_id,
                        keys[segment.index],
                        asset_id,
                        segment.vector,
                        segment.processing_time_ms,
                    )
                )
