"""What every request shares: connections, models, limits, and the measurements."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore
from typing import Annotated

from fastapi import Depends
from psycopg_pool import ConnectionPool
from starlette.requests import HTTPConnection

from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.problem import busy
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection

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
        # Who waits for others is told from who waits for a database that is away.
        self._free = BoundedSemaphore(options.connections)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection, and wait while all are lent; nobody borrows two.

        Raises ProblemError 503 after too long a wait, PoolTimeout where the database is away.
        """
        if not self._free.acquire(timeout=self.options.request_timeout_sec):
            raise busy()
        try:
            with self._connections.connection(AWAY_AFTER_SEC) as connection:
                yield connection
        finally:
            self._free.release()


def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


def _database(connection: HTTPConnection) -> Iterator[Connection]:
    with _service(connection).connection() as database:
        yield database


Served = Annotated[Service, Depends(_service)]
Database = Annotated[Connection, Depends(_database)]
