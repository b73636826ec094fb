"""The Typer application: its commands, its global options, and what an error looks like."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from fingerprintdb import __version__
from fingerprintdb.cli import (
    bench,
    calibrate,
    config,
    demo,
    identify,
    index,
    ingest,
    library,
    model,
    plot,
    profile,
    search,
    setup,
    sql,
    status,
    trial,
    worker,
)
from fingerprintdb.cli.logs import log_to_stderr
from fingerprintdb.cli.output import report

ERROR = 2
"""Exit status; 0 means found or done, 1 not found."""

app = typer.Typer(
    name="fpdb",
    help="Audio identification and audio similarity inside your own Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    setup.init,
    setup.migrate,
    config.config,
    ingest.ingest,
    identify.identify,
    plot.plot,
    library.similar,
    search.search,
    library.list_,
    library.show,
    library.remove,
    library.reprocess,
    calibrate.calibrate,
    bench.bench,
    worker.worker,
    status.status,
    demo.demo,
):
    app.command(command.__name__.rstrip("_"))(command)

app.add_typer(profile.profile)
model.model.command()(trial.compare)
model.model.command()(trial.calibrate)
app.add_typer(model.model)
app.add_typer(index.index)

# What stands after `sql` is psql's.
app.command(
    "sql", context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)(sql.sql)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fpdb {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    database_url: Annotated[
        str | None,
        typer.Option(help="Postgres to use, as postgresql://user@host/database.", metavar="URL"),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the embedded Postgres.", metavar="DIR")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="Least level to log: debug, info, warning, error.", metavar="LEVEL"),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="Log lines as text or json.", metavar="FORMAT")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Audio identification and audio similarity inside your own Postgres."""
    del version
    chosen = config.Configuration.read(
        database_url=database_url, data_dir=data_dir, log_level=log_level, log_format=log_format
    )
    log_to_stderr(chosen.settings.log_level, chosen.settings.log_format)
    context.obj = chosen


def run() -> None:
    """Run the application; an error is one line on stderr and exit status 2."""
    # A file's name need not be UTF-8; its stray bytes are shown, in JSON too, as \udcXX.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has gone; what the interpreter flushes at its end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        report(error)
        if logging.getLogger().isEnabledFor(logging.DEBUG):
            logging.getLogger(__name__).debug("the error came from:", exc_info=error)
        sys.exit(ERROR)
