"""Hands out migrated databases, and makes each as it was when a test is done with it."""

from collections.abc import Iterator
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import psycopg

_numbers = count(1)


def database_named(server_url: str, name: str) -> str:
    """Return the server's URL with another database in it."""
    return urlsplit(server_url)._replace(path=f"/{name}").geturl()


CATALOG = """
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('fpdb', 'fpdb_queue')),
relation AS (SELECT * FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)),
line (text) AS (
    SELECT concat('c', oid, reloptions, relacl) FROM relation
    UNION ALL SELECT concat('a', attrelid, attname, xmin) FROM pg_attribute
    WHERE attrelid IN (SELECT oid FROM relation)
    UNION ALL SELECT concat('p', oid, xmin) FROM pg_proc
    WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL SELECT concat('k', oid, xmin) FROM pg_constraint
    UNION ALL SELECT concat('t', oid, xmin) FROM pg_trigger
    UNION ALL SELECT concat('e', oid, xmin) FROM pg_extension
    UNION ALL SELECT concat('n', oid, xmin) FROM pg_namespace WHERE nspname !~ '^pg_'
    UNION ALL SELECT concat('d', setconfig) FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT md5(string_agg(text, ' ' ORDER BY text)) FROM line
"""

# Deleting a few rows is ten times quicker than TRUNCATE, but leaves an HNSW graph full of them.
TABLES = """
SELECT c.oid::regclass::text, pg_relation_size(c.oid) > 1000000 OR relispartition
FROM pg_class c WHERE relnamespace IN ('fpdb'::regnamespace, 'fpdb_queue'::regnamespace)
AND relkind = 'r' AND pg_relation_size(c.oid) > 0 ORDER BY 1
"""

IDENTITIES = """
SELECT attrelid::regclass::text, attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relnamespace = 'fpdb'::regnamespace AND attidentity <> ''
"""


class MigratedDatabases:
    """Hands out databases with the rows of one just migrated (sequences go on counting).

    Postgres takes a third of a second to copy one, so a database whose catalog a test left alone
    is emptied of what the test wrote and used again.
    """

    def __init__(self, server_url: str, admin: psycopg.Connection, template: str) -> None:
        self._server_url = server_url
        self._admin = admin
        self._template = template
        self._spare: list[str] = []
        self._catalogs: dict[str, str] = {}
        self._rows: dict[str, bytes] = {}

    def take(self) -> str:
        """Return the URL of a database that nobody else uses."""
        if self._spare:
            return self._spare.pop()
        name = f"fpdb_test_{next(_numbers)}"
        self._admin.execute(f"CREATE DATABASE {name} TEMPLATE {self._template}".encode())
        url = database_named(self._server_url, name)
        with psycopg.connect(url) as connection:
            self._catalogs[url] = _only(connection, CATALOG)
            if not self._rows:
                self._rows = {
                    table: _copied(connection, table)
                    for table, _ in connection.execute(TABLES.encode()).fetchall()
                }
        return url

    def give_back(self, url: str) -> None:
        """Make the database as it was, or drop it where a test changed its catalog."""
        name = urlsplit(url).path[1:]
        self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (name,),
        )
        with psycopg.connect(url) as connection:
            is_alike = _only(connection, CATALOG) == self._catalogs[url]
            if is_alike:
                self._reset(connection)
        if is_alike:
            self._spare.append(url)
        else:
            self._admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def close(self) -> None:
        """Drop what is left."""
        for url in self._spare:
            self._admin.execute(f"DROP DATABASE {urlsplit(url).path[1:]} WITH (FORCE)".encode())

    def _reset(self, connection: psycopg.Connection) -> None:
        connection.execute("SET LOCAL session_replication_role = replica")
        for table, by_truncate in connection.execute(TABLES.encode()).fetchall():
            if by_truncate:
                connection.execute(f"TRUNCATE {table} CASCADE".encode())
            elif _copied(connection, table) != self._rows.get(table, b""):
                connection.execute(f"DELETE FROM {table}".encode())
        for table, rows in self._rows.items():
            if _copied(connection, table) != rows:
                with connection.cursor().copy(f"COPY {table} FROM STDIN".encode()) as copy:
                    copy.write(rows)
        for table, column in connection.execute(IDENTITIES.encode()).fetchall():
            connection.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, %s), max({column})) FROM {table}"
                f" HAVING max({column}) IS NOT NULL".encode(),
                (table, column),
            )


def _only(connection: psycopg.Connection, statement: str) -> Any:
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def _copied(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(f"COPY {table} TO STDOUT".encode()) as copy:
        return b"".join(bytes(part) for part in copy)


def fresh_database(admin: psycopg.Connection, server_url: str, template: str) -> Iterator[str]:
    """Copy a template, yield the copy's URL and drop it."""
    name = f"fpdb_test_{next(_numbers)}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    try:
        yield database_named(server_url, name)
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
