"""Puts made-up recordings into a test's database."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from psycopg import sql

from fingerprintdb.extraction import EmbeddedSegment
from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import ACCURATE
from fingerprintdb.store.database import Connection
from fingerprintdb.store.embeddings import copy_segments
from fingerprintdb.store.landmarks import copy_postings
from fingerprintdb.store.profile import mark_stored
from fingerprintdb.store.subfingerprints import copy_sub_fingerprints
from fingerprintdb.subfingerprints import Bits, SubFingerprints

Vectors = npt.NDArray[np.float32]


class Library:
    """Puts made-up recordings into a database as `fpdb ingest` does with real ones."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.frame_sec = ACCURATE.frame_sec

    def add(
        self,
        landmarks: Landmarks | None = None,
        vectors: Vectors | None = None,
        *,
        starts_sec: Sequence[float] | None = None,
        model_id: int | None = None,
        bits: Bits | None = None,
        profile: str = ACCURATE.name,
        **columns: Any,
    ) -> int:
        """Insert a ready asset with landmarks, bits and one vector each 2.5 s; return its key."""
        values = {
            "uri": "made-up.wav",
            "landmark_status": "ready",
            "embedding_status": "ready",
            "duration_sec": 60.0,
            **columns,
        }
        row = self.connection.execute(
            sql.SQL(
                "INSERT INTO fpdb.asset (profile_id, {}) SELECT profile_id, {} FROM fpdb.profile"
                " WHERE name = {} RETURNING asset_id, profile_id"
            ).format(
                sql.SQL(", ").join(map(sql.Identifier, values)),
                sql.SQL(", ").join(map(sql.Placeholder, values)),
                profile,
            ),
            values,
        ).fetchone()
        assert row is not None
        asset_id, profile_id = int(row[0]), int(row[1])
        if landmarks is not None:
            copy_postings(self.connection, asset_id, profile_id, landmarks)
        if bits is not None:
            step_frames = ACCURATE.sub_fingerprint_frames
            copy_sub_fingerprints(
                self.connection,
                asset_id,
                profile_id,
                SubFingerprints(bits[::step_frames], step_frames),
            )
        if values["landmark_status"] == "ready":
            count = 0 if landmarks is None else len(landmarks)
            mark_stored(self.connection, asset_id, profile_id, count)
        if vectors is not None:
            model_id = self.active_model() if model_id is None else model_id
            self.embed(asset_id, vectors, model_id, starts_sec)
        return asset_id

    def embed(
        self,
        asset_id: int,
        vectors: Vectors,
        model_id: int,
        starts_sec: Sequence[float] | None = None,
    ) -> None:
        """Store vectors of a model, one each 2.5 s where the starts are not given."""
        starts = [2.5 * n for n in range(len(vectors))] if starts_sec is None else starts_sec
        copy_segments(
            self.connection,
            asset_id,
            model_id,
            [
                EmbeddedSegment(index, start, start + 5.0, vector, 1.0)
                for index, (start, vector) in enumerate(zip(starts, vectors, strict=True))
            ],
        )

    def replace(self, asset_id: int, landmarks: Landmarks) -> None:
        """Store other landmarks for an asset, as a worker does."""
        with self.connection.transaction():
            self.connection.execute(
                "SELECT FROM fpdb.asset WHERE asset_id = %s FOR UPDATE", (asset_id,)
            )
            self.connection.execute("SELECT fpdb.remove_landmarks(ARRAY[%s::bigint])", (asset_id,))
            profile_id = self.value("SELECT profile_id FROM fpdb.profile WHERE is_active")
            copy_postings(self.connection, asset_id, profile_id, landmarks)
            mark_stored(self.connection, asset_id, profile_id, len(landmarks))

    def active_model(self) -> int:
        """Return the key of the active model."""
        return int(self.value("SELECT fpdb.active_model()"))

    def calibrate(self, intercept: float = -20.0, slope: float = 25.0) -> None:
        """Give the active model a regression that is sure from a similarity of 0.9 up."""
        self.connection.execute(
            "UPDATE fpdb.model SET confidence_intercept = %s, confidence_slope = %s"
            " WHERE state = 'active'",
            (intercept, slope),
        )

    def value(self, statement: str, *values: Any) -> Any:
        """Return the first column of the first row."""
        row = self.connection.execute(statement.encode(), values or None).fetchone()
        assert row is not None
        return row[0]

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows."""
        return self.connection.execute(statement.encode(), values or None).fetchall()

    def names(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Return all rows as dictionaries."""
        cursor = self.connection.execute(statement.encode(), values or None)
        assert cursor.description is not None
        columns = [column.name for column in cursor.description]
        return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    def plan(self, function: str, hashes: int, arguments: str) -> str:
        """Return the plan of the query in a function's body, for so many hashes asked."""
        definition = self.value(
            "SELECT pg_get_functiondef(oid) FROM pg_proc"
            " WHERE pronamespace = 'fpdb'::regnamespace AND proname = %s",
            function,
        )
        named = self.value(
            "SELECT pg_get_function_identity_arguments(oid) FROM pg_proc"
            " WHERE pronamespace = 'fpdb'::regnamespace AND proname = %s",
            function,
        )
        body = re.search(r"RETURN QUERY\s+(.*);\s*END\s*\$function\$", definition, re.DOTALL)
        assert body is not None
        with self.connection.transaction(force_rollback=True):
            for name, value in re.findall(r"SET ((?:enable|plan)_\w+) TO '(\w+)'", definition):
                self.connection.execute(f"SET LOCAL {name} = {value}".encode())
            self.connection.execute(
                f"CREATE FUNCTION pg_temp.{function}({named}) RETURNS SETOF text"
                f" LANGUAGE plpgsql AS $plan$\n#variable_conflict use_column\n"
                f"BEGIN RETURN QUERY EXPLAIN {body[1]}; END $plan$".encode()
            )
            rows = self.rows(
                f"SELECT pg_temp.{function}(a, a, {arguments})"
                " FROM (SELECT array_agg(n) FROM generate_series(1, %s) n) AS n (a)",
                hashes,
            )
        return "\n".join(row[0] for row in rows)


def random_landmarks(
    rng: np.random.Generator, *, duration_sec: float = 60.0, per_sec: int = 40
) -> Landmarks:
    """Return landmarks without rhyme or reason, in order of time."""
    size = int(duration_sec * per_sec)
    frames = np.sort(rng.integers(0, int(duration_sec / ACCURATE.frame_sec), size))
    hashes = rng.integers(0, 1 << 24, size)
    return Landmarks(hashes.astype(np.int32), frames.astype(np.int32))


def random_bits(rng: np.random.Generator, *, duration_sec: float = 60.0) -> Bits:
    """Return sub-fingerprints at every frame; an asset stores those of phase 0."""
    frames = int(duration_sec / ACCURATE.frame_sec)
    return rng.integers(0, 256, (frames, ACCURATE.sub_fingerprint_bits // 8), np.uint8)


def random_vectors(rng: np.random.Generator, size: int) -> Vectors:
    """Return vectors of unit length in no common direction."""
    vectors = rng.standard_normal((size, 512))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def excerpt(landmarks: Landmarks, first_frame: int, last_frame: int) -> Landmarks:
    """Cut a query out of a reference; its frames begin at 0."""
    inside = (landmarks.frames >= first_frame) & (landmarks.frames < last_frame)
    return Landmarks(landmarks.hashes[inside], landmarks.frames[inside] - np.int32(first_frame))
