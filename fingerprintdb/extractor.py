"""Loads the database's active model once, and opens sources within a limit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from fingerprintdb.audio import AudioError
from fingerprintdb.embedding import Embedder, ModelError, load
from fingerprintdb.source import MAX_BYTES, Source, open_source, redact
from fingerprintdb.store.database import Connection
from fingerprintdb.store.embeddings import Model, active_model


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
