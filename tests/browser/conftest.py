"""Opens the web page of a small library in a headless Chromium, as its users see it."""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from urllib.parse import urlsplit

import numpy as np
import psycopg
import pytest
from pages import CLIP_FROM_SEC, Music, opened
from playwright.sync_api import Browser, Page, expect, sync_playwright
from service import OPTIONS, served

from fingerprintdb import album, degradation, pipeline
from fingerprintdb.api.options import MEBIBYTE
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
RATE_HZ = album.SAMPLE_RATE_HZ

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Music:
    """Music, noise, silence, and what is none of them."""
    music = Music(tmp_path_factory.mktemp("music"))
    for number, piece in enumerate(islice(album.pieces(), 5)):
        music.titles.append(piece.title)
        samples = piece.samples[: 20 * RATE_HZ]
        cut = samples[CLIP_FROM_SEC * RATE_HZ : (CLIP_FROM_SEC + 8) * RATE_HZ]
        encode(music[f"piece{number}.flac"], samples, RATE_HZ, piece.tags)
        encode(music[f"clip{number}.wav"], 0.7 * degradation.add_pink_noise(cut, 20.0), RATE_HZ)
        if number == 2:
            encode(music["copy2.wav"], samples, RATE_HZ)
    noise = np.random.default_rng(1).uniform(-0.3, 0.3, 6 * RATE_HZ).astype(np.float32)
    encode(music["noise.wav"], noise, RATE_HZ)
    encode(music["silence.wav"], np.zeros(6 * RATE_HZ, np.float32), RATE_HZ)
    music["junk.mp3"].write_bytes(b"this is no music " * 99)
    return music


@pytest.fixture(scope="module")
def library_url(server_url: str, admin: psycopg.Connection, template: str) -> Iterator[str]:
    """A migrated database with a model, shared by the tests of a module."""
    name = f"fpdb_page_{secrets.token_hex(4)}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def stored(library_url: str, music: Music) -> list[int]:
    """Keys of the recordings that the library holds."""
    with connect(library_url) as connection:
        done = [pipeline.ingest(connection, Extractor(), str(file)) for file in music.stored]
    return [item.asset_id for item in done if item.asset_id is not None]


@pytest.fixture(scope="module")
def worker(library_url: str) -> Iterator[None]:
    """A worker, as people start one beside the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FPDB_")}
    with subprocess.Popen(
        [sys.executable, "-m", "fingerprintdb", "worker", "--concurrency", "1"],
        env=kept | {"FPDB_DATABASE_URL": library_url},
        stderr=subprocess.DEVNULL,
    ) as process:
        yield
        process.terminate()


@pytest.fixture(scope="module")
def service(library_url: str, stored: list[int]) -> Iterator[str]:
    """Where the library is served."""
    options = replace(OPTIONS, max_upload_bytes=MEBIBYTE)
    with served(library_url, options) as base:
        yield base


@pytest.fixture(scope="module")
def database(library_url: str) -> Iterator[Connection]:
    """A connection of the test's own to the library."""
    with connect(library_url) as connection:
        yield connection


@pytest.fixture(scope="session", autouse=True)
def chromium() -> str:
    """Where the browser is; a reason to skip these tests where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    return CHROMIUM


@pytest.fixture(scope="module")
def browser(chromium: str, music: Music) -> Iterator[Browser]:
    """A browser whose microphone hears the second piece."""
    heard = f"--use-file-for-fake-audio-capture={music['clip1.wav']}%noloop"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*SWITCHES, heard])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, service: str) -> Iterator[Page]:
    """The page, as one opens it on a desk."""
    with opened(browser, service) as page:
        page.goto("/")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        yield page
