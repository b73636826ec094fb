"""The library over HTTP: adding, listing, changing, removing and playing recordings."""

import json
from pathlib import Path

import httpx
import pytest
from service import OPTIONS, Recordings, sent, served

from fingerprintdb import album
from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.registration import is_allowed
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection
from fingerprintdb.worker import WorkerOptions, run_worker


@pytest.fixture(scope="module")
def new_piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that the library does not hold."""
    path = tmp_path_factory.mktemp("new") / "My New Song.flac"
    piece = list(album.pieces())[4]
    encode(path, piece.samples[: 12 * album.SAMPLE_RATE_HZ], album.SAMPLE_RATE_HZ)
    return path


def work(url: str) -> None:
    """Process what is queued."""
    run_worker(url, Extractor(), WorkerOptions(wait=False))


def test_an_upload_is_fingerprinted_and_found(
    http: httpx.Client, new_piece: Path, library_url: str
) -> None:
    answer = http.post(
        "/api/v1/assets",
        files=sent(new_piece),
        data={"artist": "Nobody", "metadata": '{"label": "X"}'},
    )
    assert answer.status_code == 201
    asset = answer.json()
    assert (asset["title"], asset["artist"]) == ("My New Song", "Nobody")
    assert asset["metadata"] == {"label": "X", "filename": "My New Song.flac"}
    assert (asset["status"], asset["uri"]) == ("queued", None)
    assert asset["content_bytes"] == new_piece.stat().st_size
    assert answer.headers["location"] == f"/api/v1/assets/{asset['asset_id']}"

    work(library_url)
    done = http.get(answer.headers["location"]).json()
    assert (done["status"], done["error"]) == ("ready", None)
    assert done["duration_sec"] == pytest.approx(12, abs=0.1)
    assert done["title"] == "My New Song"
    found = http.post("/predict", files=sent(new_piece)).json()
    assert found["song_id"] == asset["asset_id"]

    again = http.post("/api/v1/assets", files=sent(new_piece))
    assert again.status_code == 200
    assert again.json()["asset_id"] == asset["asset_id"]
    pair = http.post("/upload", files=sent(new_piece), data={"wait_sec": 5})
    assert (pair.status_code, pair.json()["is_new"]) == (200, False)
    assert (pair.json()["song_id"], pair.json()["status"]) == (asset["asset_id"], "ready")

    assert http.delete(f"/api/v1/assets/{asset['asset_id']}").status_code == 204
    assert http.get(f"/api/v1/assets/{asset['asset_id']}").status_code == 404
    assert http.delete(f"/api/v1/assets/{asset['asset_id']}").status_code == 404
    assert not http.post("/predict", files=sent(new_piece)).json()["found"]


def test_upload_waits_as_long_as_it_is_told(http: httpx.Client, new_piece: Path) -> None:
    answer = http.post("/upload", files=sent(new_piece), data={"title": "Waiting", "wait_sec": 0.3})
    assert answer.status_code == 201
    song = answer.json()
    assert (song["title"], song["status"], song["is_new"]) == ("Waiting", "queued", True)
    http.delete(f"/api/v1/assets/{song['song_id']}")


def test_what_fails_says_why_and_can_be_tried_again(
    http: httpx.Client, recordings: Recordings, library_url: str
) -> None:
    asset = http.post("/api/v1/assets", files=sent(recordings.silence)).json()
    work(library_url)
    failed = http.get(f"/api/v1/assets/{asset['asset_id']}").json()
    assert failed["status"] == "failed"
    assert "silen" in failed["error"]
    listed = http.get("/api/v1/assets", params={"status": "failed"}).json()
    assert [found["asset_id"] for found in listed["assets"]] == [asset["asset_id"]]
    again = http.post(f"/api/v1/assets/{asset['asset_id']}/reprocess")
    assert (again.status_code, again.json()["status"]) == (202, "queued")
    http.delete(f"/api/v1/assets/{asset['asset_id']}")


def test_junk_is_refused_before_it_is_a_row(http: httpx.Client, database: Connection) -> None:
    before = database.execute("SELECT count(*) FROM fpdb.asset").fetchone()
    for path in ("/api/v1/assets", "/upload"):
        answer = http.post(path, files={"file": ("x.mp3", b"junk")})
        assert (answer.status_code, answer.json()["title"]) == (422, "Unusable audio")
    neither = http.post("/api/v1/assets", data={"title": "x"})
    both = http.post("/api/v1/assets", files={"file": b"x"}, data={"uri": "x"})
    for answer in (neither, both):
        assert (answer.status_code, answer.json()["title"]) == (422, "Invalid request")
    assert database.execute("SELECT count(*) FROM fpdb.asset").fetchone() == before


def test_the_list_narrows_and_turns_pages(
    http: httpx.Client, stored: list[int], recordings: Recordings
) -> None:
    first = http.get("/api/v1/assets", params={"limit": 2}).json()
    assert [asset["asset_id"] for asset in first["assets"]] == stored[:0:-1]
    assert first["total"] == 3
    rest = http.get("/api/v1/assets", params={"limit": 2, "before": first["next_before"]}).json()
    assert [asset["asset_id"] for asset in rest["assets"]] == stored[:1]
    assert rest["next_before"] is None
    for params, expected in (
        ({"search": recordings.titles[1].upper()}, [stored[1]]),
        ({"search": "100% of_nothing"}, []),
        ({"content_type": "speech"}, []),
        ({"collection": "default", "status": "ready"}, stored[::-1]),
        ({"metadata": '{"album": "no such"}'}, []),
    ):
        page = http.get("/api/v1/assets", params=params).json()
        assert [asset["asset_id"] for asset in page["assets"]] == expected, params
        assert page["total"] == len(expected)
    songs = http.get("/api/v1/songs").json()
    assert [song["song_id"] for song in songs["songs"]] == stored[::-1]
    assert set(songs["songs"][0]) == {"song_id", "title", "artist"}
    one = http.get(f"/api/v1/songs/{stored[0]}").json()
    assert (one["song_id"], one["title"]) == (stored[0], recordings.titles[0])


def test_titles_and_metadata_change_and_nothing_is_reprocessed(
    http: httpx.Client, stored: list[int]
) -> None:
    path = f"/api/v1/assets/{stored[2]}"
    before = http.get(path).json()
    changed = http.patch(path, json={"title": "Other", "metadata": {"year": 1999}}).json()
    assert (changed["title"], changed["metadata"]) == ("Other", {"year": 1999})
    assert (changed["artist"], changed["status"]) == (before["artist"], "ready")
    moved = http.patch(path, json={"collection": "new place", "version_of": stored[0]}).json()
    assert (moved["collection"], moved["version_of"]) == ("new place", stored[0])
    assert http.patch(path, json={}).json() == moved
    back = {name: before[name] for name in ("title", "metadata", "collection", "version_of")}
    assert http.patch(path, json=back).json()["title"] == before["title"]


@pytest.mark.parametrize(
    "change",
    [
        {"titel": "x"},
        {"title": "nul \0"},
        {"title": 7},
        {"metadata": {"nul": "\0"}},
        {"metadata": []},
        {"content_type": "noise"},
        {"collection": ""},
        {"collection": " "},
        {"metadata": json.loads('{"a":' * 40 + "1" + "}" * 40)},
        {"version_of": 0},
    ],
)
def test_a_change_that_cannot_be_is_told(
    http: httpx.Client, stored: list[int], change: dict[str, object]
) -> None:
    answer = http.patch(f"/api/v1/assets/{stored[0]}", json=change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_version_of_itself_or_of_nothing_is_refused(
    http: httpx.Client, stored: list[int]
) -> None:
    path = f"/api/v1/assets/{stored[0]}"
    assert http.patch(path, json={"version_of": stored[0]}).status_code == 422
    assert http.patch(path, json={"version_of": 999_999}).status_code == 404


def test_recordings_are_played_from_the_middle(
    http: httpx.Client, new_piece: Path, stored: list[int], recordings: Recordings
) -> None:
    asset = http.post("/api/v1/assets", files=sent(new_piece)).json()
    whole = new_piece.read_bytes()
    path = f"/api/v1/assets/{asset['asset_id']}/audio"
    played = http.get(path)
    assert (played.status_code, played.content) == (200, whole)
    assert played.headers["content-type"] in {"audio/flac", "audio/x-flac"}
    for header, first, last in (
        ("bytes=0-9", 0, 10),
        ("bytes=1000-", 1000, len(whole)),
        ("bytes=-7", len(whole) - 7, len(whole)),
        (f"bytes=5-{len(whole) * 2}", 5, len(whole)),
    ):
        part = http.get(path, headers={"Range": header})
        assert (part.status_code, part.content) == (206, whole[first:last]), header
        assert part.headers["content-range"] == f"bytes {first}-{last - 1}/{len(whole)}"
    for header in ("lines=1-2", "bytes=-", "bytes=0-1,4-5", f"bytes=0-{'9' * 5000}"):
        assert http.get(path, headers={"Range": header}).status_code == 200, header[:20]
    for header in (f"bytes={len(whole)}-", "bytes=9-3"):
        refused = http.get(path, headers={"Range": header})
        assert refused.status_code == 416
        assert refused.headers["content-range"] == f"bytes */{len(whole)}"
    http.delete(f"/api/v1/assets/{asset['asset_id']}")
    # A file of this machine is played as well.
    file = http.get(f"/api/v1/assets/{stored[0]}/audio", headers={"Range": "bytes=0-3"})
    assert (file.status_code, file.content) == (206, b"fLaC")


def test_only_sound_is_played(http: httpx.Client, database: Connection, tmp_path: Path) -> None:
    secret = tmp_path / "secret.html"
    secret.write_text("<script>")
    keys = [
        database.execute(
            "INSERT INTO fpdb.asset (uri) VALUES (%s) RETURNING asset_id", (uri,)
        ).fetchone()
        for uri in (str(secret), "https://host.example/a.mp3")
    ]
    for row in keys:
        assert row is not None
        answer = http.get(f"/api/v1/assets/{row[0]}/audio")
        assert (answer.status_code, answer.json()["title"]) == (404, "No audio")
        http.delete(f"/api/v1/assets/{row[0]}")


def test_uris_are_registered_where_the_service_allows_them(
    library_url: str, recordings: Recordings, http: httpx.Client
) -> None:
    refused = http.post("/api/v1/assets", data={"uri": str(recordings.files[0])})
    assert (refused.status_code, refused.json()["title"]) == (403, "Forbidden uri")
    options = ServiceOptions(is_open=True, allowed_uris=(str(recordings.folder),))
    with served(library_url, options) as base, httpx.Client(base_url=base) as other:
        answer = other.post(
            "/api/v1/assets", data={"uri": str(recordings.files[1]), "collection": "by uri"}
        )
        assert answer.status_code == 201
        assert answer.json()["uri"] == str(recordings.files[1])
        again = other.post(
            "/api/v1/assets", data={"uri": str(recordings.files[1]), "collection": "by uri"}
        )
        assert again.status_code == 200
        assert again.json()["asset_id"] == answer.json()["asset_id"]
        told = other.post("/api/v1/assets", data={"uri": "/etc/passwd"})
        assert str(recordings.folder) not in told.text
        assert other.get("/api/v1/stats").json()["limits"]["takes_uris"] is True
        other.delete(f"/api/v1/assets/{answer.json()['asset_id']}")


@pytest.mark.parametrize(
    ("uri", "allowed"),
    [
        ("/music/a.mp3", True),
        ("/music/../etc/passwd", False),
        ("/musical/a.mp3", False),
        ("relative.mp3", False),
        ("file:///etc/passwd", False),
        ("https://host.example/a.mp3", True),
        ("https://host.example/../b.mp3", False),
        ("https://host.example/%2E%2e/b.mp3", False),
        ("https://host.example.evil/a.mp3", False),
        ("https://host.example@evil/a.mp3", False),
        ("http://host.example/a.mp3", False),
        ("s3://bucket/in/a.mp3", True),
        ("s3://bucket/other/a.mp3", False),
        ("simplecache::https://host.example/a.mp3", False),
        ("zip://x.wav::/etc/a.zip", False),
        ("data:audio/wav;base64,AAAA", False),
        ("/etc/passwd::http://../music/y", False),
        ("file:///music/a.mp3", True),
        ("file:///music/..%2fetc/passwd", False),
        ("file:///music/%2e%2e/etc/passwd", False),
        ("https://host.example/..%2fb.mp3", False),
        ("https://host.example/%252e%252e/b.mp3", False),
        ("https://host.example/.\t./b.mp3", False),
        ("https://host.example/..?x", False),
        ("https://user:word@host.example/a.mp3", False),
        ("HTTPS://host.example/a.mp3", True),
        ("", False),
        ("/music/\0", False),
    ],
)
def test_what_lies_below_a_prefix(uri: str, allowed: bool) -> None:
    prefixes = ("/music", "https://host.example", "s3://bucket/in/", "")
    assert is_allowed(uri, prefixes) is allowed


def test_a_name_that_is_html_stays_text(http: httpx.Client, recordings: Recordings) -> None:
    name = "<img src=x onerror=alert(1)>.html"
    answer = http.post("/api/v1/assets", files={"file": (name, recordings.clip.read_bytes())})
    asset = answer.json()
    played = http.get(f"/api/v1/assets/{asset['asset_id']}/audio")
    assert played.headers["content-type"] == "application/octet-stream"
    assert played.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in played.headers["content-security-policy"]
    http.delete(f"/api/v1/assets/{asset['asset_id']}")


def test_what_is_not_shown_is_not_searched(http: httpx.Client, database: Connection) -> None:
    uri = "https://user:hunter2@host.example/a#b.mp3?signature=dead"
    row = database.execute(
        "INSERT INTO fpdb.asset (uri) VALUES (%s) RETURNING asset_id", (uri,)
    ).fetchone()
    assert row is not None
    for text, expected in (("host.example/a", 1), ("hunter2", 0), ("signature", 0), ("user", 0)):
        assert http.get("/api/v1/assets", params={"search": text}).json()["total"] == expected
    assert http.get(f"/api/v1/assets/{row[0]}").json()["uri"] == "https://host.example/a"
    http.delete(f"/api/v1/assets/{row[0]}")


def test_limits_are_those_of_the_options(http: httpx.Client) -> None:
    stats = http.get("/api/v1/stats").json()
    assert stats["limits"]["max_upload_bytes"] == OPTIONS.max_upload_bytes
    assert stats["assets"] == {"ready": 3}
    assert stats["duration_sec"] == pytest.approx(48, abs=0.5)
    assert stats["landmarks"] > 1000
    assert stats["vectors"] > 10
