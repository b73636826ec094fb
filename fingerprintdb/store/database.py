"""Connects to Postgres and says in plain words why it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from fingerprintdb.errors import FingerprintError
from fingerprintdb.store import bitstring as _bitstring  # noqa: F401 — before any connection

if TYPE_CHECKING:
    import sqlalchemy

Connection = psycopg.Connection[TupleRow]

SCHEMA = "fpdb"
QUEUE_SCHEMA = "fpdb_queue"

# What begins and ends the data of a binary COPY.
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"

MINIMUM_VECTOR = (0, 8)
"""pgvector from which HNSW scans iterate; older ones ignore the setting without a word."""

CONNECT_TIMEOUT_SEC = 10


class DatabaseError(FingerprintError):
    """The database cannot be used as it is."""


class DatabaseUnreachableError(DatabaseError):
    """The server did not answer; it may later."""

    transient = True


def address(url: str) -> str:
    """Return where a database URL points, without its password, for messages."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "the database URL"
    host = parts.get("host", "localhost")
    port = f":{parts['port']}" if "port" in parts else ""
    return f"{parts.get('dbname', '')}@{host}{port}"


def masked(url: str) -> str:
    """Return a database URL's parts, the password hidden."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "(not a database URL)"
    if "password" in parts:
        parts["password"] = "***"  # noqa: S105 — hides one
    return make_conninfo("", **parts)


def engine(url: str) -> "sqlalchemy.Engine":
    """Return an SQLAlchemy engine over psycopg that reports errors as `connect` does."""
    # Only migrations come here; the others start 0.3 s sooner without it.
    import sqlalchemy  # noqa: PLC0415

    def creator() -> Connection:
        with explained(url):
            return psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_SEC)

    return sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=creator, poolclass=sqlalchemy.NullPool
    )


def connect(url: str) -> Connection:
    """Return an autocommit connection that knows the vector type.

    Raises DatabaseUnreachableError or DatabaseError with the remedy.
    """
    with explained(url):
        connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SEC)
        try:
            _configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection


@contextmanager
def pool(
    url: str, *, size: int, statement_timeout_sec: float | None = None
) -> Iterator[ConnectionPool[Connection]]:
    """Open a pool of `size` connections like those of `connect`, closed at the end.

    A statement that takes longer than `statement_timeout_sec` is cancelled.
    """
    connect(url).close()

    def configure(connection: Connection) -> None:
        _configure(connection)
        if statement_timeout_sec is not None:
            connection.execute(
                sql.SQL("SET statement_timeout = {}").format(round(statement_timeout_sec * 1000))
            )

    with ConnectionPool[Connection](
        url,
        min_size=1,
        max_size=size,
        kwargs={"autocommit": True, "connect_timeout": CONNECT_TIMEOUT_SEC},
        configure=configure,
        check=ConnectionPool.check_connection,
        open=True,
    ) as connections:
        yield connections


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn psycopg's errors about the connection into DatabaseError."""
    try:
        yield
    except psycopg.OperationalError as error:
        reason = (str(error).strip() or "no answer").splitlines()[0]
        raise DatabaseUnreachableError(
            f"cannot connect to {address(url)}: {reason}",
            "check FPDB_DATABASE_URL, and that the server runs and lets you in",
        ) from error
    except psycopg.ProgrammingError as error:
        raise DatabaseError(
            f"cannot use {address(url)}: {str(error).strip().splitlines()[0]}",
            "FPDB_DATABASE_URL looks like postgresql://user:password@host:5432/database",
        ) from error


@contextmanager
def answered() -> Iterator[None]:
    """Turn what our SQL functions refuse, with its hint, into DatabaseError."""
    try:
        yield
    except (
        psycopg.errors.RaiseException,
        psycopg.errors.DataException,
        psycopg.errors.ObjectInUse,
    ) as error:
        raise DatabaseError(
            error.diag.message_primary or str(error), error.diag.message_hint or ""
        ) from error


def require_writable(connection: Connection) -> None:
    """Raise DatabaseError on a standby, and wherever else nothing can be written."""
    row = connection.execute("SHOW transaction_read_only").fetchone()
    if row is not None and row[0] == "on":
        raise DatabaseError(
            "nothing can be written here: it is a standby, or the user's transactions only read",
            "name the primary server in FPDB_DATABASE_URL",
        )


def vector_schema(connection: psycopg.Connection[Any]) -> str:
    """Return the schema that holds pgvector; DatabaseError where it is absent or too old."""
    row = connection.execute(
        "SELECT n.nspname, e.extversion FROM pg_catalog.pg_extension e"
        " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    ).fetchone()
    if row is None:
        raise DatabaseError(
            "this database has no pgvector extension",
            "run `fpdb migrate` as a user who may CREATE EXTENSION vector",
        )
    schema, version = row
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_VECTOR:
        raise DatabaseError(
            f"pgvector {version} is too old",
            "install pgvector 0.8 or newer, then ALTER EXTENSION vector UPDATE",
        )
    return str(schema)


def _configure(connection: Connection) -> None:
    """Put the vector type within reach of a new connection.

    A pooler may lend the server's connection for a transaction only, so that what is set or
    prepared there stays behind for others. So nothing is set where role or database give the
    search path, and nothing prepared where a pooler stands between: it answers with a key of its
    own in place of the server process's number.
    """
    with connection.transaction():
        schema = vector_schema(connection)
        row = connection.execute(
            "SELECT pg_catalog.pg_backend_pid(),"
            " pg_catalog.current_schemas(false)::text[] @> ARRAY['fpdb', %s::text]",
            (schema,),
        ).fetchone()
        assert row is not None  # noqa: S101 — narrows the type
        process_id, is_reached = row
        if not is_reached:
            path = sql.SQL("SET search_path = fpdb, {}, public").format(sql.Identifier(schema))
            connection.execute(path)
        register_vector(connection)
    if process_id != connection.info.backend_pid:
        connection.prepare_threshold = None
