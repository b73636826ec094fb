"""What every request shares: connections, models, limits, and the measurements."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Concatenate, ParamSpec, TypeVar

from fastapi import Depends
from psycopg_pool import ConnectionPool
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.problem import busy
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection

P = ParamSpec("P")
R = TypeVar("R")

AWAY_AFTER_SEC = 3.0
"""A database that gives no connection for so long is away."""


class Service:
    """The state of a running service."""

    def __init__(
        self,
        connections: ConnectionPool[Connection],
        extractor: Extractor,
        options: ServiceOptions,
    ) -> None:
        self.extractor = extractor
        self.options = options
        self._connections = connections
        # Who waits for others is told from who waits for a database that is away; and waits
        # without a thread, of which those that have a connection need theirs.
        self._free = asyncio.Semaphore(options.connections)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, and wait while all are lent; nobody borrows two.

        Raises ProblemError 503 after too long a wait, PoolTimeout where the database is away.
        """
        try:
            async with asyncio.timeout(self.options.request_timeout_sec):
                await self._free.acquire()
        except TimeoutError:
            raise busy() from None
        try:
            connection = await run_in_threadpool(self._connections.getconn, AWAY_AFTER_SEC)
            try:
                yield connection
            finally:
                # Not awaited: where the caller has left, nothing may be awaited any more.
                self._connections.putconn(connection)
        finally:
            self._free.release()

    async def ask(
        self, function: Callable[Concatenate[Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return what a function finds, in a thread, with a connection that is lent for it."""
        async with self.connection() as connection:
            return await run_in_threadpool(partial(function, connection, *args, **kwargs))


def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


async def _database(connection: HTTPConnection) -> AsyncIterator[Connection]:
    async with _service(connection).connection() as database:
        yield database


Served = Annotated[Service, Depends(_service)]
Database = Annotated[Connection, Depends(_database, scope="function")]
"""A connection for as long as the handler runs, not until its caller has read the answer."""
