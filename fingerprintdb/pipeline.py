"""Takes a recording from its source into the store, and a clip from its source to its matches."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from threading import Lock
from typing import Any

from psycopg.types.json import Jsonb

from fingerprintdb.audio import AudioError
from fingerprintdb.cascade import Answer, search
from fingerprintdb.clip import MAX_SEC, hear
from fingerprintdb.embedding import Embedder, ModelError, load
from fingerprintdb.extraction import (
    ReferenceLandmarks,
    Timings,
    Windowing,
    booked,
    extract,
    extract_embeddings,
    extract_landmarks,
)
from fingerprintdb.source import MAX_BYTES, Source, SourceError, open_source, redact
from fingerprintdb.store import asset as assets
from fingerprintdb.store import library
from fingerprintdb.store.asset import Claim
from fingerprintdb.store.database import Connection
from fingerprintdb.store.embeddings import (
    Model,
    active_model,
    copy_segments,
    store_embeddings,
)
from fingerprintdb.store.landmarks import copy_landmarks, store_landmarks
from fingerprintdb.store.match import Scope, similar_to
from fingerprintdb.store.profile import (
    ProfileChangedError,
    active_profile,
    hold_profile,
    read_profile,
)
from fingerprintdb.store.query import Query, answer_query
from fingerprintdb.warp import AS_RECORDED, Warp

SHIPPED_TAGS = ("album", "genre", "date", "track", "composer")
"""Tags that go to asset.metadata; title and artist have columns of their own."""


@dataclass(slots=True)
class Extractor:
    """The stages as a database wants them: with its active model, loaded once."""

    max_source_bytes: int = MAX_BYTES
    _loaded: tuple[Model, Embedder] | None = field(default=None, repr=False)
    _loading: Lock = field(default_factory=Lock, repr=False)

    def embedder(self, connection: Connection) -> tuple[Model, Embedder]:
        """Return the active model and its embedder; ModelError where they are not the same."""
        model = active_model(connection)
        with self._loading:
            return model, self._load(model)

    def _load(self, model: Model) -> Embedder:
        if self._loaded is None or self._loaded[0] != model:
            embedder = load(model.source)
            if embedder.revision != model.revision:
                raise ModelError(
                    f"the weights of {model.name} on this machine are of revision"
                    f" {embedder.revision}, the database's vectors of {model.revision}",
                    f"put revision {model.revision} here, or run"
                    f" `fpdb init --model {model.source}` to change the database's model",
                )
            self._loaded = (model, embedder)
        return self._loaded[1]

    @contextmanager
    def open(self, uri: str | None, content: bytes | None = None) -> Iterator[Source]:
        """Open a source within the size limit; an AudioError from within names it."""
        try:
            with open_source(uri, content, max_bytes=self.max_source_bytes) as source:
                yield source
        except AudioError as error:
            name = redact(uri) if uri else "the content"
            raise AudioError(f"{name}: {error.message}", error.remedy) from error


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


@dataclass(frozen=True, slots=True)
class Identified:
    """The answer for one clip."""

    answer: Answer
    timings_ms: dict[str, float]
    is_whole: bool = True
    """False where only the beginning of a long clip was judged."""


def process_landmarks(connection: Connection, job: Claim, extractor: Extractor) -> dict[str, float]:
    """Fingerprint the asset of a landmark job and store it whole, or not at all."""
    timings = Timings()
    if job.profile_id is None:
        profile_id, profile = active_profile(connection)
    else:
        profile_id, profile = job.profile_id, read_profile(connection, job.profile_id)
    with extractor.open(job.uri, job.content) as source:
        found = extract_landmarks(source, profile, timings, Warp(job.pitch, job.tempo))
        described = _described(source, found) | _titles(found.info.tags, job.uri or "")
    began = time.perf_counter()
    store_landmarks(connection, job, found, profile_id=profile_id, described=described)
    timings.add("store", began)
    return timings.ms


def process_embeddings(
    connection: Connection, job: Claim, extractor: Extractor
) -> dict[str, float]:
    """Embed the asset of an embedding job and store it whole, or not at all."""
    timings = Timings()
    model, embedder = extractor.embedder(connection)
    windowing = Windowing(
        job.segment_duration_sec,
        job.segment_hop_sec,
        job.sample_rate,
        job.normalize_embeddings,
        job.max_audio_length_sec,
    )
    with extractor.open(job.uri, job.content) as source:
        warp = Warp(job.pitch, job.tempo)
        segments = extract_embeddings(source, embedder, windowing, timings, warp)
    began = time.perf_counter()
    store_embeddings(connection, job, model.model_id, segments)
    timings.add("store", began)
    return timings.ms


def process_query(connection: Connection, query: Query, extractor: Extractor) -> Answer:
    """Identify a clip of fpdb.query and write the answer."""
    began = time.perf_counter()
    # A name that is misspelt finds nothing, which is not the answer that nothing is there.
    if query.collection is not None:
        library.require_collection(connection, query.collection)
    if query.content_type is not None:
        library.require_content_type(connection, query.content_type)
    scope = Scope(
        k=query.k,
        collection=query.collection,
        content_type=query.content_type,
        metadata=query.metadata,
    )
    found = identify(connection, extractor, scope, uri=query.uri, content=query.content)
    elapsed_ms = (time.perf_counter() - began) * 1000
    answer = found.answer
    answer_query(connection, query.query_id, answer.verdict, answer.matches, elapsed_ms)
    return answer


def identify(
    connection: Connection,
    extractor: Extractor,
    scope: Scope,
    *,
    uri: str | None = None,
    content: bytes | None = None,
    with_vectors: bool = True,
) -> Identified:
    """Return what a clip is."""
    timings = Timings()
    heard_by = extractor.embedder(connection) if with_vectors else None
    began = time.perf_counter()
    with extractor.open(uri, content) as source:
        timings.add("open", began)
        clip = hear(source, active_profile(connection)[1], timings)
        with booked(timings, "match"):
            answer = search(connection, clip, heard_by, scope)
    return Identified(answer, timings.ms, is_whole=clip.duration_sec < MAX_SEC)


def similar(
    connection: Connection, extractor: Extractor, scope: Scope, uri: str
) -> list[dict[str, Any]]:
    """Return the stored assets that sound most like a clip."""
    model, embedder = extractor.embedder(connection)
    with extractor.open(uri) as source:
        windows = hear(source, active_profile(connection)[1], Timings()).windows(embedder)
    return similar_to(connection, windows, model_id=model.model_id, scope=scope)


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
        # Made again in the rare case that another profile became the active one meanwhile.
        with suppress(ProfileChangedError):
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
    began = time.perf_counter()
    try:
        with extractor.open(uri) as source:
            timings.add("open", began)
            sha256 = source.sha256
            same = assets.find_same(connection, collection, sha256, uri, warp)
            if same:
                return _skipped(connection, same, uri, warp, version_of, timings)
            found, segments = extract(source, profile, embedder, Windowing(), timings, warp)
            values = _described(source, found) | _titles(found.info.tags, uri)
    except (AudioError, SourceError) as error:
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


def _described(source: Source, found: ReferenceLandmarks) -> dict[str, Any]:
    return {
        "sha256": source.sha256,
        "audio_source_type": found.info.source_type,
        "duration_sec": found.duration_sec,
        "source_sample_rate": found.info.sample_rate_hz,
    }


def _titles(tags: dict[str, str], uri: str) -> dict[str, Any]:
    """Return title, artist and metadata from a file's tags; untitled, it is called by its name."""
    name = redact(uri).rstrip("/").rpartition("/")[2].rpartition(".")
    texts = {key: value.replace("\0", "") for key, value in tags.items()}
    return {
        "title": texts.get("title") or name[0] or name[2] or None,
        "artist": texts.get("artist") or texts.get("album_artist"),
        "metadata": Jsonb({key: texts[key] for key in SHIPPED_TAGS if key in texts}),
    }
