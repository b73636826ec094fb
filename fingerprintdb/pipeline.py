"""Takes a recording from its source into the store."""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from fingerprintdb.audio import AudioError
from fingerprintdb.extraction import (
    ReferenceLandmarks,
    Timings,
    Windowing,
)
from fingerprintdb.extractor import Extractor
from fingerprintdb.processes import ProcessDiedError
from fingerprintdb.separation import SeparatorError
from fingerprintdb.source import Source, SourceError, redact
from fingerprintdb.store import asset as assets
from fingerprintdb.store.asset import Claim
from fingerprintdb.store.database import Connection
from fingerprintdb.store.embeddings import copy_segments, store_embeddings
from fingerprintdb.store.landmarks import copy_landmarks, store_landmarks
from fingerprintdb.store.model import ModelChangedError, hold_model
from fingerprintdb.store.profile import (
    ProfileChangedError,
    active_profile,
    hold_profile,
    read_profile,
)
from fingerprintdb.warp import AS_RECORDED, Warp

SHIPPED_TAGS = ("album", "genre", "date", "track", "composer")
"""Tags that go to asset.metadata; title and artist have columns of their own."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one source, as a warp plays it; `status` is ready, failed, skipped or queued.

    `work_id` is the asset that this one is a version of, or itself.
    """

    asset_id: int | None
    uri: str
    status: str
    duration_sec: float | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    work_id: int | None = None
    warp: Warp = AS_RECORDED


def process_landmarks(connection: Connection, job: Claim, extractor: Extractor) -> dict[str, float]:
    """Fingerprint the asset of a landmark job and store it whole, or not at all."""
    timings = Timings()
    if job.made_by is None:
        profile_id, profile = active_profile(connection)
    else:
        profile_id, profile = job.made_by, read_profile(connection, job.made_by)
    with extractor.open(job.uri, job.content) as source:
        found = extractor.landmarks(source, profile, timings, Warp(job.pitch, job.tempo))
        described = _described(source, found) | titles(found.info.tags, job.uri or "")
    began = time.perf_counter()
    store_landmarks(connection, job, found, profile_id=profile_id, described=described)
    timings.add("store", began)
    return timings.ms


def process_embeddings(
    connection: Connection, job: Claim, extractor: Extractor
) -> dict[str, float]:
    """Embed the asset of an embedding job and store it whole, or not at all."""
    timings = Timings()
    model, embedder = extractor.embedder(connection, job.made_by)
    windowing = _windowing(job.parameters)
    with extractor.open(job.uri, job.content) as source:
        warp = Warp(job.pitch, job.tempo)
        segments = extractor.embeddings(source, embedder, windowing, timings, warp)
    began = time.perf_counter()
    store_embeddings(connection, job, model.model_id, segments)
    timings.add("store", began)
    return timings.ms


def ingest(
    connection: Connection,
    extractor: Extractor,
    uri: str,
    *,
    collection: str = "default",
    content_type: str = "music",
    version_of: int | None = None,
    warp: Warp = AS_RECORDED,
) -> Ingested:
    """Bring one source in, whole, in one transaction; what fails is a row with the reason.

    The same bytes, played the same way, in the same collection are skipped; other bytes under the
    same URI replace what was there, which keeps its key. Where a work is named, the asset becomes
    a version of it in any case.
    """
    while True:
        # Made again in the rare case that another profile or model became the active one meanwhile.
        with suppress(ProfileChangedError, ModelChangedError):
            return _ingest(connection, extractor, uri, collection, content_type, version_of, warp)


