"""Says whether a database's schema is this program's, without loading what could change it."""

import re
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import psycopg

from fingerprintdb.store.database import CONNECT_TIMEOUT_SEC, DatabaseError, explained

_REVISION = re.compile(r"^(revision|down_revision)\b[^=]*= *(.*)$", re.MULTILINE)


def current(connection: psycopg.Connection[Any]) -> str | None:
    """Return the database's revision; None where it was never migrated."""
    known = connection.execute("SELECT to_regclass('fpdb.alembic_version')").fetchone()
    if known is None or known[0] is None:
        return None
    row = connection.execute("SELECT version_num FROM fpdb.alembic_version").fetchone()
    return str(row[0]) if row else None


def current_of(url: str) -> str | None:
    """Return the revision of the database at a URL, which may lack the vector type."""
    with explained(url):
        connection = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SEC)
    with connection:
        return current(connection)


def head() -> str:
    """Return the revision that this program needs."""
    parents = _parents()
    (newest,) = parents.keys() - set(parents.values())
    return newest


def require_head(connection: psycopg.Connection[Any]) -> None:
    """Raise DatabaseError, with the remedy, unless the schema is this program's."""
    require(current(connection))


def require(found: str | None) -> None:
    """Raise DatabaseError, with the remedy, unless a database's revision is this program's."""
    if found == head():
        return
    if found is None:
        raise DatabaseError("this database has no fingerprintdb schema", "run `fpdb init`")
    if is_known(found):
        raise DatabaseError(
            f"the database schema ({found}) is older than the program ({head()})",
            "run `fpdb migrate`",
        )
    raise DatabaseError(
        f"the database schema ({found}) is newer than the program ({head()})",
        "upgrade it: pip install --upgrade fingerprintdb",
    )


def is_known(found: str) -> bool:
    """Say whether this program has a revision, so that it can upgrade from it."""
    return found in _parents()


def folder(name: str) -> Path:
    """Return the folder of alembic/ or sql/, within an installed package or the checkout."""
    package = Path(str(resources.files("fingerprintdb")))
    inside = package / name
    return inside if inside.is_dir() else package.parent / name


@lru_cache(maxsize=1)
def _parents() -> dict[str, str]:
    """Read revision → the one before it from the files: alembic takes 0.3 s to say the same."""
    parents = {}
    for path in folder("alembic").glob("versions/*.py"):
        named = dict(_REVISION.findall(path.read_text("utf-8")))
        parents[named["revision"].strip("\"'")] = named["down_revision"].strip("\"'")
    return parents
