"""Brings a database to this program's schema."""

from pathlib import Path

import alembic.command
import procrastinate.schema
import psycopg
import sqlalchemy
from alembic.config import Config
from psycopg import sql

from fingerprintdb.store.database import (
    QUEUE_SCHEMA,
    SCHEMA,
    Connection,
    DatabaseError,
    vector_schema,
)
from fingerprintdb.store.revision import folder

LOCK_KEY = 0x66706462
"""Advisory lock of an upgrade ("fpdb"), so that twenty workers may start at once."""


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`; head also replays every file of sql/."""
    alembic.command.upgrade(_config(url), revision)


def prepare(connection: sqlalchemy.Connection) -> None:
    """Make the schemas and the vector extension that revisions stand on, where absent."""
    take_lock(connection)
    driver = _driver(connection)
    for schema in (SCHEMA, QUEUE_SCHEMA):
        known = driver.execute("SELECT to_regnamespace(%s)", (schema,)).fetchone()
        if known is None or known[0] is None:
            try:
                driver.execute(f"CREATE SCHEMA {schema}".encode())
            except psycopg.errors.InsufficientPrivilege as error:
                raise DatabaseError(
                    f"this user may not create schema {schema} in this database",
                    "have its owner run: GRANT CREATE ON DATABASE … TO …",
                ) from error
    installed = driver.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone()
    if installed is None:
        try:
            driver.execute(f"CREATE EXTENSION vector SCHEMA {SCHEMA}".encode())
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise DatabaseError(
                "this Postgres server does not offer pgvector",
                "install pgvector 0.8 or newer on the server"
                " (Debian: postgresql-NN-pgvector; Docker: the pgvector/pgvector image)",
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseError(
                "this user may not create the pgvector extension",
                "have an administrator run: CREATE EXTENSION vector",
            ) from error
    vector_schema(driver)
    connection.commit()


def take_lock(connection: sqlalchemy.Connection) -> None:
    """Wait until no other upgrade runs; the lock leaves with the transaction."""
    _driver(connection).execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))


def replay(connection: sqlalchemy.Connection) -> None:
    """Bring the queue's tables up to its library, then replace everything that sql/ declares."""
    _upgrade_queue(connection)
    for path in sorted(sql_folder().glob("*.sql")):
        run_script(connection, path.read_text("utf-8"))


def run_script(connection: sqlalchemy.Connection, script: str) -> None:
    """Execute many statements within reach of the vector type and of nothing else.

    `@extschema:vector@`, Postgres' own notation, stands for pgvector's schema.
    """
    driver = _driver(connection)
    schema = sql.Identifier(vector_schema(driver)).as_string(driver)
    driver.execute(f"SET LOCAL search_path = {schema}, pg_temp".encode())
    driver.execute(script.replace("@extschema:vector@", schema).encode())
    driver.execute("SET LOCAL search_path TO DEFAULT")


def sql_folder() -> Path:
    """Return the folder of sql/, within an installed package or the checkout."""
    return folder("sql")


def _config(url: str | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder("alembic")).replace("%", "%%"))
    config.attributes["url"] = url
    return config


def _driver(connection: sqlalchemy.Connection) -> Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # noqa: S101 — narrows the type
    return driver


def _upgrade_queue(connection: sqlalchemy.Connection) -> None:
    """Install procrastinate's tables in a schema of their own, or run its newer migrations.

    Its migration files are named by release, so the names already run are its version.
    """
    driver = _driver(connection)
    driver.execute(f"SET LOCAL search_path = {QUEUE_SCHEMA}".encode())
    driver.execute("CREATE TABLE IF NOT EXISTS queue_migration (name text PRIMARY KEY)")
    done = {row[0] for row in driver.execute("SELECT name FROM queue_migration")}
    manager = procrastinate.schema.SchemaManager
    files = sorted(Path(manager.get_migrations_path()).glob("*.sql"))
    scripts = [path.read_text("utf-8") for path in files if path.name not in done]
    if not done:
        scripts = [manager.get_schema()]
    for script in scripts:
        driver.execute(script.encode())
    driver.cursor().executemany(
        "INSERT INTO queue_migration VALUES (%s)",
        [(path.name,) for path in files if path.name not in done],
    )
    driver.execute("SET LOCAL search_path TO DEFAULT")
