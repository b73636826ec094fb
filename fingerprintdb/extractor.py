"""Runs the stages with a database's model, within a limit of size, on as many cores as given."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from fingerprintdb.audio import AudioError, Samples
from fingerprintdb.clip import Clip, decoded, sounding
from fingerprintdb.embedding import Embedder, ModelError, load
from fingerprintdb.extraction import (
    EmbeddedSegment,
    ReferenceLandmarks,
    Timings,
    Windowing,
    booked,
    extract,
    extract_embeddings,
    extract_landmarks,
)
from fingerprintdb.processes import Processes
from fingerprintdb.profile import Profile
from fingerprintdb.source import MAX_BYTES, Source, open_source, redact
from fingerprintdb.store.database import Connection
from fingerprintdb.store.model import Model, active_model, fused_models, read_model
from fingerprintdb.warp import Warp

R = TypeVar("R")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Extractor:
    """The stages with the models of a database, each loaded once, and sources within a limit.

    With `processes`, what computes much runs there: all but a model too heavy to be loaded in each.
    """

    max_source_bytes: int = MAX_BYTES
    processes: Processes | None = None
    _loaded: dict[Model, Embedder] = field(default_factory=dict, repr=False)
    _loading: Lock = field(default_factory=Lock, repr=False)

    def embedder(
        self, connection: Connection, model_id: int | None = None
    ) -> tuple[Model, Embedder]:
        """Return a model, the active one where none is named, and its embedder.

        Raises ModelError where the weights are not there or not those of the model.
        """
        model = active_model(connection) if model_id is None else read_model(connection, model_id)
        return model, self._load(model)

    def embedders(self, connection: Connection) -> list[tuple[Model, Embedder]]:
        """Return the models that a clip is heard by, the active one first; ModelError as above.

        One that is asked beside it, and is not on this machine, is left out with a warning.
        """
        active, *others = fused_models(connection)
        listeners = [(active, self._load(active))]
        for model in others:
            try:
                listeners.append((model, self._load(model)))
            except ModelError as error:
                logger.warning("clips are not heard by %s, which has weight: %s", model.name, error)
        return listeners

    def _load(self, model: Model) -> Embedder:
        with self._loading:
            if model not in self._loaded:
                embedder = load(model.source)
                if embedder.revision != model.revision:
                    raise ModelError(
                        f"the weights of {model.name} on this machine are of revision"
                        f" {embedder.revision}, the database's vectors of {model.revision}",
                        f"put revision {model.revision} here, or run"
                        f" `fpdb init --model {model.source}` to change the database's model",
                    )
                self._loaded[model] = embedder
            return self._loaded[model]

    @contextmanager
    def open(self, uri: str | None, content: bytes | None = None) -> Iterator[Source]:
        """Open a source within the size limit; an AudioError from within names it."""
        try:
            with open_source(uri, content, max_bytes=self.max_source_bytes) as source:
                yield source
        except AudioError as error:
            name = redact(uri) if uri else "the content"
            raise AudioError(f"{name}: {error.message}", error.remedy) from error

    def start(self) -> None:
        """Make ready what a first clip would wait for: the decoder's processes."""
        if self.processes is not None:
            self.processes.start(decoded.__module__)

    def hear(
        self, source: Source, profile: Profile, timings: Timings, separator: str | None = None
    ) -> Clip:
        """Return what `clip.hear` does; the decoder runs apart where there are processes."""
        with booked(timings, "decode"):
            samples = self.samples(source, profile)
        return sounding(Clip(source, samples, profile, timings, separator))

    def samples(self, source: Source, profile: Profile) -> Samples:
        """Return what `clip.decoded` does."""
        if self.processes is None:
            return decoded(source, profile.sample_rate_hz)
        return self.processes.run(decoded, source, profile.sample_rate_hz)

    def landmarks(
        self, source: Source, profile: Profile, timings: Timings, warp: Warp
    ) -> ReferenceLandmarks:
        """Return what `extract_landmarks` does."""
        return self._run(extract_landmarks, (source, profile), timings, warp)

    def embeddings(
        self,
        source: Source,
        embedder: Embedder,
        windowing: Windowing,
        timings: Timings,
        warp: Warp,
    ) -> list[EmbeddedSegment]:
        """Return what `extract_embeddings` does."""
        if embedder.is_light:
            return self._run(extract_embeddings, (source, embedder, windowing), timings, warp)
        return extract_embeddings(source, embedder, windowing, timings, warp)

    def both(
        self,
        source: Source,
        profile: Profile,
        embedder: Embedder,
        windowing: Windowing,
        timings: Timings,
        warp: Warp,
    ) -> tuple[ReferenceLandmarks, list[EmbeddedSegment]]:
        """Return what `extract` does."""
        if embedder.is_light:
            return self._run(extract, (source, profile, embedder, windowing), timings, warp)
        found = self.landmarks(source, profile, timings, warp)
        return found, self.embeddings(source, embedder, windowing, timings, warp)

    def _run(
        self, stage: Callable[..., R], args: tuple[Any, ...], timings: Timings, warp: Warp
    ) -> R:
        if self.processes is None:
            return stage(*args, timings, warp)
        result, spent = self.processes.run(_apart, stage, args, warp)
        timings.include(spent)
        return result


def _apart(stage: Callable[..., R], args: tuple[Any, ...], warp: Warp) -> tuple[R, Timings]:
    """Run a stage where the caller's clock is not."""
    timings = Timings()
    return stage(*args, timings, warp), timings
