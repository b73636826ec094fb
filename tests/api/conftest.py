"""Serves a small library over loopback to tests that call it."""

import secrets
from collections.abc import Iterator
from itertools import islice
from urllib.parse import urlsplit

import httpx
import numpy as np
import psycopg
import pytest
from service import Recordings, served

from fingerprintdb import album, pipeline
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection, connect


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    """Music that the service may hold."""
    folder = tmp_path_factory.mktemp("recordings")
    rate_hz = album.SAMPLE_RATE_HZ
    titles = []
    for number, piece in enumerate(islice(album.pieces(), 3)):
        samples = piece.samples[: 16 * rate_hz]
        encode(folder / f"piece{number}.flac", samples, rate_hz, piece.tags)
        titles.append(piece.tags["title"])
        if number == 0:
            encode(folder / "clip.wav", samples[6 * rate_hz : 11 * rate_hz], rate_hz)
    encode(folder / "silence.wav", np.zeros(5 * rate_hz, np.float32), rate_hz)
    return Recordings(folder, titles)


@pytest.fixture(scope="module")
def library_url(server_url: str, admin: psycopg.Connection, template: str) -> Iterator[str]:
    """A migrated database with a model, shared by the tests of a module."""
    name = f"fpdb_api_{secrets.token_hex(4)}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def stored(library_url: str, recordings: Recordings) -> list[int]:
    """Keys of the pieces in the library."""
    with connect(library_url) as connection:
        done = [pipeline.ingest(connection, Extractor(), str(file)) for file in recordings.files]
    return [item.asset_id for item in done if item.asset_id is not None]


@pytest.fixture(scope="module")
def service(library_url: str, stored: list[int]) -> Iterator[str]:
    """Where the library is served."""
    with served(library_url) as base:
        yield base


@pytest.fixture
def http(service: str) -> Iterator[httpx.Client]:
    """Calls the service."""
    with httpx.Client(base_url=service, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def database(library_url: str) -> Iterator[Connection]:
    """A connection of the test's own to the library."""
    with connect(library_url) as connection:
        yield connection
