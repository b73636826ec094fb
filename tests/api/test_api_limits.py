"""What a service must outlive: bodies without end, slow clients, a database that goes away."""

import asyncio
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import httpx
import numpy as np
import psycopg
import pytest
from psycopg import sql
from service import OPTIONS, Recordings, sent, served

from fingerprintdb.encoding import encode
from fingerprintdb.store.database import Connection, connect


def raw(base: str) -> socket.socket:
    """Open a connection to a service, to speak badly over it."""
    parts = urlsplit(base)
    assert parts.hostname is not None
    return socket.create_connection((parts.hostname, parts.port or 0), timeout=20)


# A form that breaks off leaves its part's temporary file to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

HEAD = (
    b"POST /api/v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n"
)
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.wav"\r\n\r\n'


def answer_to(connection: socket.socket) -> bytes:
    """Read an answer until the service closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_a_body_that_never_ends_is_cut_off(service: str, http: httpx.Client) -> None:
    chunk = bytes(64 * 1024)
    framed = b"%x\r\n%s\r\n" % (len(chunk), chunk)
    with raw(service) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"%x\r\n%s\r\n" % (len(PART), PART))
        sent_bytes = 0
        while sent_bytes < 10 * OPTIONS.max_upload_bytes:
            try:
                connection.sendall(framed)
            except OSError:
                break  # the service has closed
            sent_bytes += len(chunk)
        assert sent_bytes < 10 * OPTIONS.max_upload_bytes
    assert http.get("/api/v1/health/live").status_code == 200


def test_a_body_that_is_announced_too_large_is_refused_unread(service: str) -> None:
    with raw(service) as connection:
        connection.sendall(HEAD + b"Content-Length: 99999999999\r\n\r\n")
        answer = answer_to(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer


def test_a_body_that_does_not_arrive_in_time_is_told_so(service: str, http: httpx.Client) -> None:
    with raw(service) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + PART)
        answer = answer_to(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 4 s" in answer
    assert http.get("/api/v1/health/live").status_code == 200


def test_a_client_that_leaves_harms_nobody(
    service: str, http: httpx.Client, recordings: Recordings
) -> None:
    for cut in (len(HEAD), 0):
        with raw(service) as connection:
            connection.sendall(HEAD[: cut or None] + b"Content-Length: 1000\r\n\r\n" + PART)
    answer = http.post("/api/v1/search", files=sent(recordings.clip))
    assert answer.json()["found"]


def test_listeners_who_leave_give_their_connection_back(
    service: str, http: httpx.Client, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 40 * 48_000).astype(np.float32)
    encode(tmp_path / "noise.wav", noise, 48_000)
    asset = http.post("/api/v1/assets", files=sent(tmp_path / "noise.wav")).json()
    path = f"/api/v1/assets/{asset['asset_id']}"
    for _ in range(3 * OPTIONS.connections):
        with raw(service) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(f"GET {path}/audio HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            assert connection.recv(1000)
    assert http.delete(path).status_code == 204


@pytest.mark.parametrize(
    "content",
    [b"", b"no form", b"--b", PART, PART + b"\r\n--b--" * 3, b"--b\r\n" + b"A: b\r\n" * 9999],
)
def test_a_form_that_is_none_is_told_so(http: httpx.Client, content: bytes) -> None:
    answer = http.post(
        "/api/v1/search",
        content=content,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture
def no_database(admin: psycopg.Connection, library_url: str) -> Iterator[sql.Identifier]:
    """The library's database lets nobody in until the test is over."""
    name = sql.Identifier(urlsplit(library_url).path[1:])
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
        (urlsplit(library_url).path[1:],),
    )
    yield name
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))


def test_a_statement_that_takes_too_long_is_ended(
    http: httpx.Client, database: Connection, recordings: Recordings
) -> None:
    with database.transaction():
        database.execute("LOCK TABLE fpdb.collection IN ACCESS EXCLUSIVE MODE")
        answer = http.post(
            "/api/v1/search", params={"collection": "default"}, files=sent(recordings.clip)
        )
    assert (answer.status_code, answer.json()["title"]) == (504, "Too slow")
    assert http.post("/predict", files=sent(recordings.clip)).json()["found"]


def test_a_database_that_goes_away_during_a_request(
    http: httpx.Client,
    database: Connection,
    admin: psycopg.Connection,
    library_url: str,
    recordings: Recordings,
) -> None:
    def kill() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            killed = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND wait_event_type = 'Lock'",
                (urlsplit(library_url).path[1:],),
            ).fetchall()
            if killed:
                return

    with database.transaction():
        database.execute("LOCK TABLE fpdb.collection IN ACCESS EXCLUSIVE MODE")
        killer = Thread(target=kill)
        killer.start()
        answer = http.post(
            "/api/v1/search", params={"collection": "default"}, files=sent(recordings.clip)
        )
        killer.join()
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["type"] == "urn:fingerprintdb:problem:database-unavailable"
    assert http.post("/predict", files=sent(recordings.clip)).json()["found"]


def test_a_database_that_is_away_and_comes_back(
    http: httpx.Client,
    recordings: Recordings,
    request: pytest.FixtureRequest,
    admin: psycopg.Connection,
) -> None:
    name = request.getfixturevalue("no_database")
    for answer in (
        http.post("/api/v1/search", files=sent(recordings.clip)),
        http.get("/api/v1/assets"),
        http.get("/api/v1/session"),
    ):
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
    assert http.get("/api/v1/health/live").status_code == 200
    ready = http.get("/api/v1/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
    admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(name))
    deadline = time.monotonic() + 30
    while http.get("/api/v1/health/ready").status_code != 200:
        assert time.monotonic() < deadline, "the service did not find its database again"
    assert http.post("/api/v1/search", files=sent(recordings.clip)).json()["found"]


def test_more_clients_than_threads_are_all_answered(
    library_url: str, recordings: Recordings, stored: list[int]
) -> None:
    async def ask(base: str) -> tuple[list[int], list[int]]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=base, timeout=60, limits=limits) as client:
            lists = asyncio.gather(*(client.get("/api/v1/assets") for _ in range(150)))
            clips = asyncio.gather(
                *(client.post("/predict", files=sent(recordings.clip)) for _ in range(16))
            )
            return [answer.status_code for answer in await lists], [
                answer.json()["song_id"] for answer in await clips
            ]

    with served(library_url, replace(OPTIONS, connections=2, request_timeout_sec=60)) as base:
        lists, clips = asyncio.run(ask(base))
    assert lists == [200] * 150
    assert clips == [stored[0]] * 16


def test_who_waits_too_long_is_told_that_others_are_served(
    library_url: str, stored: list[int]
) -> None:
    async def ask(base: str) -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=base, timeout=60) as client:
            asked = [client.get("/api/v1/stats") for _ in range(3)]
            return list(await asyncio.gather(*asked))

    options = replace(OPTIONS, connections=1, request_timeout_sec=1)
    with served(library_url, options) as base, connect(library_url) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE fpdb.collection IN ACCESS EXCLUSIVE MODE")
        answers = asyncio.run(ask(base))
    kinds = {answer.json()["type"].rpartition(":")[2] for answer in answers}
    assert kinds <= {"busy", "too-slow"}
    assert "busy" in kinds
