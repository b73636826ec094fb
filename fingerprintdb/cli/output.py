"""Renders answers: tables on a terminal, tab-separated lines in a pipe, JSON where asked."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from fingerprintdb.errors import FingerprintError

JsonLines = Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")]
OneJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def print_json(value: Any, *, to_stderr: bool = False) -> None:
    """Print one line of JSON, at once, so that a reader need not wait for the next."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False), err=to_stderr)
    (sys.stderr if to_stderr else sys.stdout).flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows; numbers stand to the right on a terminal, and None is empty."""
    rows = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        for line in [columns, *cells]:
            typer.echo("\t".join(text.replace("\t", " ").replace("\n", " ") for text in line))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        numeric = any(isinstance(row[number], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for line in cells:
        table.add_row(*map(Text, line))
    Console().print(table)


def say(message: str, *, to_stderr: bool = True) -> None:
    """Tell a person something that is not the answer."""
    typer.echo(message, err=to_stderr)


def report(error: Exception) -> None:
    """Print an error as one line on stderr: what happened, and what to do about it."""
    prefix = typer.style("error:", fg="red") if sys.stderr.isatty() else "error:"
    typer.echo(f"{prefix} {' '.join(_explain(error).split())}", err=True)


def clock(seconds: float) -> str:
    """Return a time in a recording as m:ss, or h:mm:ss."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _explain(error: Exception) -> str:
    import psycopg

    # SQLAlchemy, which runs the migrations, wraps what the database said.
    wrapped = getattr(error, "orig", None)
    error = wrapped if isinstance(wrapped, psycopg.Error) else error
    if isinstance(error, FingerprintError):
        return str(error)
    if isinstance(error, psycopg.Error):
        said = error.diag.message_primary or str(error) or type(error).__name__
        hint = error.diag.message_hint
        return f"the database said: {said}" + (f" — {hint}" if hint else "")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename or ''}".rstrip(": ")
    return (
        f"{type(error).__name__}: {error} — this is a bug;"
        " `fpdb --log-level debug …` shows where it is"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
