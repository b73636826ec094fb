"""The Typer application: its commands, its global options, and what an error looks like."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

import fingerprintdb
from fingerprintdb.cli import (
    bench,
    calibrate,
    config,
    demo,
    identify,
    index,
    ingest,
    key,
    library,
    model,
    plot,
    profile,
    search,
    serve,
    setup,
    sql,
    status,
    transfer,
    trial,
    worker,
)
from fingerprintdb.cli.interruption import INTERRUPTED, end_at_once, interrupt_work
from fingerprintdb.cli.logs import log_to_stderr
from fingerprintdb.cli.output import report
from fingerprintdb.cli.page import CONTEXT, Commands, Contents
from fingerprintdb.settings import Settings

ERROR = 2
"""Exit status; 0 means found or done, 1 not found."""


class Root(Contents):
    """The page of `fpdb --help`."""

    sections = (
        (
            "Environment",
            (
                *(
                    (f"FPDB_{name.upper()}", Settings.model_fields[name].description or "")
                    for name in ("database_url", "data_dir", "model", "concurrency", "log_level")
                ),
                ("FPDB_…_FILE", "A file that holds the setting: a secret."),
                ("FPDB_…", "`fpdb config` lists the others, and where each value came from."),
            ),
        ),
        (
            "Exit status",
            (
                ("0", "Found, or done."),
                ("1", "Not found; or, of `fpdb index check`, damage."),
                ("2", "An error, told in one line on stderr."),
                (str(INTERRUPTED), "Ctrl-C."),
            ),
        ),
        (
            "Files",
            (
                (".env", "Settings, in the working directory; the environment beats it."),
                ("/run/secrets/fpdb_database_url", "A setting, as Docker gives secrets."),
                (
                    str(Settings.model_fields["data_dir"].default),
                    "The embedded Postgres, where no database is named.",
                ),
            ),
        ),
        (
            "More",
            (
                ("fpdb COMMAND --help", "What it does, what it leaves alone, and examples."),
                ('fpdb sql -c "\\df+ fpdb.*"', "The functions of SQL, each with its comment."),
                ("README.md", "The SQL cookbook, and what was measured."),
                ("docs/production.md", "Roles, backup, upgrades, sizes, monitoring."),
            ),
        ),
    )


app = Commands(name="fpdb", cls=Root, context_settings=CONTEXT, pretty_exceptions_enable=False)

# What people do first stands first.
PANELS: tuple[tuple[str, tuple[Callable[..., None] | typer.Typer, ...]], ...] = (
    ("Start", (demo.demo, setup.init, setup.migrate, config.config)),
    ("Bring recordings in", (ingest.ingest, worker.worker, status.status)),
    ("Ask", (identify.identify, search.search, library.similar, plot.plot)),
    ("Look after the library", (library.list_, library.show, library.remove, library.reprocess)),
    ("Move a collection", (transfer.export, transfer.import_)),
    ("Serve", (serve.serve, key.key)),
    ("Measure and tune", (bench.bench, calibrate.calibrate)),
    ("Indexes and models", (index.index, profile.profile, model.model)),
)
model.model.command()(trial.compare)
model.model.command()(trial.calibrate)
for panel, commands in PANELS:
    for command in commands:
        if isinstance(command, typer.Typer):
            app.add_typer(command, rich_help_panel=panel)
        else:
            app.command(command.__name__.rstrip("_"), rich_help_panel=panel)(command)

# What stands after `sql` is psql's.
app.command(
    "sql",
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
    rich_help_panel="Look after the library",
)(sql.sql)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fpdb {fingerprintdb.__version__}")
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
    """Audio identification and audio similarity inside your own Postgres.

    Recordings go in by `fpdb ingest`, or by INSERT and workers; a noisy clip, a similar sound or a
    sentence finds them again. Everything is stored in two schemas of one Postgres database, fpdb
    and fpdb_queue; where none is named, the program starts one of its own. Recordings themselves
    stay where they are, and are never changed.
    """
    del version
    chosen = config.Configuration.read(
        database_url=database_url, data_dir=data_dir, log_level=log_level, log_format=log_format
    )
    log_to_stderr(chosen.settings.log_level, chosen.settings.log_format)
    context.obj = chosen
    interrupt_work()


def run() -> None:
    """Run the application; an error is one line on stderr and exit status 2."""
    # A file's name need not be UTF-8; its stray bytes are shown, in JSON too, as \udcXX.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        try:
            app()
        finally:
            end_at_once()
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
