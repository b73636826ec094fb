"""Keys: who may come in, to which collection, and what pages of other sites may do."""

from collections.abc import Iterator

import httpx
import pytest
from service import OPTIONS, Recordings, make_key, sent, served

from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.store.database import Connection
from fingerprintdb.store.key import list_keys, revoke_key


@pytest.fixture(scope="module")
def keyed(
    library_url: str, stored: list[int], database: Connection
) -> Iterator[tuple[str, dict[str, dict[str, str]]]]:
    """A service with keys, and the headers that carry them."""
    database.execute("INSERT INTO fpdb.collection (name) VALUES ('mine'), ('theirs')")
    database.execute("UPDATE fpdb.asset SET collection = 'mine' WHERE asset_id = %s", (stored[0],))
    database.execute(
        "UPDATE fpdb.asset SET collection = 'theirs' WHERE asset_id = %s", (stored[1],)
    )
    keys = {
        "reader": make_key(database, "reader"),
        "writer": make_key(database, "writer", may_write=True),
        "mine": make_key(database, "mine", collection="mine"),
        "theirs": make_key(database, "theirs", collection="theirs", may_write=True),
    }
    with served(library_url, OPTIONS) as base:
        yield base, keys


@pytest.fixture
def http(keyed: tuple[str, dict[str, dict[str, str]]]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=keyed[0], timeout=30) as client:
        yield client


@pytest.fixture
def keys(keyed: tuple[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, str]]:
    return keyed[1]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "x"}])
def test_a_missing_or_wrong_key_opens_nothing(
    http: httpx.Client, recordings: Recordings, headers: dict[str, str]
) -> None:
    for method, path in (
        ("GET", "/api/v1/assets"),
        ("GET", "/api/v1/stats"),
        ("GET", "/metrics"),
        ("DELETE", "/api/v1/assets/1"),
        ("GET", "/api/v1/no/such/path"),
    ):
        answer = http.request(method, path, headers=headers)
        assert answer.status_code == 401, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "fpdb key add" in answer.json()["remedy"]
    for path in ("/api/v1/search", "/upload", "/predict"):
        assert http.post(path, files=sent(recordings.clip), headers=headers).status_code == 401
    for path in ("/", "/api/v1/health", "/api/v1/health/live", "/openapi.json"):
        assert http.get(path, headers=headers).status_code == 200


def test_a_body_without_a_key_is_not_even_read(http: httpx.Client) -> None:
    def body() -> Iterator[bytes]:
        yield b"x"
        raise AssertionError("the body was asked for")

    with pytest.raises((AssertionError, httpx.WriteError)):
        # The client cannot know that the answer is there already; the service has sent it.
        http.post("/api/v1/search", content=body())
    assert http.get("/api/v1/health/live").status_code == 200


@pytest.mark.parametrize("carry", ["bearer", "header", "cookie"])
def test_a_key_may_be_carried_three_ways(
    http: httpx.Client, keys: dict[str, dict[str, str]], carry: str
) -> None:
    secret = keys["reader"]["Authorization"].removeprefix("Bearer ")
    headers = {
        "bearer": {"Authorization": f"bearer {secret}"},
        "header": {"X-API-Key": secret},
        "cookie": {"Cookie": f"other=1; fpdb_key={secret}"},
    }[carry]
    assert http.get("/api/v1/assets", headers=headers).status_code == 200


def test_a_key_of_one_collection_opens_that_alone(
    http: httpx.Client, keys: dict[str, dict[str, str]], stored: list[int], recordings: Recordings
) -> None:
    mine = keys["mine"]
    listed = http.get("/api/v1/assets", headers=mine).json()
    assert [asset["asset_id"] for asset in listed["assets"]] == [stored[0]]
    assert http.get(f"/api/v1/assets/{stored[0]}", headers=mine).status_code == 200
    for path in (
        f"/api/v1/assets/{stored[1]}",
        f"/api/v1/songs/{stored[1]}",
        f"/api/v1/similar/{stored[1]}",
        f"/api/v1/assets/{stored[1]}/audio",
    ):
        assert http.get(path, headers=mine).status_code == 404, path
    for path in ("/api/v1/assets", "/api/v1/songs"):
        answer = http.get(path, params={"collection": "theirs"}, headers=mine)
        assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden collection")
        assert "theirs" not in answer.json()["remedy"]
    assert http.get("/metrics", headers=mine).status_code == 403
    stats = http.get("/api/v1/stats", headers=mine).json()
    assert (stats["assets"], stats["collections"]) == ({"ready": 1}, ["mine"])
    assert stats["index_bytes"] is stats["jobs_waiting"] is None
    # The clip is of a recording in `mine`.
    found = http.post("/predict", files=sent(recordings.clip), headers=mine).json()
    assert found["song_id"] == stored[0]
    other = http.post("/predict", files=sent(recordings.clip), headers=keys["theirs"]).json()
    assert not other["found"]
    for asset in http.get(f"/api/v1/similar/{stored[0]}", headers=mine).json():
        assert asset["asset_id"] == stored[0]


