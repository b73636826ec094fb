"""Names that the shell completes: asked of the database where that is quick, else none."""

from contextlib import closing

import typer

from fingerprintdb.errors import FingerprintError

PATIENCE_SEC = 1
"""A key press should not wait longer for a database that does not answer."""


def collections(context: typer.Context, incomplete: str) -> list[str]:
    """Return the collections that begin so."""
    return _names(context, incomplete, "collection")


def content_types(context: typer.Context, incomplete: str) -> list[str]:
    """Return the content types that begin so."""
    return _names(context, incomplete, "content_type")


def models(context: typer.Context, incomplete: str) -> list[str]:
    """Return the models that begin so."""
    return _names(context, incomplete, "model")


def profiles(incomplete: str) -> list[str]:
    """Return the profiles that begin so."""
    from fingerprintdb.profile import PROFILES

    return [name for name in PROFILES if name.startswith(incomplete)]


def _names(context: typer.Context, incomplete: str, table: str) -> list[str]:
    """Return what a table names; nothing where no database answers: nobody reads errors here."""
    import psycopg

    from fingerprintdb.store.catalogue import names

    try:
        url = _database_url(context)
        if url is None:
            return []
        with closing(
            psycopg.connect(
                url, connect_timeout=PATIENCE_SEC, options=f"-c statement_timeout={PATIENCE_SEC}s"
            )
        ) as connection:
            found = names(connection, table)
    except (psycopg.Error, FingerprintError, ValueError, OSError):
        return []
    return [name for name in found if name.startswith(incomplete)]


def _database_url(context: typer.Context) -> str | None:
    """Return the URL of the database that the command would use; no server is started for it."""
    from fingerprintdb.settings import Settings
    from fingerprintdb.store.embedded import running_url

    given = context.find_root().params
    named = {name: given[name] for name in ("database_url", "data_dir") if given.get(name)}
    settings = Settings(**named)
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return running_url(settings.data_dir.expanduser().absolute())
