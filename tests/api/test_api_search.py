"""Searches over HTTP: what is found, how it is told, and what is refused."""

import httpx
import pytest
from service import Recordings, sent

from fingerprintdb.api.options import MEBIBYTE


def test_a_clip_is_found_where_it_lies(
    http: httpx.Client, recordings: Recordings, stored: list[int]
) -> None:
    answer = http.post("/api/v1/search", files=sent(recordings.clip))
    assert answer.status_code == 200
    found = answer.json()
    assert found["found"]
    assert found["verdict"] == "match"
    assert found["processing_time_ms"] > 0
    assert found["is_whole"]
    best = found["matches"][0]
    assert best["asset_id"] == stored[0]
    assert best["title"] == recordings.titles[0]
    assert best["confidence"] >= best["threshold"]
    assert best["offset_sec"] == pytest.approx(6.0, abs=0.1)
    assert best["reference_start_sec"] == pytest.approx(
        best["query_start_sec"] + best["offset_sec"], abs=0.1
    )
    assert best["evidence"]["aligned_landmarks"] > best["evidence"]["chance_landmarks"]
    assert found["explanation"] is None


def test_the_evidence_is_told_where_it_is_asked_for(
    http: httpx.Client, recordings: Recordings, stored: list[int]
) -> None:
    answer = http.post("/api/v1/search", params={"explain": True}, files=sent(recordings.clip))
    why = answer.json()["explanation"]
    assert why["asset_id"] == stored[0]
    assert why["peak_votes"] == max(why["histogram_votes"])
    assert why["peak_votes"] > why["chance_votes"]
    assert why["peak_offset_sec"] == pytest.approx(6.0, abs=0.1)
    assert len(why["shared"]) == len(why["reference_peaks"])
    assert sum(why["shared"]) > len(why["shared"]) / 2
    assert all(0 <= sec <= why["duration_sec"] for sec, _ in why["clip_peaks"])
    assert why["landmarks"]


def test_predict_says_the_same_in_short(
    http: httpx.Client, recordings: Recordings, stored: list[int]
) -> None:
    found = http.post("/predict", files=sent(recordings.clip)).json()
    assert found["found"]
    assert (found["song_id"], found["title"]) == (stored[0], recordings.titles[0])
    assert found["offset_sec"] == pytest.approx(6.0, abs=0.1)


def test_what_is_not_there_is_not_found(http: httpx.Client, recordings: Recordings) -> None:
    answer = http.post(
        "/api/v1/search",
        params={"content_type": "speech", "explain": True},
        files=sent(recordings.clip),
    )
    found = answer.json()
    assert answer.status_code == 200
    assert (found["found"], found["verdict"], found["matches"]) == (False, "no match", [])
    short = http.post(
        "/predict",
        params={"content_type": "speech"},
        files=sent(recordings.clip),
    ).json()
    assert (short["found"], short["song_id"]) == (False, None)


def test_what_sounds_alike(http: httpx.Client, stored: list[int]) -> None:
    answer = http.get(f"/api/v1/similar/{stored[0]}", params={"k": 2})
    assert answer.status_code == 200
    assert {asset["asset_id"] for asset in answer.json()} <= set(stored[1:])
    assert answer.json()


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, str]:
    """Return the problem document of an answer that must be this one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, str] = answer.json()
    assert told["type"] == f"urn:fingerprintdb:problem:{kind}"
    assert told["status"] == status
    assert told["detail"]
    for leak in ("/tmp", "Traceback", ".py", "site-packages", "SELECT"):
        assert leak not in answer.text
    return told


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("junk.mp3", b"no sound at all" * 999, "unusable-audio"),
        ("empty.wav", b"", "unusable-audio"),
        ("half.flac", b"fLaC\0\0\0\x22", "unusable-audio"),
    ],
)
def test_junk_is_told_so_and_the_next_request_is_served(
    http: httpx.Client, recordings: Recordings, name: str, content: bytes, kind: str
) -> None:
    for path in ("/api/v1/search", "/predict"):
        told = problem(http.post(path, files={"file": (name, content)}), 422, kind)
        assert told["detail"].startswith(name)
        assert told["remedy"]
    answer = http.post("/api/v1/search", files=sent(recordings.clip))
    assert answer.json()["found"]


def test_silence_is_told_so(http: httpx.Client, recordings: Recordings) -> None:
    answer = http.post("/api/v1/search", files=sent(recordings.silence))
    assert "silen" in problem(answer, 422, "unusable-audio")["detail"]


def test_names_of_files_show_no_folders(http: httpx.Client) -> None:
    answer = http.post("/predict", files={"file": ("../../etc/secret.wav", b"x")})
    assert problem(answer, 422, "unusable-audio")["detail"].startswith("secret.wav: ")


def test_what_is_too_large_is_refused(http: httpx.Client, recordings: Recordings) -> None:
    for size_bytes in (4 * MEBIBYTE + 1, 6 * MEBIBYTE):
        answer = http.post("/api/v1/search", files={"file": bytes(size_bytes)})
        problem(answer, 413, "too-large")
    answer = http.post("/api/v1/search", files=sent(recordings.clip))
    assert answer.json()["found"]


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"collection": "nowhere"}, "there is no collection 'nowhere'"),
        ({"content_type": "noise"}, "there is no content type 'noise'"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"min_confidence": 2}, "less than or equal to 1"),
        ({"metadata": "[1]"}, "metadata is not a JSON object"),
        ({"metadata": "[" * 5_000}, "metadata is not a JSON object"),
    ],
)
def test_what_cannot_be_asked_is_told(
    http: httpx.Client, recordings: Recordings, params: dict[str, str | int], says: str
) -> None:
    answer = http.post("/api/v1/search", params=params, files=sent(recordings.clip))
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_search_without_a_clip_names_the_field(http: httpx.Client) -> None:
    told = problem(http.post("/api/v1/search"), 422, "invalid-request")
    assert "file" in told["detail"]
    assert "input" not in str(told["errors"])


def test_words_need_a_model_that_knows_them(http: httpx.Client) -> None:
    answer = http.get("/api/v1/search/text", params={"q": "rain on a tin roof"})
    assert "fpdb init --model clap" in problem(answer, 409, "unfit-model")["remedy"]


def test_unknown_paths_and_keys(http: httpx.Client) -> None:
    problem(http.get("/api/v1/similar/999999"), 404, "unknown-asset")
    problem(http.get("/api/v1/assets/999999"), 404, "unknown-asset")
    problem(http.get("/api/v1/nothing"), 404, "not-found")
    problem(http.get("/api/v1/search"), 405, "method-not-allowed")
    problem(http.get("/api/v1/assets/99999999999999999999"), 422, "invalid-request")
