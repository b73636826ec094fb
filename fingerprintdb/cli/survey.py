"""Asks about each of a sample of assets, several at once, and shows how far it is."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from fingerprintdb.cli.progress import Progress

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

    from fingerprintdb.store.calibration import Sampled
    from fingerprintdb.store.database import Connection

R = TypeVar("R")


def survey(
    connections: "ConnectionPool[Connection]",
    sampled: "Sequence[Sampled]",
    work: "Callable[[Connection, Sampled, Event], R]",
    told: Callable[[R], str],
) -> Iterator[R]:
    """Yield what `work` gives of each asset, in order, as many at once as there are connections.

    `told` says in a word, for the bar, what came of one. Whoever stops listening, or presses
    Ctrl-C, sets the event that `work` is given: what waits is not begun, what is in hand ends soon.
    """
    stopped = Event()

    def one(asset: "Sampled") -> R:
        with connections.connection() as connection:
            return work(connection, asset, stopped)

    executor = ThreadPoolExecutor(connections.max_size)
    try:
        with Progress(len(sampled)) as progress:
            for future in [executor.submit(one, asset) for asset in sampled]:
                result = future.result()
                progress.count(told(result))
                yield result
    finally:
        stopped.set()
        executor.shutdown(cancel_futures=True)
