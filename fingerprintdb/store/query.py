"""Clips that were inserted by plain SQL, and their answers."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from fingerprintdb.store.database import Connection

if TYPE_CHECKING:
    from fingerprintdb.store.match import Match


@dataclass(frozen=True, slots=True)
class Query:
    """A clip to identify and where to look for it."""

    query_id: int
    uri: str | None
    content: bytes | None
    collection: str | None
    content_type: str | None
    metadata: dict[str, Any] | None
    k: int


def claim_query(connection: Connection, query_id: int) -> Query | None:
    """Mark a query as being processed; None where it was deleted or answered."""
    with connection.cursor(row_factory=class_row(Query)) as cursor:
        return cursor.execute(
            "UPDATE fpdb.query SET status = 'processing'"
            " WHERE query_id = %s AND status IN ('queued', 'processing')"
            " RETURNING query_id, uri, content, collection, content_type, metadata, k",
            (query_id,),
        ).fetchone()


def answer_query(
    connection: Connection,
    query_id: int,
    verdict: str,
    matches: "list[Match]",
    processing_time_ms: float,
) -> None:
    """Write the matches and the end of the query; the notification leaves with the commit.

    What was deleted since the search is no answer any more.
    """
    with connection.transaction():
        held = connection.execute(
            "SELECT asset_id FROM fpdb.asset WHERE asset_id = ANY (%s) FOR KEY SHARE",
            ([match.asset_id for match in matches],),
        ).fetchall()
        left = {asset_id for (asset_id,) in held}
        if matches and not left:
            verdict = "no match"
        matches = [match for match in matches if match.asset_id in left]
        connection.execute("DELETE FROM fpdb.query_match WHERE query_id = %s", (query_id,))
        connection.cursor().executemany(
            "INSERT INTO fpdb.query_match VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    query_id,
                    rank,
                    match.asset_id,
                    match.confidence,
                    match.score,
                    match.offset_sec,
                    match.query_start_sec,
                    match.query_end_sec,
                    match.reference_start_sec,
                    match.reference_end_sec,
                    Jsonb(asdict(match.evidence)),
                )
                for rank, match in enumerate(matches, 1)
            ],
        )
        connection.execute(
            "UPDATE fpdb.query SET status = 'ready', error = NULL, found = %s, verdict = %s,"
            " processing_time_ms = %s, finished_at = now() WHERE query_id = %s",
            (bool(matches), verdict, processing_time_ms, query_id),
        )


def fail_query(connection: Connection, query_id: int, reason: str, *, again: bool) -> None:
    """Write why a query failed; with `again` it waits for another attempt."""
    connection.execute(
        "UPDATE fpdb.query SET status = CASE WHEN %(again)s THEN 'queued' ELSE 'failed' END,"
        " error = %(reason)s, finished_at = CASE WHEN %(again)s THEN NULL ELSE now() END"
        " WHERE query_id = %(query_id)s",
        {"again": again, "reason": reason.replace("\0", ""), "query_id": query_id},
    )
