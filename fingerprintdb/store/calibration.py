"""Reads what a calibration goes by, and writes the thresholds that it finds."""

from dataclasses import dataclass

from psycopg.rows import class_row

from fingerprintdb.store.database import Connection


@dataclass(frozen=True, slots=True)
class Sampled:
    """An asset that a calibration may ask about."""

    asset_id: int
    uri: str | None
    content_type: str
    sha256: str | None
    duration_sec: float
    kin: list[int]
    """Other assets of the same work or with the same bytes: no answer that names one is wrong."""
    has_strangers: bool
    """Whether any searched asset of its content type is not its kin."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person said of an answer that named an asset of a content type."""

    content_type: str
    confidence: float
    is_right: bool


def sample(
    connection: Connection,
    *,
    collection: str | None,
    content_type: str | None,
    limit: int,
    seed: int,
) -> list[Sampled]:
    """Return at most `limit` assets that are ready, in the order that a seed gives."""
    with connection.cursor(row_factory=class_row(Sampled)) as cursor:
        return cursor.execute(
            "WITH searched AS (SELECT a.*, coalesce(version_of, asset_id) AS work_id"
            "  FROM fpdb.asset a JOIN fpdb.profile USING (profile_id)"
            "  WHERE is_active AND status = 'ready'"
            "  AND (%(collection)s::text IS NULL OR collection = %(collection)s)"
            "  AND (%(content_type)s::text IS NULL OR content_type = %(content_type)s)),"
            " chosen AS MATERIALIZED (SELECT * FROM searched WHERE pitch = 1 AND tempo = 1"
            "  ORDER BY md5(concat_ws(' ', %(seed)s::text, asset_id)), asset_id LIMIT %(limit)s)"
            " SELECT c.asset_id, c.uri, c.content_type, c.sha256, c.duration_sec,"
            " ARRAY(SELECT k.asset_id FROM fpdb.asset k WHERE k.asset_id <> c.asset_id"
            "  AND (k.asset_id = c.work_id OR k.version_of = c.work_id OR k.sha256 = c.sha256)"
            "  ORDER BY k.asset_id) AS kin,"
            " EXISTS (SELECT FROM searched s WHERE s.content_type = c.content_type"
            "  AND s.work_id <> c.work_id AND s.sha256 IS DISTINCT FROM c.sha256)"
            "  AS has_strangers"
            " FROM chosen c ORDER BY md5(concat_ws(' ', %(seed)s::text, c.asset_id)), c.asset_id",
            {
                "collection": collection,
                "content_type": content_type,
                "limit": limit,
                "seed": seed,
            },
        ).fetchall()


def content_of(connection: Connection, asset_id: int) -> bytes | None:
    """Return the bytes that an asset holds itself; None where its URI says where they are."""
    row = connection.execute(
        "SELECT content FROM fpdb.asset WHERE asset_id = %s", (asset_id,)
    ).fetchone()
    return None if row is None or row[0] is None else bytes(row[0])


def feedback(
    connection: Connection, *, collection: str | None, content_type: str | None
) -> list[Verdict]:
    """Return people's verdicts on answers that named assets of a collection and a content type."""
    with connection.cursor(row_factory=class_row(Verdict)) as cursor:
        return cursor.execute(
            "SELECT content_type, confidence, is_right"
            " FROM fpdb.feedback JOIN fpdb.asset USING (asset_id)"
            " WHERE (%(collection)s::text IS NULL OR collection = %(collection)s)"
            " AND (%(content_type)s::text IS NULL OR content_type = %(content_type)s)"
            " ORDER BY feedback_id",
            {"collection": collection, "content_type": content_type},
        ).fetchall()


def thresholds(connection: Connection) -> dict[str, float]:
    """Return the confidence that each content type asks of a match."""
    rows = connection.execute("SELECT name, match_threshold FROM fpdb.content_type").fetchall()
    return dict(rows)


def put_thresholds(connection: Connection, found: dict[str, tuple[float, str]]) -> None:
    """Put thresholds in force, each with the text that says where it came from: all or none."""
    with connection.transaction():
        connection.cursor().executemany(
            "UPDATE fpdb.content_type SET match_threshold = %s, calibration = %s WHERE name = %s",
            [(threshold, origin, name) for name, (threshold, origin) in found.items()],
        )
