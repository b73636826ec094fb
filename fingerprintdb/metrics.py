"""What Prometheus reads of a process: how long requests, searches and jobs take, by stage."""

from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fingerprintdb.store.gauges import Gauge

# When each series began, which nobody asks, would be a line more of each.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()

# From a plain search of a small collection to a whole film.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

REQUESTS = Counter(
    "fpdb_http_requests", "Requests answered.", ("method", "route", "status"), registry=REGISTRY
)
REQUEST_SECONDS = Histogram(
    "fpdb_http_request_seconds",
    "From a request's first byte to its answer.",
    ("route",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
SEARCH_SECONDS = Histogram(
    "fpdb_search_seconds",
    "From a clip's bytes to what it is.",
    ("verdict",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
SEARCH_STAGE_SECONDS = Histogram(
    "fpdb_search_stage_seconds",
    "Stages of a search: plain, wide, warped.",
    ("stage",),
    buckets=_SECONDS,
    registry=REGISTRY,
)
JOB_SECONDS = Histogram(
    "fpdb_job_seconds",
    "Jobs of a worker, from claim to store.",
    ("kind", "outcome"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
JOB_STAGE_SECONDS = Histogram(
    "fpdb_job_stage_seconds",
    "Stages of a job: decode, landmarks, embed, store, ...",
    ("kind", "stage"),
    buckets=_SECONDS,
    registry=REGISTRY,
)


class Gauges(Collector):
    """Shows numbers that were read of the database."""

    def __init__(self, gauges: list[Gauge]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        """Yield one family a gauge."""
        for gauge in self._gauges:
            family = GaugeMetricFamily(gauge.name, gauge.meaning, labels=gauge.labels)
            for labels, value in gauge.values:
                family.add_metric(labels, value)
            yield family


def exposition(gauges: list[Gauge]) -> bytes:
    """Return this process's measurements, and the database's numbers, as Prometheus reads them."""
    database = CollectorRegistry()
    database.register(Gauges(gauges))
    return generate_latest(REGISTRY) + generate_latest(database)


def observe_job(kind: str, outcome: str, elapsed_sec: float, timings_ms: dict[str, float]) -> None:
    """Count a job of a worker, and what its stages took."""
    JOB_SECONDS.labels(kind, outcome).observe(elapsed_sec)
    for stage, spent_ms in timings_ms.items():
        JOB_STAGE_SECONDS.labels(kind, stage).observe(spent_ms / 1000)


def observe_search(verdict: str, elapsed_sec: float, stages_ms: dict[str, float]) -> None:
    """Count a search, and what its stages took."""
    SEARCH_SECONDS.labels(verdict).observe(elapsed_sec)
    for stage, spent_ms in stages_ms.items():
        SEARCH_STAGE_SECONDS.labels(stage).observe(spent_ms / 1000)
