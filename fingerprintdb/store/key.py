"""Keys of the REST API: a secret that is shown once, and its digest that stays."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from fingerprintdb.store.database import Connection, DatabaseError


@dataclass(frozen=True, slots=True)
class Key:
    """What a secret opens: one collection or, where that is None, all."""

    name: str
    collection: str | None
    may_write: bool


def add_key(connection: Connection, name: str, *, collection: str | None, may_write: bool) -> str:
    """Make a key and return its secret, which nobody can read again.

    Raises DatabaseError where a key of this name is in use.
    """
    secret = f"fpdb_{secrets.token_urlsafe(32)}"
    try:
        connection.execute(
            "INSERT INTO fpdb.api_key (name, digest, collection, may_write)"
            " VALUES (%s, %s, %s, %s)",
            (name, _digest(secret), collection, may_write),
        )
    except psycopg.errors.UniqueViolation:
        raise DatabaseError(
            f"there is a key {name!r} already", f"choose another name, or: fpdb key revoke {name}"
        ) from None
    return secret


def find_key(connection: Connection, secret: str) -> Key | None:
    """Return what a secret opens; None where it is unknown or revoked."""
    with connection.cursor(row_factory=class_row(Key)) as cursor:
        return cursor.execute(
            "SELECT name, collection, may_write FROM fpdb.api_key"
            " WHERE digest = %s AND revoked_at IS NULL",
            (_digest(secret),),
        ).fetchone()


def has_keys(connection: Connection) -> bool:
    """Say whether a key was ever made: a revoked one does not open the door to all."""
    row = connection.execute("SELECT EXISTS (SELECT FROM fpdb.api_key)").fetchone()
    return bool(row and row[0])


def list_keys(connection: Connection) -> list[dict[str, Any]]:
    """Return every key but its secret, oldest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "SELECT name, collection, may_write, created_at, revoked_at FROM fpdb.api_key"
            " ORDER BY key_id"
        ).fetchall()


def revoke_key(connection: Connection, name: str) -> datetime:
    """Make a key open nothing from now on; DatabaseError where none of this name is in use."""
    row = connection.execute(
        "UPDATE fpdb.api_key SET revoked_at = now() WHERE name = %s AND revoked_at IS NULL"
        " RETURNING revoked_at",
        (name,),
    ).fetchone()
    if row is None:
        raise DatabaseError(
            f"there is no key {name!r} in use", "`fpdb key list` shows those there are"
        )
    revoked_at: datetime = row[0]
    return revoked_at


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
