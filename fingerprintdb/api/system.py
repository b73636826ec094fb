"""What the library holds, and what Prometheus reads."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field

from fingerprintdb import __version__
from fingerprintdb.api.access import Overseer, Reader
from fingerprintdb.api.problem import documented
from fingerprintdb.api.service import Database, Served
from fingerprintdb.metrics import exposition
from fingerprintdb.store import catalogue
from fingerprintdb.store.condition import Counts, counts
from fingerprintdb.store.gauges import read_gauges

router = APIRouter(tags=["system"])


class Limits(BaseModel):
    """What the service takes."""

    max_upload_bytes: int
    max_listen_sec: float
    takes_uris: bool = Field(description="Whether some URIs may be registered.")


class Stats(BaseModel):
    """What the library holds, and what the service is."""

    version: str
    assets: dict[str, int] = Field(description="By status.")
    duration_sec: float = Field(description="Of all recordings.")
    collections: list[str]
    content_types: list[str]
    model: str | None
    profile: str | None
    landmarks: int | None = Field(description="Null for a key of one collection.")
    vectors: int | None
    index_bytes: int | None
    jobs_waiting: int | None
    workers: int
    limits: Limits


@router.get("/api/v1/stats")
def stats(service: Served, connection: Database, caller: Reader) -> Stats:
    """Count what the library holds."""
    found: Counts = counts(connection, caller.collection)
    options = service.options
    collections = catalogue.names(connection, "collection")
    return Stats(
        version=__version__,
        assets=found.assets,
        duration_sec=found.duration_sec,
        collections=[caller.collection] if caller.collection else collections,
        content_types=catalogue.names(connection, "content_type"),
        model=found.model,
        profile=found.profile,
        landmarks=found.landmarks,
        vectors=found.vectors,
        index_bytes=found.index_bytes,
        jobs_waiting=found.jobs_waiting,
        workers=found.workers,
        limits=Limits(
            max_upload_bytes=options.max_upload_bytes,
            max_listen_sec=options.max_listen_sec,
            takes_uris=bool(options.allowed_uris),
        ),
    )


@router.get("/metrics", response_class=Response, responses=documented(403))
def metrics(connection: Database, _: Overseer) -> Response:
    """Return what Prometheus reads: of this process, and of the database."""
    return Response(exposition(read_gauges(connection)), media_type=CONTENT_TYPE_LATEST)
