"""Processes queued jobs: woken by NOTIFY, on as many cores and machines as wanted."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import procrastinate
import psycopg
from procrastinate import BaseRetryStrategy, JobContext, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from psycopg_pool import ConnectionPool

from fingerprintdb.errors import FingerprintError
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import process_query
from fingerprintdb.metrics import observe_job
from fingerprintdb.pipeline import process_embeddings, process_landmarks
from fingerprintdb.source import redact
from fingerprintdb.store import asset as assets
from fingerprintdb.store.asset import Claim, Kind
from fingerprintdb.store.database import (
    QUEUE_SCHEMA,
    Connection,
    DatabaseUnreachableError,
    connect,
    pool,
    require_writable,
)
from fingerprintdb.store.index import compact_meanwhile, compact_when_due
from fingerprintdb.store.query import claim_query, fail_query
from fingerprintdb.store.revision import require_head

QUEUES = ("query", "landmark", "embedding")
RECONNECT_SEC = 2.0
COMPACT_EVERY_SEC = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works; seconds, and numbers of jobs."""

    queues: tuple[str, ...] = QUEUES
    concurrency: int = 1
    max_attempts: int = 5
    poll_sec: float = 5.0
    """What a lost notification costs."""
    heartbeat_sec: float = 10.0
    stalled_after_sec: float = 30.0
    wait: bool = True
    """False ends the worker when the queues are empty."""


class TransientRetry(BaseRetryStrategy):
    """Tries again, twice as long after each attempt, what may succeed later; nothing else."""

    def __init__(self, max_attempts: int) -> None:
        self.max_attempts = max_attempts

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """Return when to try again; None where the failure is final."""
        if not will_retry(exception, job.attempts, self.max_attempts):
            return None
        return RetryDecision(retry_in={"seconds": min(3600, 2 ** (job.attempts + 1))})


def will_retry(exception: BaseException, attempts: int, max_attempts: int) -> bool:
    """Say whether a failure is of the kind that passes, and attempts are left."""
    transient = isinstance(exception, psycopg.OperationalError | TimeoutError) or (
        isinstance(exception, FingerprintError) and exception.transient
    )
    return transient and attempts + 1 < max_attempts


def run_worker(url: str, extractor: Extractor, options: WorkerOptions) -> None:
    """Process jobs until SIGINT or SIGTERM, which lets running jobs end first.

    A database that goes away is waited for, unless the worker should end with the queues.
    """
    with connect(url) as connection:
        require_head(connection)
        require_writable(connection)
    logging.getLogger("procrastinate.worker").addFilter(_is_news)
    with pool(url, size=options.concurrency) as connections:
        asyncio.run(_serve(url, Jobs(connections, extractor, options)))
        if not options.wait:
            with connections.connection() as connection:
                compact_when_due(connection)


@dataclass(frozen=True, slots=True)
class Jobs:
    """What the tasks do; a failure is in the asset's row before the queue learns of it."""

    connections: ConnectionPool[Connection]
    extractor: Extractor
    options: WorkerOptions

    def landmark(
        self, context: JobContext, *, asset_id: int, revision: int, profile_id: int | None = None
    ) -> None:
        """Fingerprint an asset with a profile; without one, with the active one."""
        self._extract("landmark", process_landmarks, context, asset_id, revision, profile_id)

    def embedding(
        self, context: JobContext, *, asset_id: int, revision: int, model_id: int | None = None
    ) -> None:
        """Embed an asset with a model; without one, with the active one."""
        self._extract("embedding", process_embeddings, context, asset_id, revision, model_id)

    def query(self, context: JobContext, *, query_id: int) -> None:
        """Answer a clip or a sentence of fpdb.query."""
        with self.connections.connection() as connection:
            query = claim_query(connection, query_id)
        if query is None:
            return
        began = time.perf_counter()
        try:
            with self.connections.connection() as connection:
                told = process_query(connection, query, self.extractor)
        except Exception as error:
            _log_failure(f"query {query_id}", error)
            with self.connections.connection() as connection:
                fail_query(connection, query_id, _reason(error), again=self._again(error, context))
            raise
        observe_job("query", "done", time.perf_counter() - began, {})
        logger.info("query %d: %s", query_id, told, extra={"query_id": query_id})

    def _extract(
        self,
        kind: Kind,
        process: Callable[[Connection, Claim, Extractor], dict[str, float]],
        context: JobContext,
        asset_id: int,
        revision: int,
        made_by: int | None,
    ) -> None:
        with self.connections.connection() as connection:
            job = assets.claim(connection, asset_id, kind, revision, made_by)
        if job is None:
            return
        began = time.perf_counter()
        try:
            with self.connections.connection() as connection:
                timings_ms = process(connection, job, self.extractor)
        except Exception as error:
            again = self._again(error, context)
            outcome = "retried" if again else "failed"
            observe_job(kind, outcome, time.perf_counter() - began, {})
            _log_failure(f"asset {asset_id}: {kind}", error, asset_id=asset_id, kind=kind)
            with self.connections.connection() as connection:
                assets.fail(connection, job, _reason(error), again=again)
            raise
        elapsed_sec = time.perf_counter() - began
        observe_job(kind, "done", elapsed_sec, timings_ms)
        logger.info(
            "asset %d: %s in %.0f ms (%s)",
            asset_id,
            kind,
            elapsed_sec * 1000,
            ", ".join(f"{stage} {spent_ms:.0f}" for stage, spent_ms in timings_ms.items()),
            extra={
                "asset_id": asset_id,
                "kind": kind,
                "uri": redact(job.uri) if job.uri else None,
                "elapsed_ms": round(elapsed_sec * 1000, 1),
                "timings_ms": {stage: round(ms, 1) for stage, ms in timings_ms.items()},
            },
        )

    def give_up(self, job: Job) -> None:
        """Write that a job has cost as many workers as it may."""
        reason = f"the worker died {job.attempts + 1} times over it — try it alone, in a terminal"
        with self.connections.connection() as connection:
            names: dict[str, Any] = job.task_kwargs
            if job.task_name == "query":
                fail_query(connection, names["query_id"], reason, again=False)
                return
            kind: Kind = "landmark" if job.task_name == "landmark" else "embedding"
            made_by = names.get("profile_id", names.get("model_id"))
            claim = assets.claim(connection, names["asset_id"], kind, names["revision"], made_by)
            if claim is not None:
                assets.fail(connection, claim, reason, again=False)
        logger.error("job %s is given up: %s", job.id, reason)

    def _again(self, error: Exception, context: JobContext) -> bool:
        return will_retry(error, context.job.attempts, self.options.max_attempts)


