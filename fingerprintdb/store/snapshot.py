"""Reads a collection, or all of them, as they are at one moment: what an archive is made of."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg.rows import dict_row

from fingerprintdb import __version__
from fingerprintdb.archive import (
    AssetRecord,
    ContentType,
    Description,
    Header,
    Model,
    ModelVectors,
    NamedCollection,
    NamedProfile,
    Segments,
)
from fingerprintdb.landmarks import Landmarks
from fingerprintdb.store import revision
from fingerprintdb.store.database import Connection
from fingerprintdb.store.harvest import harvest
from fingerprintdb.store.library import require_collection
from fingerprintdb.store.profile import active_profile
from fingerprintdb.subfingerprints import Bits

CONTENT_PIECE_BYTES = 3 * 2**20
NO_WORK = -(2**63)
NAMED_BY_DIGEST = "hash://sha256/"
"""Begins the URI of an asset whose bytes are not in the archive, and which had no other name."""

READ_BY_NAME = ", ".join(
    {
        "metadata": "metadata::text",
        "created_at": "created_at::text",
        "processed_at": "processed_at::text",
    }.get(field.name, field.name)
    for field in fields(Description)
)
COLLECTION = "(%(collection)s::text IS NULL OR a.collection = %(collection)s)"
IN_SCOPE = f"a.profile_id = %(profile_id)s AND {COLLECTION}"
IN_ORDER = (
    "SELECT a.asset_id, coalesce(a.landmark_count, 0),"  # noqa: S608 — constants
    f" coalesce(w.asset_id, {NO_WORK}), a.version_of IS NOT NULL AND w.asset_id IS NULL,"
    " a.uri IS NULL"
    f" FROM fpdb.asset a LEFT JOIN (SELECT a.asset_id FROM fpdb.asset a WHERE {IN_SCOPE}) w"
    f" ON w.asset_id = a.version_of WHERE {IN_SCOPE}"
    " ORDER BY coalesce(w.asset_id, a.asset_id), w.asset_id IS NOT NULL, a.asset_id"
)
CONTENT_TYPES = (
    "SELECT name, landmark_threshold, vector_threshold, match_threshold, calibration"  # noqa: S608
    " FROM fpdb.content_type c WHERE EXISTS (SELECT FROM fpdb.asset a"
    f" WHERE a.content_type = c.name AND {COLLECTION}) ORDER BY name"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is to be exported, in order: a version follows its work.

    asset_ids and counts of landmarks int64 (n,); `works` the keys of the works, NO_WORK for none.
    `left_out` assets have no landmarks of the active profile; `without_work` are versions of what
    is not exported; `by_digest` are named by their digest, as neither URI nor content comes along.
    """

    connection: Connection
    header: Header
    collection: str | None
    model_ids: tuple[int, ...]
    profile_id: int
    with_content: bool
    asset_ids: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    works: npt.NDArray[np.int64]
    left_out: int
    without_work: int
    by_digest: int

    def records(self, told: Callable[[int], None] | None = None) -> Iterator[AssetRecord | bytes]:
        """Yield each asset and, where asked for, its content in pieces after it.

        `told` hears how many landmarks have been read, before the first asset comes.
        """
        scope = {"collection": self.collection, "told": told}
        with harvest(self.connection, self.asset_ids, self.counts, **scope) as each:  # type: ignore[arg-type]
            for asset_id, work, landmarks in zip(self.asset_ids, self.works, each, strict=True):
                of = None if work == NO_WORK else int(work)
                record = self._record(int(asset_id), of, landmarks)
                yield record
                if record.content_bytes:
                    yield from self._content(record.key, record.content_bytes)

    def _record(self, asset_id: int, work: int | None, landmarks: Landmarks) -> AssetRecord:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(
                f"SELECT {READ_BY_NAME}, octet_length(content) AS content_bytes,"  # noqa: S608 — ours
                " coalesce(sha256, encode(pg_catalog.sha256(content), 'hex')) AS digest"
                " FROM fpdb.asset WHERE asset_id = %s".encode(),
                (asset_id,),
            ).fetchone()
        assert row is not None  # noqa: S101 — it is in the snapshot
        content_bytes, digest = row.pop("content_bytes"), row.pop("digest")
        if not self.with_content:
            content_bytes = None
            row["uri"] = row["uri"] or f"{NAMED_BY_DIGEST}{digest}"
        places, segments = self._segments(asset_id)
        vectors = tuple(self._vectors(asset_id, places))
        return AssetRecord(
            key=asset_id,
            version_of=work,
            content_bytes=content_bytes or None,
            description=Description(**row),
            landmarks=landmarks,
            sub_fingerprints=self._bits(asset_id),
            segments=segments if vectors else _no_segments(),
            vectors=vectors,
        )

    def _bits(self, asset_id: int) -> Bits:
        width = self.header.profile.bytes_a_sub_fingerprint
        # Postgres sends a bit string as its length in four bytes, then its bytes.
        rows = self.connection.execute(
            "SELECT bits FROM fpdb.sub_fingerprint WHERE asset_id = %s AND profile_id = %s"
            " ORDER BY part",
            (asset_id, self.profile_id),
            binary=True,
        ).fetchall()
        data = b"".join(bytes(row[0])[4:] for row in rows)
        return np.frombuffer(data, np.uint8).reshape(-1, width)

    def _segments(self, asset_id: int) -> tuple[dict[int, int], Segments]:
        """Return the segments, and the place among them of each by its key."""
        rows = self.connection.execute(
            "SELECT segment_id, segment_index, start_time_sec, end_time_sec, is_silent"
            " FROM fpdb.segment WHERE asset_id = %s ORDER BY segment_index",
            (asset_id,),
            binary=True,
        ).fetchall()
        return {row[0]: place for place, row in enumerate(rows)}, Segments(
            np.array([row[1] for row in rows], np.int32),
            np.array([row[2] for row in rows], np.float64),
            np.array([row[3] for row in rows], np.float64),
            np.array([row[4] for row in rows], np.bool_),
        )

    def _vectors(self, asset_id: int, places: dict[int, int]) -> Iterator[ModelVectors]:
        """Yield the vectors of each model that the asset was embedded with as it is now."""
        if not self.model_ids:
            return
        made = self.connection.execute(
            "SELECT h.model_id FROM fpdb.asset_model h JOIN fpdb.asset a USING (asset_id)"
            " WHERE h.asset_id = %s AND h.model_id = ANY (%s) AND h.vectors IS NOT NULL"
            " AND h.revision = a.embedding_revision ORDER BY h.model_id",
            (asset_id, list(self.model_ids)),
        ).fetchall()
        for (model_id,) in made:
            rows = self.connection.execute(
                "SELECT e.segment_id, e.embedding, e.processing_time_ms FROM fpdb.embedding e"
                " JOIN fpdb.segment s USING (segment_id)"
                " WHERE e.asset_id = %s AND e.model_id = %s ORDER BY s.segment_index",
                (asset_id, model_id),
                binary=True,
            ).fetchall()
            model = self.model_ids.index(model_id)
            dims = self.header.models[model].dims
            yield ModelVectors(
                model,
                np.array([places[row[0]] for row in rows], np.int32),
                np.array([row[1].to_numpy() for row in rows], np.float32).reshape(-1, dims),
                np.array([row[2] for row in rows], np.float32),
            )

    def _content(self, asset_id: int, size_bytes: int) -> Iterator[bytes]:
        for start in range(1, size_bytes + 1, CONTENT_PIECE_BYTES):
            row = self.connection.execute(
                "SELECT substring(content FROM %s FOR %s) FROM fpdb.asset WHERE asset_id = %s",
                (start, CONTENT_PIECE_BYTES, asset_id),
                binary=True,
            ).fetchone()
            assert row is not None  # noqa: S101 — it is in the snapshot
            yield bytes(row[0])


