"""Compares what models find for the same clips: how well each retrieves what the clips are of."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fingerprintdb.cascade import Listeners, nobody, search
from fingerprintdb.clip import hear
from fingerprintdb.extraction import Timings
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope, similar_to
from fingerprintdb.store.profile import active_profile
from fingerprintdb.store.query import AnsweredClip

AMONG = 10
"""How many of the nearest assets count as found."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Where a model ranks the recording that a clip is of; None beyond the first ten."""

    model_id: int
    rank: int | None
    embedding_ms: float


@dataclass(frozen=True, slots=True)
class Recall:
    """How well a model retrieves: shares of the clips, and the median time to embed one."""

    model_id: int
    clips: int
    first: float
    among_ten: float
    embedding_ms: float


def identified(
    connection: Connection, extractor: Extractor, uris: Iterable[str]
) -> Iterator[AnsweredClip]:
    """Yield what landmarks and bits, which no model takes part in, say that clips are of.

    What they do not know is left out.
    """
    profile = active_profile(connection)[1]
    for uri in uris:
        with extractor.open(uri) as source:
            clip = hear(source, profile, Timings())
            matches = search(connection, clip, nobody, Scope(k=1)).matches
        if matches:
            yield AnsweredClip(uri, None, matches[0].asset_id)


def retrieve(
    connection: Connection, extractor: Extractor, clip: AnsweredClip, listeners: Listeners
) -> list[Retrieved]:
    """Return where each model ranks the recording that a clip is of."""
    found = []
    with extractor.open(clip.uri, clip.content) as source:
        heard = hear(source, active_profile(connection)[1], Timings())
        for model, embedder in listeners:
            began = time.perf_counter()
            windows = heard.windows(embedder)
            elapsed_ms = (time.perf_counter() - began) * 1000
            near = similar_to(connection, windows, model_id=model.model_id, scope=Scope(k=AMONG))
            ranks = [n for n, row in enumerate(near, 1) if row["asset_id"] == clip.asset_id]
            found.append(Retrieved(model.model_id, next(iter(ranks), None), elapsed_ms))
    return found


def recall_of(model_id: int, retrieved: Iterable[Retrieved]) -> Recall:
    """Sum up what one model retrieved."""
    own = [one for one in retrieved if one.model_id == model_id]
    clips = len(own)
    times = sorted(one.embedding_ms for one in own)
    return Recall(
        model_id,
        clips,
        first=sum(one.rank == 1 for one in own) / clips if clips else 0.0,
        among_ten=sum(one.rank is not None for one in own) / clips if clips else 0.0,
        embedding_ms=times[clips // 2] if clips else 0.0,
    )
