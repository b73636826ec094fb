"""Takes a clip to its matches, and a clip or a sentence to the moments that sound like it."""

import time
from dataclasses import dataclass
from typing import Any

from fingerprintdb.cascade import Answer, Listeners, nobody, search
from fingerprintdb.clip import MAX_SEC
from fingerprintdb.embedding import ModelError, TextEmbedder
from fingerprintdb.explanation import Explanation, explain_match
from fingerprintdb.extraction import Timings, booked
from fingerprintdb.extractor import Extractor
from fingerprintdb.source import Source
from fingerprintdb.store import library
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope, similar_to
from fingerprintdb.store.moment import ANY_LENGTH, LastingSec, Moment, moments_like
from fingerprintdb.store.profile import active_profile
from fingerprintdb.store.query import Query, answer_query, answer_text


@dataclass(frozen=True, slots=True)
class Identified:
    """The answer for one clip."""

    answer: Answer
    timings_ms: dict[str, float]
    is_whole: bool = True
    """False where only the beginning of a long clip was judged."""
    explanation: Explanation | None = None
    """Why the best match is one, where that was asked."""


def process_query(connection: Connection, query: Query, extractor: Extractor) -> str:
    """Answer a question of fpdb.query, and say in a word what came of it."""
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
    if query.text is not None:
        lasting = (query.min_duration_sec, query.max_duration_sec)
        moments = moments_like_text(connection, extractor, scope, query.text, lasting_sec=lasting)
        elapsed_ms = (time.perf_counter() - began) * 1000
        answer_text(connection, query.query_id, moments, elapsed_ms)
        return f"{len(moments)} moments"
    found = identify(connection, extractor, scope, uri=query.uri, content=query.content)
    elapsed_ms = (time.perf_counter() - began) * 1000
    answer = found.answer
    answer_query(connection, query.query_id, answer.verdict, answer.matches, elapsed_ms)
    return answer.verdict


def identify(
    connection: Connection,
    extractor: Extractor,
    scope: Scope,
    *,
    uri: str | None = None,
    content: bytes | None = None,
    with_vectors: bool = True,
    separator: str | None = None,
) -> Identified:
    """Return what a clip is; where a separator is named, vectors are of the music that it leaves.

    Raises SeparatorError where the separator is not there or fails.
    """
    timings = Timings()
    began = time.perf_counter()
    with extractor.open(uri, content) as source:
        timings.add("open", began)
        return identify_source(
            connection,
            extractor,
            scope,
            source,
            timings,
            with_vectors=with_vectors,
            separator=separator,
        )


def identify_source(
    connection: Connection,
    extractor: Extractor,
    scope: Scope,
    source: Source,
    timings: Timings,
    *,
    with_vectors: bool = True,
    separator: str | None = None,
    explain: bool = False,
) -> Identified:
    """Return what `identify` does of a source that is open, and why, where that is asked."""

    def heard_by() -> Listeners:
        with booked(timings, "model"):
            return extractor.embedders(connection)

    clip = extractor.hear(source, active_profile(connection)[1], timings, separator)
    with booked(timings, "match"):
        answer = search(connection, clip, heard_by if with_vectors else nobody, scope)
    explanation = None
    if explain and answer.matches:
        with booked(timings, "explain"):
            best = answer.matches[0]
            explanation = explain_match(connection, clip, best.asset_id, best)
    return Identified(answer, timings.ms, clip.duration_sec < MAX_SEC, explanation)


def similar(
    connection: Connection, extractor: Extractor, scope: Scope, uri: str
) -> list[dict[str, Any]]:
    """Return the stored assets that sound most like a clip."""
    model, embedder = extractor.embedder(connection)
    with extractor.open(uri) as source:
        clip = extractor.hear(source, active_profile(connection)[1], Timings())
        windows = clip.windows(embedder)
    return similar_to(connection, windows, model_id=model.model_id, scope=scope)


def moments_like_text(
    connection: Connection,
    extractor: Extractor,
    scope: Scope,
    text: str,
    *,
    lasting_sec: LastingSec = ANY_LENGTH,
) -> list[Moment]:
    """Return the moments that a sentence describes, most similar first.

    Raises ModelError where the active model knows no words.
    """
    model, embedder = extractor.embedder(connection)
    if not isinstance(embedder, TextEmbedder):
        raise ModelError(
            f"{model.name} knows no words, so it cannot search by them",
            "make CLAP the database's model: fpdb init --model clap",
        )
    (vector,) = embedder.embed_text([text])
    return moments_like(connection, vector, model.model_id, scope, lasting_sec)


def moments_like_clip(
    connection: Connection,
    extractor: Extractor,
    scope: Scope,
    uri: str,
    *,
    lasting_sec: LastingSec = ANY_LENGTH,
    separator: str | None = None,
) -> list[Moment]:
    """Return the moments that sound most like a clip as a whole: like its windows' mean vector.

    Where a separator is named, vectors are of the music that it leaves. Raises SeparatorError
    where the separator is not there or fails.
    """
    model, embedder = extractor.embedder(connection)
    profile = active_profile(connection)[1]
    with extractor.open(uri) as source:
        windows = extractor.hear(source, profile, Timings(), separator).windows(embedder)
    if not len(windows.vectors):
        return []
    return moments_like(
        connection, windows.vectors.mean(axis=0), model.model_id, scope, lasting_sec
    )
