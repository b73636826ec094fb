"""Asks the database for matches; the matching itself is SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pgvector import Vector
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from fingerprintdb.store.database import Connection, answered
from fingerprintdb.store.subfingerprints import by_phase
from fingerprintdb.warp import Warp

if TYPE_CHECKING:
    from fingerprintdb.clip import Windows
    from fingerprintdb.landmarks import Landmarks
    from fingerprintdb.profile import Profile
    from fingerprintdb.subfingerprints import SubFingerprints


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which assets a search looks at and how many it returns; None does not narrow."""

    k: int = 10
    min_confidence: float | None = None
    collection: str | None = None
    content_type: str | None = None
    metadata: dict[str, Any] | None = None
    exclude_asset: int | None = None
    max_postings: int = 10_000_000
    """What one question may read of the index, in all its stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one search asks with: the clip as it was before `pitch` and `tempo` were undone."""

    landmarks: "Landmarks"
    sub_fingerprints: "SubFingerprints"
    windows: "Mapping[int, Windows]"
    """What each model hears, by its key."""
    profile: "Profile"
    pitch: float = 1.0
    tempo: float = 1.0
    searches: int = 1
    """How many of this kind the clip is put to: the more, the less each is to be believed."""
    max_alignments: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What speaks for a match."""

    aligned_landmarks: int
    chance_landmarks: float | None
    bit_error_rate: float | None
    chance_bit_error_rate: float | None
    compared_sub_fingerprints: int
    bit_rank: int | None
    aligned_segments: int
    similarity: float | None
    pitch: float
    tempo: float
    stage: str = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A ranked answer; offset is reference time − query time, times are in seconds.

    `work_id` is the asset that this one is a version of, or itself; `version` is how that plays the
    recording, in whose time the reference is.
    """

    asset_id: int
    uri: str | None
    title: str | None
    artist: str | None
    work_id: int
    work_title: str | None
    version: Warp
    confidence: float
    threshold: float
    score: float
    offset_sec: float
    query_start_sec: float
    query_end_sec: float
    reference_start_sec: float
    reference_end_sec: float
    agreement: float | None
    """(1 − 2 × bit error rate) × √sub-fingerprints compared."""
    excess: float | None
    """Deviations by which `agreement` exceeds the most that chance gives in its search."""
    spread: float
    """The deviation of `agreement` between unrelated recordings."""
    evidence: Evidence

    @property
    def is_sure(self) -> bool:
        """Whether the confidence is what its content type asks for."""
        return self.confidence >= self.threshold


def propose(
    connection: Connection, question: Question, scope: Scope, *, max_postings: int, stage: str
) -> tuple[list[Match], int]:
    """Return what speaks for any asset, sure or not, best first, and the postings read."""
    statement = (
        "SELECT e.*, d.coefficient AS spread, a.uri, a.title, a.artist,"
        " a.pitch, a.tempo, w.asset_id AS work_id,"
        # Who looks into one collection learns no title of another.
        " CASE WHEN %(collection)s::text IS NULL OR w.collection = %(collection)s"
        "  THEN w.title END AS work_title"
        " FROM fpdb.evidence(%(hashes)s, %(frames)s, %(bits)b, %(vectors)s::vector[],"
        "  %(starts)s::float8[], %(digest)s, NULL, %(collection)s,"
        "  %(content_type)s, %(metadata)s, %(exclude)s, %(tempo)s, %(searches)s, %(postings)s,"
        "  %(alignments)s, %(models)s::smallint[]) e"
        " JOIN fpdb.asset a USING (asset_id)"
        " JOIN fpdb.asset w ON w.asset_id = coalesce(a.version_of, a.asset_id)"
        " JOIN fpdb.decision d ON d.term = 'bit_spread'"
        " ORDER BY e.confidence DESC, e.score DESC, e.asset_id LIMIT %(k)s"
    )
    profile, windows = question.profile, question.windows
    values = {
        "hashes": question.landmarks.hashes.tolist(),
        "frames": question.landmarks.frames.tolist(),
        "bits": by_phase(question.sub_fingerprints, profile.sub_fingerprint_frames),
        "vectors": [Vector(vector) for heard in windows.values() for vector in heard.vectors],
        "starts": [start_sec for heard in windows.values() for start_sec in heard.starts_sec],
        "models": [key for key, heard in windows.items() for _ in heard.starts_sec],
        "digest": profile.digest,
        "collection": scope.collection,
        "content_type": scope.content_type,
        "metadata": None if scope.metadata is None else Jsonb(scope.metadata),
        "exclude": scope.exclude_asset,
        "tempo": float(question.tempo),
        "searches": question.searches,
        "postings": max_postings,
        "alignments": question.max_alignments,
        "k": max(scope.k, 5),
    }
    with answered(), connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(statement, values).fetchall()
    read = max((row["postings"] or 0 for row in rows), default=0)
    return [_match(row, question, stage) for row in rows], read


