"""Starts a worker in this process."""

from typing import Annotated

import typer

from fingerprintdb.cli.output import say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.settings import Settings


@examples(
    ("fpdb worker", "All queues, a job a core, until Ctrl-C."),
    ("fpdb worker --once", "Until the queues are empty: for cron, or after a change."),
    ("fpdb worker --check", "Is the one of this container alive? For its health check."),
    (
        "fpdb worker --queues embedding --concurrency 1",
        "On a machine with a GPU, beside others that do the rest.",
    ),
)
def worker(
    context: typer.Context,
    queues: Annotated[
        str, typer.Option(help="Queues to serve, separated by commas.", metavar="NAMES")
    ] = "query,landmark,embedding",
    concurrency: Annotated[
        int | None, typer.Option(help="Jobs at once; default FPDB_CONCURRENCY.", min=1)
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the queues are empty, instead of listening.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Do not work: exit status 0 if the worker of this host has given a sign of life.",
        ),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port where Prometheus reads this worker's stages; FPDB_METRICS_HOST is its host.",
            min=1,
            max=65535,
        ),
    ] = None,
) -> None:
    """Process queued jobs as they come; any number of workers, on any machines.

    Fingerprints what INSERT, UPDATE and `fpdb ingest --queue` have queued, answers fpdb.query, and
    packs the index when that is due. Ctrl-C and SIGTERM let running jobs end first; a second one
    ends at once, and other workers take up what was in hand. A database that goes away is waited
    for.
    """
    settings: Settings = context.obj.settings
    if check:
        _check(settings)
        return
    url = open_ready(settings)
    from fingerprintdb.worker import QUEUES

    wanted = tuple(dict.fromkeys(name.strip() for name in queues.split(",") if name.strip()))
    if not wanted or not set(wanted) <= set(QUEUES):
        raise typer.BadParameter(f"the queues are {', '.join(QUEUES)}", param_hint="--queues")
    jobs = concurrency or settings.concurrency
    until = "until the queues are empty" if once else "until Ctrl-C"
    say(f"worker: {', '.join(wanted)}, {jobs} at once, {until}", to_stderr=False)
    if metrics_port is not None:
        from prometheus_client import start_http_server

        from fingerprintdb.metrics import REGISTRY

        start_http_server(metrics_port, settings.metrics_host, REGISTRY)
    work(url, settings, queues=wanted, concurrency=jobs, wait=not once)


def work(
    url: str,
    settings: Settings,
    *,
    queues: tuple[str, ...],
    concurrency: int,
    wait: bool = True,
) -> None:
    """Process jobs, so many at once, until a signal or, without `wait`, until there are none."""
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.processes import Processes
    from fingerprintdb.worker import WorkerOptions, run_worker

    options = WorkerOptions(
        queues=queues,
        concurrency=concurrency,
        max_attempts=settings.max_attempts,
        poll_sec=settings.poll_sec,
        heartbeat_sec=settings.heartbeat_sec,
        stalled_after_sec=settings.stalled_after_sec,
        wait=wait,
    )
    with Processes(concurrency) as processes:
        run_worker(url, Extractor(settings.max_source_bytes, processes), options)


def _check(settings: Settings) -> None:
    """End with status 1 unless a worker that connects from here was at work lately."""
    from fingerprintdb.store.status import gives_signs_of_life

    if settings.database_url is None:
        raise typer.BadParameter("it asks a server: name one in FPDB_DATABASE_URL")
    if not gives_signs_of_life(settings.open_database(), settings.stalled_after_sec):
        say(f"no worker here has given a sign of life for {settings.stalled_after_sec:g} s")
        raise typer.Exit(1)
