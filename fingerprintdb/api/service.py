"""What every request shares: connections, models, limits, and the measurements."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from psycopg_pool import ConnectionPool
from starlette.requests import HTTPConnection

from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection


@dataclass(frozen=True, slots=True)
class Service:
    """The state of a running service."""

    connections: ConnectionPool[Connection]
    extractor: Extractor
    options: ServiceOptions

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; PoolTimeout where the database does not answer."""
        with self.connections.connection() as connection:
            yield connection


def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.app.state.service
    return service


def _database(connection: HTTPConnection) -> Iterator[Connection]:
    with _service(connection).connection() as database:
        yield database


Served = Annotated[Service, Depends(_service)]
Database = Annotated[Connection, Depends(_database)]