def similar_assets(connection: Connection, asset_id: int, *, scope: Scope) -> list[dict[str, Any]]:
    """Return the assets that sound most like one, as columns of fpdb.similar_assets."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT s.similar_asset_id AS asset_id, a.uri, a.title, a.artist, s.similarity,"
            " s.segments FROM fpdb.similar_assets(%s, %s, %s, %s) s"
            " JOIN fpdb.asset a ON a.asset_id = s.similar_asset_id"
            " ORDER BY s.similarity DESC, s.similar_asset_id",
            (asset_id, scope.k, scope.collection, scope.content_type),
        ).fetchall()


def similar_to(
    connection: Connection, windows: "Windows", *, model_id: int, scope: Scope
) -> list[dict[str, Any]]:
    """Return the assets that sound most like a clip, as fpdb.similar_assets ranks them."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "WITH named AS (SELECT q.number, n.asset_id, max(n.similarity) AS similarity"
            "  FROM unnest(%(vectors)s::vector[]) WITH ORDINALITY AS q (embedding, number)"
            "  CROSS JOIN LATERAL fpdb.nearest_segments(q.embedding, 4 * %(k)s,"
            "   %(model)s::smallint, NULL, %(collection)s, %(content_type)s) n"
            "  GROUP BY q.number, n.asset_id)"
            " SELECT a.asset_id, a.uri, a.title, a.artist,"
            " greatest(0, sum(n.similarity) / %(windows)s) AS similarity, count(*) AS segments"
            " FROM named n JOIN fpdb.asset a USING (asset_id) GROUP BY a.asset_id"
            " ORDER BY similarity DESC, a.asset_id LIMIT %(k)s",
            {
                "vectors": [Vector(vector) for vector in windows.vectors],
                "windows": len(windows.vectors),
                "model": model_id,
                "k": scope.k,
                "collection": scope.collection,
                "content_type": scope.content_type,
            },
        ).fetchall()


def aligned_similarities(
    connection: Connection, windows: "Windows", *, model_id: int, scope: Scope
) -> dict[int, float]:
    """Return how similar the assets are that a clip's windows agree on, in order, by key."""
    with answered():
        rows = connection.execute(
            "SELECT asset_id, similarity FROM fpdb.match_vectors(%s::vector[], %s::float8[],"
            " %s::smallint, %s, 0)",
            ([Vector(vector) for vector in windows.vectors], windows.starts_sec, model_id, scope.k),
        ).fetchall()
    return dict(rows)


def _match(row: dict[str, Any], question: Question, stage: str) -> Match:
    del row["postings"]
    found = {name: row.pop(name) for name in EVIDENCE_COLUMNS}
    evidence = Evidence(**found, pitch=question.pitch, tempo=question.tempo, stage=stage)
    return Match(evidence=evidence, version=Warp(row.pop("pitch"), row.pop("tempo")), **row)


EVIDENCE_COLUMNS = (
    "aligned_landmarks",
    "chance_landmarks",
    "bit_error_rate",
    "chance_bit_error_rate",
    "compared_sub_fingerprints",
    "bit_rank",
    "aligned_segments",
    "similarity",
)
