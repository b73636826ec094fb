"""Searches: by a clip, by a sentence, by a stored recording."""

import time
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, File, Query, UploadFile

from fingerprintdb.api.access import Reader
from fingerprintdb.api.answers import (
    FoundAsset,
    Moments,
    Prediction,
    SearchAnswer,
    SimilarAsset,
    stages_of,
)
from fingerprintdb.api.evidence import shown
from fingerprintdb.api.problem import documented, unknown
from fingerprintdb.api.scope import (
    AssetId,
    Collection,
    ContentType,
    K,
    MinConfidence,
    Name,
    Where,
    search_scope,
)
from fingerprintdb.api.service import Database, Served, Service
from fingerprintdb.api.upload import received
from fingerprintdb.extraction import Timings
from fingerprintdb.identification import Identified, identify_source, moments_like_text
from fingerprintdb.metrics import observe_search
from fingerprintdb.store import catalogue
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope, similar_assets

router = APIRouter(tags=["search"])

Clip = Annotated[UploadFile, File(description="The clip: any audio or video file.")]


@router.post("/api/v1/search", responses=documented(413, 422))
def search(
    service: Served,
    connection: Database,
    scope: Where,
    file: Clip,
    min_confidence: MinConfidence = None,
    landmarks_only: Annotated[
        bool, Query(description="Ask no embedding model, which is quicker.")
    ] = False,
    explain: Annotated[
        bool, Query(description="Say in `explanation` why the best match is one.")
    ] = False,
) -> SearchAnswer:
    """Say which recording a clip is from, and where in it."""
    began = time.perf_counter()
    scope = replace(scope, min_confidence=min_confidence)
    found = _identified(
        service, connection, scope, file, with_vectors=not landmarks_only, explain=explain
    )
    return answer_of(found, (time.perf_counter() - began) * 1000)


@router.post("/predict", responses=documented(413, 422))
def predict(
    service: Served,
    connection: Database,
    scope: Where,
    file: Clip,
    min_confidence: MinConfidence = None,
) -> Prediction:
    """Say in short which song a clip is from."""
    began = time.perf_counter()
    scope = replace(scope, min_confidence=min_confidence)
    matches = _identified(service, connection, scope, file).answer.matches
    elapsed_ms = (time.perf_counter() - began) * 1000
    if not matches:
        return Prediction(found=False, processing_time_ms=elapsed_ms)
    best = matches[0]
    return Prediction(
        found=True,
        song_id=best.asset_id,
        title=best.title,
        artist=best.artist,
        confidence=best.confidence,
        offset_sec=best.offset_sec,
        processing_time_ms=elapsed_ms,
    )


@router.get("/api/v1/search/text", responses=documented(409, 422))
def search_text(
    service: Served,
    connection: Database,
    scope: Where,
    q: Annotated[Name, Query(description="What it sounds like.", examples=["rain on a tin roof"])],
    min_duration_sec: Annotated[float | None, Query(ge=0)] = None,
    max_duration_sec: Annotated[float | None, Query(ge=0)] = None,
) -> Moments:
    """Find the moments that a sentence describes; needs a model that knows words, as CLAP does."""
    began = time.perf_counter()
    lasting_sec = (min_duration_sec, max_duration_sec)
    moments = moments_like_text(connection, service.extractor, scope, q, lasting_sec=lasting_sec)
    return Moments.of(moments, (time.perf_counter() - began) * 1000)


@router.get("/api/v1/similar/{asset_id}", responses=documented(404, 422))
def similar(
    connection: Database,
    caller: Reader,
    asset_id: AssetId,
    k: K = 10,
    collection: Collection = None,
    content_type: ContentType = None,
) -> list[SimilarAsset]:
    """List the recordings that sound most like a stored one."""
    if catalogue.entry(connection, asset_id, caller.collection) is None:
        raise unknown("asset", asset_id)
    scope = search_scope(caller, connection, k, collection, content_type)
    found = similar_assets(connection, asset_id, scope=scope)
    return [SimilarAsset.model_validate(row) for row in found]


def answer_of(found: Identified, elapsed_ms: float) -> SearchAnswer:
    """Return an answer as the service shows it."""
    answer, explanation = found.answer, None
    if found.explanation is not None:
        explanation = shown(found.explanation, answer.matches[0].asset_id)
    return SearchAnswer(
        found=bool(answer.matches),
        verdict=answer.verdict,
        matches=[FoundAsset.of(match) for match in answer.matches],
        stages=stages_of(answer.stages),
        processing_time_ms=elapsed_ms,
        timings_ms=found.timings_ms,
        is_whole=found.is_whole,
        explanation=explanation,
    )


def _identified(
    service: Service,
    connection: Connection,
    scope: Scope,
    file: UploadFile,
    *,
    with_vectors: bool = True,
    explain: bool = False,
) -> Identified:
    began = time.perf_counter()
    with received(file, service.options) as source:
        found = identify_source(
            connection,
            service.extractor,
            scope,
            source,
            Timings(),
            with_vectors=with_vectors,
            explain=explain,
        )
    answer = found.answer
    stages_ms = {stage.name: stage.elapsed_ms for stage in answer.stages}
    observe_search(answer.verdict, time.perf_counter() - began, stages_ms)
    return found
