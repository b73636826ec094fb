"""Runs work in processes of its own, as Python lets one thread of a process compute at a time.

Landmarks of mp3 files on two cores: two threads are as fast as one, two processes twice as fast.
And a decoder that crashes takes only its own recording with it.
"""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context, parent_process
from queue import LifoQueue
from threading import Thread
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from fingerprintdb.errors import FingerprintError

P = ParamSpec("P")
R = TypeVar("R")


class ProcessDiedError(FingerprintError):
    """A process that died over its work: of a decoder's crash, or for want of memory."""

    transient = True


class Processes:
    """So many processes, started when first needed, each with one call in hand at a time."""

    def __init__(self, number: int) -> None:
        # One pool a process: where one dies, the others' work goes on. The one that worked last
        # is taken first, so that no more are started than have work at once.
        self._free: LifoQueue[ProcessPoolExecutor] = LifoQueue()
        self._number = number
        for _ in range(number):
            self._free.put(_process())

    def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a module's function in a free process, waiting for one; its arguments are copied.

        Raises what the function raises, and ProcessDiedError where its process dies.
        """
        process = self._free.get()
        try:
            return process.submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            process.shutdown(wait=False)
            process = _process()
            raise ProcessDiedError(
                "the process that worked on it died: its decoder crashed, or memory ran out",
                "look into the system's log, and re-encode the file if it happens again",
            ) from error
        finally:
            self._free.put(process)

    def start(self, module: str) -> None:
        """Start every process and have it import a module, so that no first call waits for that."""
        free = [self._free.get() for _ in range(self._number)]
        try:
            wait([process.submit(_import, module) for process in free])
        finally:
            for process in free:
                self._free.put(process)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the processes, each after the call that it has in hand."""
        for _ in range(self._number):
            self._free.get().shutdown()


def _import(module: str) -> None:
    """Import a module, and return nothing of it: it could not be sent."""
    import_module(module)


def _process() -> ProcessPoolExecutor:
    # Not forked: other threads hold locks and connections that a copy must not have.
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_obey_parent)


def _obey_parent() -> None:
    """Leave signals that a whole group gets to the parent, who lets work end, and die with it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(signal.SIGKILL)


def die_with_parent(by: signal.Signals) -> None:
    """Have this process, which a parent of ours spawned, send itself a signal when that dies."""
    parent = parent_process()
    assert parent is not None  # noqa: S101 — this runs in a child only

    def follow() -> None:
        parent.join()
        os.kill(os.getpid(), by)

    Thread(target=follow, daemon=True).start()