def _ingest(
    connection: Connection,
    extractor: Extractor,
    uri: str,
    collection: str,
    content_type: str,
    version_of: int | None,
    warp: Warp,
) -> Ingested:
    timings = Timings()
    sha256 = None
    profile_id, profile = active_profile(connection)
    model, embedder = extractor.embedder(connection)
    windowing = _windowing(assets.parameters(connection, collection, uri, warp))
    began = time.perf_counter()
    try:
        with extractor.open(uri) as source:
            timings.add("open", began)
            sha256 = source.sha256
            same = assets.find_same(connection, collection, sha256, uri, warp)
            if same:
                return _skipped(connection, same, uri, warp, version_of, timings)
            found, segments = extractor.both(source, profile, embedder, windowing, timings, warp)
            values = _described(source, found) | titles(found.info.tags, uri)
    except (AudioError, SourceError, SeparatorError, ProcessDiedError) as error:
        why = {"sha256": sha256, "landmark_error": str(error)}
        named = {"uri": uri, "collection": collection, "content_type": content_type}
        asset_id = _insert_failed(connection, named | why | asdict(warp))
        assets.mark_versions(connection, [asset_id], version_of)
        return Ingested(asset_id, uri, "failed", None, timings.ms, str(error), warp=warp)
    began = time.perf_counter()
    values |= asdict(warp) | {
        "uri": uri,
        "collection": collection,
        "content_type": content_type,
        "profile_id": profile_id,
        "landmark_count": len(found.landmarks),
        "landmark_status": "ready",
        "embedding_status": "ready",
    }
    with connection.transaction():
        if hold_profile(connection, profile_id) != "active":
            raise ProfileChangedError
        if hold_model(connection, model.model_id) != "active":
            raise ModelChangedError
        # Another thread or program may have brought the same bytes meanwhile.
        assets.lock_content(connection, collection, sha256)
        same = assets.find_same(connection, collection, sha256, uri, warp)
        if same:
            return _skipped(connection, same, uri, warp, version_of, timings)
        asset_id = assets.put(connection, values)
        assets.mark_versions(connection, [asset_id], version_of)
        copy_landmarks(connection, asset_id, profile_id, found)
        copy_segments(connection, asset_id, model.model_id, segments)
    timings.add("store", began)
    work_id = version_of or asset_id
    return Ingested(
        asset_id, uri, "ready", found.duration_sec, timings.ms, work_id=work_id, warp=warp
    )


def _skipped(
    connection: Connection,
    same: dict[str, Any],
    uri: str,
    warp: Warp,
    version_of: int | None,
    timings: Timings,
) -> Ingested:
    assets.mark_versions(connection, [same["asset_id"]], version_of)
    work_id = version_of or same["work_id"]
    return Ingested(
        same["asset_id"],
        uri,
        "skipped",
        same["duration_sec"],
        timings.ms,
        work_id=work_id,
        warp=warp,
    )


def _insert_failed(connection: Connection, values: dict[str, Any]) -> int:
    warp = Warp(values["pitch"], values["tempo"])
    with connection.transaction():
        former = assets.find_uri(connection, values["collection"], values["uri"], warp)
        if former is not None and former["status"] == "ready":
            return int(former["asset_id"])  # what was stored of it stays good
        failed = {"landmark_status": "failed", "embedding_status": "failed"}
        return assets.put(connection, values | failed)


def _windowing(parameters: assets.Parameters | None) -> Windowing:
    """Return how an asset wants to be cut and heard; a new one as its columns' defaults say."""
    if parameters is None:
        return Windowing()
    named = asdict(parameters)
    return Windowing(sample_rate_hz=named.pop("sample_rate"), **named)


def _described(source: Source, found: ReferenceLandmarks) -> dict[str, Any]:
    return {
        "sha256": source.sha256,
        "audio_source_type": found.info.source_type,
        "duration_sec": found.duration_sec,
        "source_sample_rate": found.info.sample_rate_hz,
    }


def titles(tags: dict[str, str], uri: str) -> dict[str, Any]:
    """Return title, artist and metadata from a file's tags; untitled, it is called by its name."""
    name = redact(uri).rstrip("/").rpartition("/")[2].rpartition(".")
    texts = {key: value.replace("\0", "") for key, value in tags.items()}
    return {
        "title": texts.get("title") or name[0] or name[2] or None,
        "artist": texts.get("artist") or texts.get("album_artist"),
        "metadata": Jsonb({key: texts[key] for key in SHIPPED_TAGS if key in texts}),
    }