def create_app(url: str, jobs: Jobs) -> procrastinate.App:
    """Return the procrastinate app whose tasks bear the names that the triggers queue."""
    connector = PsycopgConnector(
        conninfo=url, kwargs={"options": f"-c search_path={QUEUE_SCHEMA}"}, min_size=1
    )
    app = procrastinate.App(connector=connector)
    retry = TransientRetry(jobs.options.max_attempts)
    for name in QUEUES:
        app.task(name=name, queue=name, retry=retry, pass_context=True)(getattr(jobs, name))

    return app


async def _serve(url: str, jobs: Jobs) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second signal ends the program at once

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    while True:
        try:
            await _work(url, create_app(url, jobs), jobs, stopping)
        except (ConnectorException, psycopg.Error) as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            if not jobs.options.wait:
                raise DatabaseUnreachableError(
                    f"the database went away: {reason}", "start the worker again"
                ) from error
            logger.warning("the database went away: %s", reason)
        if stopping.is_set() or not jobs.options.wait:
            return
        logger.warning("connecting again in %.0f s", RECONNECT_SEC)
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), RECONNECT_SEC)
        if stopping.is_set():
            return


async def _work(url: str, app: procrastinate.App, jobs: Jobs, stopping: asyncio.Event) -> None:
    """Run one worker until it ends by itself or is told to."""
    options = jobs.options
    async with app.open_async():
        work = asyncio.create_task(
            app.run_worker_async(
                queues=list(options.queues),
                concurrency=options.concurrency,
                wait=options.wait,
                install_signal_handlers=False,
                delete_jobs="successful",
                fetch_job_polling_interval=options.poll_sec,
                update_heartbeat_interval=options.heartbeat_sec,
                stalled_worker_timeout=options.stalled_after_sec,
            )
        )
        told = asyncio.create_task(stopping.wait())
        beside = (
            told,
            asyncio.create_task(_recover(app, jobs)),
            asyncio.create_task(_keep_packed(url)),
        )
        try:
            await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            work.cancel()  # lets running jobs end
            for task in beside:
                task.cancel()
            done = await asyncio.gather(work, *beside, return_exceptions=True)
        for result in done:
            if isinstance(result, Exception):
                raise result


async def _recover(app: procrastinate.App, jobs: Jobs) -> None:
    """Look for jobs of dead workers, beside the jobs: behind a backlog it would come too late."""
    options = jobs.options
    while True:
        for job in await app.job_manager.get_stalled_jobs(
            seconds_since_heartbeat=options.stalled_after_sec
        ):
            if job.attempts + 1 < options.max_attempts:
                logger.warning("job %s of a dead worker is queued again", job.id)
                await app.job_manager.retry_job(job)
            else:
                await asyncio.to_thread(jobs.give_up, job)
                await app.job_manager.finish_job(job, Status.FAILED, delete_job=False)
        await asyncio.sleep(options.stalled_after_sec / 3)


async def _keep_packed(url: str) -> None:
    """Pack the index when that is due, beside the jobs: it may take minutes."""
    while True:
        try:
            written = await compact_meanwhile(url)
        except psycopg.Error as error:
            # Nothing is lost: what waits to be packed is found as well.
            logger.warning("the index was not packed: %s", str(error).partition("\n")[0])
        else:
            if written:
                logger.info("the index was packed: %d postings were written", written)
        await asyncio.sleep(COMPACT_EVERY_SEC)


def _log_failure(what: str, error: Exception, **fields: Any) -> None:
    """Log an expected failure in one line, an unexpected one with its traceback."""
    unexpected = None if isinstance(error, FingerprintError) else error
    extra = fields | {"error": _reason(error)}
    logger.warning("%s failed: %s", what, _reason(error), exc_info=unexpected, extra=extra)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop the library's tracebacks of failed jobs: each failure was logged in our own words."""
    return getattr(record, "action", None) not in {"job_error", "job_error_retry"}


def _reason(error: Exception) -> str:
    """Return what a person should read; an unexpected error keeps its kind."""
    return str(error) if isinstance(error, FingerprintError) else f"{type(error).__name__}: {error}"
