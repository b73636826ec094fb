"""Stores the segments of an asset and the vectors that a model gives them."""

from typing import TYPE_CHECKING

from fingerprintdb.store.asset import Claim, is_current
from fingerprintdb.store.database import Connection
from fingerprintdb.store.model import ModelChangedError, hold_model, mark_embedded

if TYPE_CHECKING:
    from fingerprintdb.extraction import EmbeddedSegment


def store_embeddings(
    connection: Connection, job: Claim, model_id: int, segments: "list[EmbeddedSegment]"
) -> bool:
    """Replace the asset's segments and vectors at once; False where the claim is void.

    Where the model is filled beside the active one, an asset that is ready stays as it is.
    """
    with connection.transaction():
        state = hold_model(connection, model_id)
        if state == "retired":
            raise ModelChangedError
        if not is_current(connection, job):
            return False
        copy_segments(connection, job.asset_id, model_id, segments)
        if state == "active":
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

    Vectors of other models stay as long as the segments do, so that going back costs nothing. A
    segment is silent while no model hears anything in it: they listen to different ranges.
    """
    keys = _keys_of_same(connection, asset_id, segments)
    if keys is not None:
        connection.execute(
            "DELETE FROM fpdb.embedding WHERE asset_id = %s AND model_id = %s",
            (asset_id, model_id),
        )
        keys |= _insert_segments(connection, asset_id, [s for s in segments if s.index not in keys])
        connection.execute(
            "UPDATE fpdb.segment SET is_silent = false WHERE is_silent AND segment_id = ANY (%s)",
            ([keys[s.index] for s in segments if s.vector is not None],),
        )
    else:
        connection.execute("DELETE FROM fpdb.embedding WHERE asset_id = %s", (asset_id,))
        connection.execute("DELETE FROM fpdb.segment WHERE asset_id = %s", (asset_id,))
        connection.execute("DELETE FROM fpdb.asset_model WHERE asset_id = %s", (asset_id,))
        keys = _insert_segments(connection, asset_id, segments)
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
    vectors = sum(segment.vector is not None for segment in segments)
    mark_embedded(connection, asset_id, model_id, vectors)


def _keys_of_same(
    connection: Connection, asset_id: int, segments: "list[EmbeddedSegment]"
) -> dict[int, int] | None:
    """Return the stored segments' keys by index; None unless they are cut the same.

    Models listen at different rates, so a window's end may differ by a sample, and that of the
    recording may make one window more.
    """
    rows = connection.execute(
        "SELECT segment_index, segment_id, start_time_sec, end_time_sec"
        " FROM fpdb.segment WHERE asset_id = %s ORDER BY segment_index",
        (asset_id,),
    ).fetchall()
    same = abs(len(rows) - len(segments)) <= 1 and all(
        row[0] == segment.index
        and abs(row[2] - segment.start_sec) + abs(row[3] - segment.end_sec) < 0.01
        for row, segment in zip(rows, segments, strict=False)
    )
    return {row[0]: row[1] for row in rows} if rows and same else None


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