@contextmanager
def snapshot(
    connection: Connection,
    *,
    collection: str | None = None,
    with_content: bool = False,
    with_vectors: bool = True,
) -> Iterator[Snapshot]:
    """Hold one moment of a collection (None: of all) until the block ends; nothing is written.

    The active profile's landmarks are in it, and the vectors of the active model and of those that
    are filled beside it. Raises DatabaseError where there is no such collection or profile.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # TRUNCATE, which `fpdb model retire` uses, is seen by every snapshot: it waits for us.
        connection.execute(
            "LOCK TABLE fpdb.asset, fpdb.delta, fpdb.tier, fpdb.run, fpdb.posting, fpdb.embedding"
            " IN ACCESS SHARE MODE"
        )
        connection.execute("SET LOCAL TimeZone = 'UTC'")
        connection.execute("SET LOCAL DateStyle = 'ISO, YMD'")
        if collection is not None:
            require_collection(connection, collection)
        profile_id, profile = active_profile(connection)
        asked = {"collection": collection, "profile_id": profile_id}
        rows = connection.execute(IN_ORDER.encode(), asked, binary=True).fetchall()
        found = np.array(rows, np.int64).reshape(-1, 5)
        (everything,) = connection.execute(
            f"SELECT count(*) FROM fpdb.asset a WHERE {COLLECTION}".encode(),  # noqa: S608 — ours
            asked,
        ).fetchone() or (0,)
        models = _models(connection) if with_vectors else {}
        header = Header(
            program=__version__,
            schema=revision.current(connection) or "",
            exported_at=_only(connection, "SELECT now()::text"),
            assets=len(found),
            profile=NamedProfile(profile.name, profile.digest, profile.parameters()),
            models=tuple(models.values()),
            content_types=_content_types(connection, asked),
            collections=_collections(connection, asked),
        )
        yield Snapshot(
            connection=connection,
            header=header,
            collection=collection,
            model_ids=tuple(models),
            profile_id=profile_id,
            with_content=with_content,
            asset_ids=found[:, 0],
            counts=found[:, 1],
            works=found[:, 2],
            left_out=everything - len(found),
            without_work=int(found[:, 3].sum()),
            by_digest=0 if with_content else int(found[:, 4].sum()),
        )


def _models(connection: Connection) -> dict[int, Model]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT model_id, name, revision, source, dims, sample_rate, state,"
            " confidence_intercept, confidence_slope, index_type, (SELECT"
            "  coalesce(jsonb_object_agg(w.content_type, w.weight), '{}') FROM fpdb.model_weight w"
            "  WHERE w.model_id = m.model_id) AS weights"
            " FROM fpdb.model m WHERE state IN ('active', 'shadow') ORDER BY model_id"
        ).fetchall()
    return {row.pop("model_id"): Model(**row) for row in rows}


def _content_types(connection: Connection, asked: dict[str, Any]) -> tuple[ContentType, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(CONTENT_TYPES.encode(), asked).fetchall()
    return tuple(ContentType(**row) for row in rows)


def _collections(connection: Connection, asked: dict[str, Any]) -> tuple[NamedCollection, ...]:
    rows = connection.execute(
        "SELECT name, description, created_at::text FROM fpdb.collection"
        " WHERE %(collection)s::text IS NULL OR name = %(collection)s ORDER BY name",
        asked,
    ).fetchall()
    return tuple(NamedCollection(*row) for row in rows)


def _no_segments() -> Segments:
    return Segments(np.empty(0, np.int32), np.empty(0), np.empty(0), np.empty(0, np.bool_))


def _only(connection: Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None  # noqa: S101 — the statement gives one
    return row[0]
