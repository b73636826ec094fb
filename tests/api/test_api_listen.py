"""The WebSocket that listens: sure as soon as it can be, and clear about all else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from service import OPTIONS, Recordings, make_key, served
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fingerprintdb import album
from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.audio import decode
from fingerprintdb.encoding import encode
from fingerprintdb.store.database import Connection

RATE_HZ = 16_000


@pytest.fixture
def address(service: str) -> str:
    return service.replace("http", "ws") + "/api/v1/listen"


def pcm(path: Path) -> bytes:
    """Return a file's sound as signed 16-bit PCM."""
    samples = np.concatenate(list(decode(path, RATE_HZ)))
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def messages(connection: ClientConnection) -> Iterator[dict[str, Any]]:
    """Yield what the service says until it closes."""
    try:
        while True:
            yield json.loads(connection.recv(timeout=30))
    except ConnectionClosed:
        return


def talk(address: str, sound: bytes, piece_bytes: int, *, say_end: bool) -> list[dict[str, Any]]:
    """Send sound in pieces and return all that the service says."""
    with connect(address) as connection:
        try:
            for first in range(0, len(sound), piece_bytes):
                connection.send(sound[first : first + piece_bytes])
            if say_end:
                connection.send("end")
        except ConnectionClosed:
            pass  # it is sure already
        return list(messages(connection))


def test_pcm_is_identified_without_an_end(
    address: str, recordings: Recordings, stored: list[int]
) -> None:
    sound = pcm(recordings.files[0])[6 * 2 * RATE_HZ :]
    told = talk(f"{address}?format=s16le&sample_rate={RATE_HZ}", sound, 3200, say_end=False)
    answer = told[-1]
    assert answer["event"] == "answer"
    assert answer["verdict"] == "match"
    assert answer["matches"][0]["asset_id"] == stored[0]
    assert answer["matches"][0]["confidence"] >= 0.99
    assert answer["matches"][0]["offset_sec"] == pytest.approx(6.0, abs=0.1)
    assert {message["event"] for message in told[:-1]} <= {"listening"}


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".flac"])
def test_a_file_is_identified_as_it_arrives(
    address: str, recordings: Recordings, stored: list[int], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"clip{suffix}"
    samples = np.concatenate(list(decode(recordings.clip, 48_000)))
    encode(path, samples, 48_000)
    told = talk(address, path.read_bytes(), 4096, say_end=True)
    assert told[-1]["event"] == "answer"
    assert told[-1]["matches"][0]["asset_id"] == stored[0]


def test_what_is_long_in_is_told_since_listening_began(
    address: str, recordings: Recordings, stored: list[int]
) -> None:
    noise = np.random.default_rng(3).normal(0, 0.05, 20 * RATE_HZ)
    sound = (noise * 32767).astype("<i2").tobytes() + pcm(recordings.clip)
    told = talk(f"{address}?format=s16le&sample_rate={RATE_HZ}", sound, 32_000, say_end=True)
    answer = told[-1]
    best = answer["matches"][0]
    assert best["asset_id"] == stored[0]
    # The clip begins at 0:06 of the recording, and here 20 s in.
    assert best["offset_sec"] == pytest.approx(6.0 - 20.0, abs=0.15)
    assert best["query_start_sec"] >= 19.5


def test_a_stranger_is_told_at_the_end(address: str) -> None:
    piece = list(album.pieces())[5]
    samples = np.clip(piece.samples[: 6 * album.SAMPLE_RATE_HZ], -1, 1)
    sound = (samples * 32767).astype("<i2").tobytes()
    query = f"?format=s16le&sample_rate={album.SAMPLE_RATE_HZ}"
    told = talk(address + query, sound, 50_000, say_end=True)
    assert (told[-1]["event"], told[-1]["found"]) == ("answer", False)
    assert told[-1]["verdict"] == "no match"
    assert told[-1]["heard_sec"] == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize(
    ("query", "sound", "kind"),
    [
        ("", b"", "unusable-audio"),
        ("", b"junk" * 5000, "unusable-audio"),
        ("?format=s16le", bytes(48_000 * 8), "unusable-audio"),
        ("?format=s16le", bytes(7), "unusable-audio"),
        ("?collection=nowhere", b"x", "refused"),
    ],
)
def test_what_cannot_be_heard_is_a_problem(
    address: str, query: str, sound: bytes, kind: str
) -> None:
    told = talk(address + query, sound, 60_000, say_end=True)
    assert told[-1]["event"] == "problem"
    assert told[-1]["problem"]["type"].endswith(kind)


def test_other_messages_are_a_problem(address: str) -> None:
    with connect(address) as connection:
        connection.send("hello")
        (told,) = messages(connection)
        assert told["problem"]["type"].endswith("invalid-message")
        assert connection.close_code == 1008


@pytest.mark.parametrize("query", ["?format=mp5", "?sample_rate=1", "?channels=99", "?k=0"])
def test_parameters_that_make_no_sense_are_refused(address: str, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(address + query):
        pass
    assert refused.value.response.status_code == 422
    assert b"invalid-request" in refused.value.response.body


def test_the_time_is_limited(library_url: str, stored: list[int]) -> None:
    options = ServiceOptions(is_open=True, max_listen_sec=5)
    noise = np.random.default_rng(3).normal(0, 0.05, 8 * RATE_HZ)
    sound = (noise * 32767).astype("<i2").tobytes()
    with served(library_url, options) as base:
        address = base.replace("http", "ws") + "/api/v1/listen"
        told = talk(f"{address}?format=s16le&sample_rate={RATE_HZ}", sound, 9600, say_end=False)
    assert (told[-1]["event"], told[-1]["found"]) == ("answer", False)


def test_who_dribbles_is_not_listened_to_for_ever(
    library_url: str, stored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fingerprintdb.api.listen.IDLE_SEC", 0.5)
    options = ServiceOptions(is_open=True, max_listen_sec=0.5)
    told: list[dict[str, Any]] = []
    with (
        served(library_url, options) as base,
        connect(base.replace("http", "ws") + "/api/v1/listen") as connection,
    ):
        while not told:
            connection.send(b"xx")
            try:
                told.append(json.loads(connection.recv(timeout=0.1)))
            except TimeoutError:
                continue
    assert told[0]["problem"]["type"].endswith("unusable-audio")


def test_a_client_that_leaves_harms_nobody(
    address: str, recordings: Recordings, stored: list[int]
) -> None:
    with connect(f"{address}?format=s16le") as connection:
        connection.send(bytes(100_000))
    told = talk(address, recordings.clip.read_bytes(), 9600, say_end=True)
    assert told[-1]["matches"][0]["asset_id"] == stored[0]


def test_listening_needs_a_key_and_no_foreign_page(
    library_url: str, database: Connection, recordings: Recordings
) -> None:
    key = make_key(database, "listener")
    with served(library_url, OPTIONS) as base:
        address = base.replace("http", "ws") + "/api/v1/listen"
        for headers in ({}, {"X-API-Key": "wrong"}, key | {"Origin": "https://evil.example"}):
            with (
                pytest.raises(InvalidStatus) as refused,
                connect(address, additional_headers=headers),
            ):
                pass
            assert refused.value.response.status_code in {401, 403}
        with connect(address, additional_headers=key) as connection:
            connection.send(recordings.clip.read_bytes())
            connection.send('{"event": "end"}')
            assert list(messages(connection))[-1]["found"]
