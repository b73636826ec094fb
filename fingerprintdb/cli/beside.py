"""Keeps a worker running beside the service, in a process of its own."""

import logging
import signal
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self

from fingerprintdb.cli.logs import log_to_stderr
from fingerprintdb.cli.worker import work
from fingerprintdb.errors import FingerprintError
from fingerprintdb.settings import Settings

RESTART_SEC = 2.0
SHUTDOWN_SEC = 30.0

logger = logging.getLogger(__name__)


class WorkerBeside:
    """A worker that begins with the context, ends with it, and is started again if it dies."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._settings = settings
        self._ending = Event()
        self._starting = Lock()
        self._process: BaseProcess | None = None
        self._keeper = Thread(target=self._keep, name="worker beside")

    def __enter__(self) -> Self:
        """Start it."""
        self._keeper.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it; running jobs end first, within half a minute."""
        with self._starting:
            self._ending.set()
            process = self._process
        if process is not None:
            process.terminate()
            self._keeper.join(SHUTDOWN_SEC)
            process.kill()
        self._keeper.join()

    def _keep(self) -> None:
        while (process := self._start()) is not None:
            process.join()
            if not self._ending.is_set():
                logger.error("the worker ended with status %s: another begins", process.exitcode)
            self._ending.wait(RESTART_SEC)

    def _start(self) -> BaseProcess | None:
        with self._starting:
            if self._ending.is_set():
                return None
            # Not a daemon, which could have no processes of its own.
            self._process = get_context("spawn").Process(
                target=_work, args=(self._url, self._settings), name="worker"
            )
            self._process.start()
            return self._process


def _work(url: str, settings: Settings) -> None:
    """Process jobs, in the worker's process."""
    from fingerprintdb.processes import die_with_parent
    from fingerprintdb.worker import QUEUES

    die_with_parent(signal.SIGTERM)
    log_to_stderr(settings.log_level, settings.log_format)
    try:
        work(url, settings, queues=QUEUES, concurrency=settings.concurrency)
    except FingerprintError:
        logger.exception("the worker cannot work")
