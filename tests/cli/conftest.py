"""Runs the real command, on databases and recordings of the tests' own."""

import contextlib
import json
import logging
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from fingerprintdb import album
from fingerprintdb.cli import main
from fingerprintdb.encoding import encode

Run = subprocess.CompletedProcess[str]
Fpdb = Callable[..., Run]


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The test's environment without the developer's settings and model cache."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FPDB_")}
    cache = tmp_path_factory.mktemp("hub")
    return kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache), "FPDB_CONCURRENCY": "2"}


@pytest.fixture(scope="session")
def fpdb_process(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Fpdb:
    """Run the command as a process, in an empty folder; the first argument is a URL, or None."""
    empty = tmp_path_factory.mktemp("cwd")

    def run(
        url: str | None,
        *arguments: object,
        stdin: bytes = b"",
        cwd: Path = empty,
        **variables: str,
    ) -> Run:
        given = environment | variables | ({"FPDB_DATABASE_URL": url} if url else {})
        done = subprocess.run(
            [sys.executable, "-m", "fingerprintdb", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=cwd,
            env=given,
            timeout=120,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return Run(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture(scope="session")
def fpdb(
    fpdb_process: Fpdb, environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Fpdb:
    """Run the command as `fpdb_process` does, but in this process where it is given a database.

    A process takes a second to import what it needs, and ten where that is torch. What starts an
    embedded server is a process in any case: that one stops the server when it ends.
    """
    empty = tmp_path_factory.mktemp("cwd")

    def run(
        url: str | None,
        *arguments: object,
        stdin: bytes = b"",
        cwd: Path = empty,
        **variables: str,
    ) -> Run:
        if url is None:
            return fpdb_process(url, *arguments, stdin=stdin, cwd=cwd, **variables)
        given = environment | variables | {"FPDB_DATABASE_URL": url}
        return run_here([str(argument) for argument in arguments], given, stdin, cwd)

    return run


def run_here(arguments: list[str], environment: dict[str, str], stdin: bytes, cwd: Path) -> Run:
    """Run the command in this process, whose streams, folder and environment it borrows."""
    streams = [TextIOWrapper(BytesIO(content), encoding="utf-8") for content in (stdin, b"", b"")]
    logger = logging.getLogger()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(cwd):
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            patch.setattr(sys, name, stream)
        patch.setattr(sys, "argv", ["fpdb", *arguments])
        patch.setattr(os, "environ", environment.copy())
        patch.setattr(logger, "handlers", [])
        patch.setattr(logger, "level", logger.level)
        try:
            main()
        except SystemExit as end:
            code = end.code
        else:
            code = 0
        for stream in streams[1:]:
            stream.flush()
    out, err = (stream.buffer.getvalue().decode() for stream in streams[1:])  # type: ignore[attr-defined]
    assert "Traceback" not in err, err
    return Run(["fpdb", *arguments], int(code or 0), out, err)


@pytest.fixture(scope="module")
def library_url(server_url: str, admin: psycopg.Connection, template: str) -> Iterator[str]:
    """A migrated database with a model, shared by the tests of a module."""
    name = f"fpdb_cli_{secrets.token_hex(4)}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three pieces of 16 s, one of them in a folder below, and a text."""
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "below").mkdir()
    (folder / "notes.txt").write_text("not music")
    names = ("below/one.flac", "three.mp3", "two.wav")
    for name, piece in zip(names, islice(album.pieces(), 3), strict=True):
        samples = piece.samples[: 16 * album.SAMPLE_RATE_HZ]
        encode(folder / name, samples, album.SAMPLE_RATE_HZ, piece.tags)
    return folder


@pytest.fixture(scope="session")
def json_lines() -> Callable[[Run], list[dict[str, Any]]]:
    """Read what a command printed with --json."""
    return lambda run: [json.loads(line) for line in run.stdout.splitlines()]
