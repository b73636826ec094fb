"""Questions that were put by plain SQL, and their answers."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from fingerprintdb.store.database import Connection

if TYPE_CHECKING:
    from fingerprintdb.store.match import Match
    from fingerprintdb.store.moment import Moment


@dataclass(frozen=True, slots=True)
class Query:
    """A clip to identify or a sentence to search by, and where to look."""

    query_id: int
    uri: str | None
    content: bytes | None
    text: str | None
    collection: str | None
    content_type: str | None
    metadata: dict[str, Any] | None
    min_duration_sec: float | None
    max_duration_sec: float | None
    k: int


@dataclass(frozen=True, slots=True)
class AnsweredClip:
    """A clip, and the asset that landmarks and bits found to hold it."""

    uri: str | None
    content: bytes | None
    asset_id: int


def answered_clips(connection: Connection, most: int) -> list[AnsweredClip]:
    """Return the newest clips of fpdb.query that landmarks found, to be asked again."""
    with connection.cursor(row_factory=class_row(AnsweredClip)) as cursor:
        return cursor.execute(
            "SELECT q.uri, q.content, m.asset_id FROM fpdb.query q"
            " JOIN fpdb.query_match m ON m.query_id = q.query_id AND m.rank = 1"
            " WHERE q.verdict = 'match' AND (m.evidence->>'aligned_landmarks')::int > 0"
            " ORDER BY q.query_id DESC LIMIT %s",
            (most,),
        ).fetchall()


def claim_query(connection: Connection, query_id: int) -> Query | None:
    """Mark a query as being processed; None where it was deleted or answered."""
    with connection.cursor(binary=True, row_factory=class_row(Query)) as cursor:
        return cursor.execute(
            "UPDATE fpdb.query SET status = 'processing'"
            " WHERE query_id = %s AND status IN ('queued', 'processing')"
            " RETURNING query_id, uri, content, text, collection, content_type, metadata,"
            " min_duration_sec, max_duration_sec, k",
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


def answer_text(
    connection: Connection, query_id: int, moments: "list[Moment]", processing_time_ms: float
) -> None:
    """Write the moments and the end of a question in words; what was deleted since is left out."""
    with connection.transaction():
        connection.execute("DELETE FROM fpdb.query_moment WHERE query_id = %s", (query_id,))
        connection.execute(
            "INSERT INTO fpdb.query_moment"
            " (query_id, rank, asset_id, start_sec, end_sec, similarity)"
            " SELECT %s, row_number() OVER (ORDER BY m.rank), m.asset_id, m.start_sec, m.end_sec,"
            "  m.similarity"
            " FROM unnest(%s::bigint[], %s::float8[], %s::float8[], %s::float8[])"
            "  WITH ORDINALITY AS m (asset_id, start_sec, end_sec, similarity, rank)"
            " JOIN (SELECT a.asset_id FROM fpdb.asset a WHERE a.asset_id = ANY (%s)"
            "  FOR KEY SHARE) a USING (asset_id)",
            (
                query_id,
                [moment.asset_id for moment in moments],
                [moment.start_sec for moment in moments],
                [moment.end_sec for moment in moments],
                [moment.similarity for moment in moments],
                [moment.asset_id for moment in moments],
            ),
        )
        connection.execute(
            "UPDATE fpdb.query SET status = 'ready', error = NULL, processing_time_ms = %s,"
            " found = EXISTS (SELECT FROM fpdb.query_moment m WHERE m.query_id = query.query_id),"
            " finished_at = now() WHERE query_id = %s",
            (processing_time_ms, query_id),
        )


def fail_query(connection: Connection, query_id: int, reason: str, *, again: bool) -> None:
    """Write why a query failed; with `again` it waits for another attempt."""
    connection.execute(
        "UPDATE fpdb.query SET status = CASE WHEN %(again)s THEN 'queued' ELSE 'failed' END,"
        " error = %(reason)s, finished_at = CASE WHEN %(again)s THEN NULL ELSE now() END"
        " WHERE query_id = %(query_id)s",
        {"again": again, "reason": reason.replace("\0", ""), "query_id": query_id},
    )