def test_titles_of_works_elsewhere_are_not_told(
    http: httpx.Client,
    keys: dict[str, dict[str, str]],
    stored: list[int],
    recordings: Recordings,
    database: Connection,
) -> None:
    with_work = "UPDATE fpdb.asset SET version_of = %s WHERE asset_id = %s"
    database.execute(with_work, (stored[1], stored[0]))
    for name, title in (("mine", None), ("reader", recordings.titles[1])):
        found = http.post("/api/v1/search", files=sent(recordings.clip), headers=keys[name]).json()
        assert found["matches"][0]["work_title"] == title
    database.execute(with_work, (None, stored[0]))


def test_a_key_that_reads_does_not_write(
    http: httpx.Client, keys: dict[str, dict[str, str]], stored: list[int], recordings: Recordings
) -> None:
    path = f"/api/v1/assets/{stored[0]}"
    for key in ("reader", "mine"):
        for answer in (
            http.delete(path, headers=keys[key]),
            http.patch(path, json={"title": "x"}, headers=keys[key]),
            http.post(f"{path}/reprocess", headers=keys[key]),
            http.post("/api/v1/assets", files=sent(recordings.clip), headers=keys[key]),
            http.post("/upload", files=sent(recordings.clip), headers=keys[key]),
        ):
            assert (answer.status_code, answer.json()["title"]) == (403, "Read only key")


def test_a_key_writes_into_its_collection_only(
    http: httpx.Client, keys: dict[str, dict[str, str]], stored: list[int], recordings: Recordings
) -> None:
    theirs = keys["theirs"]
    assert http.delete(f"/api/v1/assets/{stored[0]}", headers=theirs).status_code == 404
    foreign = http.post(
        "/api/v1/assets", files=sent(recordings.clip), data={"collection": "mine"}, headers=theirs
    )
    assert foreign.status_code == 403
    own = http.post("/api/v1/assets", files=sent(recordings.clip), headers=theirs)
    assert (own.status_code, own.json()["collection"]) == (201, "theirs")
    path = f"/api/v1/assets/{own.json()['asset_id']}"
    assert http.patch(path, json={"collection": "mine"}, headers=theirs).status_code == 403
    work = http.patch(path, json={"version_of": stored[0]}, headers=theirs)
    assert work.status_code == 404
    assert http.delete(path, headers=theirs).status_code == 204


def test_the_page_keeps_its_key_where_no_script_reads_it(
    http: httpx.Client, keys: dict[str, dict[str, str]]
) -> None:
    assert http.get("/api/v1/session").json()["needs_key"]
    assert http.post("/api/v1/session", json={"key": "wrong"}).status_code == 401
    secret = keys["mine"]["Authorization"].removeprefix("Bearer ")
    opened = http.post("/api/v1/session", json={"key": secret})
    assert opened.json() == {
        "needs_key": False,
        "has_key": True,
        "name": "mine",
        "collection": "mine",
        "may_write": False,
    }
    cookie = opened.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert http.get("/api/v1/assets").json()["total"] == 1
    assert http.delete("/api/v1/session").status_code == 204
    assert http.get("/api/v1/assets").status_code == 401


def test_pages_of_other_sites_may_not_write(
    http: httpx.Client, keys: dict[str, dict[str, str]], recordings: Recordings
) -> None:
    foreign = keys["writer"] | {"Origin": "https://evil.example"}
    answer = http.post("/api/v1/search", files=sent(recordings.clip), headers=foreign)
    assert (answer.status_code, answer.json()["title"]) == (403, "Foreign origin")
    assert "access-control-allow-origin" not in answer.headers
    own = keys["writer"] | {"Origin": str(http.base_url).rstrip("/")}
    answer = http.post("/api/v1/search", files=sent(recordings.clip), headers=own)
    assert answer.status_code == 200


@pytest.mark.parametrize("headers", [{"Host": "["}, {"Origin": "http://["}])
def test_names_that_are_none_are_refused(http: httpx.Client, headers: dict[str, str]) -> None:
    answer = http.post("/api/v1/search", headers=headers)
    assert answer.status_code in {401, 403}
    assert answer.headers["content-type"] == "application/problem+json"


def test_sites_and_names_that_are_allowed(
    library_url: str, keyed: object, keys: dict[str, dict[str, str]]
) -> None:
    options = ServiceOptions(cors_origins=("https://app.example",), allowed_hosts=("127.0.0.1",))
    with served(library_url, options) as base, httpx.Client(base_url=base) as http:
        asked = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        preflight = http.options("/api/v1/search", headers=asked)
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        answer = http.get(
            "/api/v1/assets", headers=keys["reader"] | {"Origin": "https://app.example"}
        )
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        rebound = http.get("/api/v1/health", headers={"Host": "evil.example"})
        assert (rebound.status_code, rebound.json()["title"]) == (400, "Unknown host")


def test_a_revoked_key_opens_nothing_and_the_door_stays_shut(
    http: httpx.Client, database: Connection
) -> None:
    key = make_key(database, "passing")
    assert http.get("/api/v1/assets", headers=key).status_code == 200
    revoke_key(database, "passing")
    assert http.get("/api/v1/assets", headers=key).status_code == 401
    stored = database.execute("SELECT name, encode(digest, 'hex') FROM fpdb.api_key").fetchall()
    secret = key["Authorization"].removeprefix("Bearer ")
    assert all(secret not in (name, digest) for name, digest in stored)
    assert {row["name"] for row in list_keys(database)} >= {"passing", "reader"}
    with database.transaction(force_rollback=True):
        database.execute("UPDATE fpdb.api_key SET revoked_at = now()")
    assert http.get("/api/v1/assets").status_code == 401
