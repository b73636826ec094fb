"""Health, statistics, measurements, the log, and the document that describes it all."""

import json
import logging

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from service import Recordings, sent, served

from fingerprintdb.cli.logs import _Json
from fingerprintdb.store.database import Connection


def test_health_says_what_is_missing(http: httpx.Client, database: Connection) -> None:
    for path in ("/api/v1/health", "/api/v1/health/ready"):
        told = http.get(path)
        assert told.status_code == 200
        assert told.json()["status"] == "degraded"
        assert (told.json()["database"], told.json()["workers"]) == (True, 0)
    database.execute("INSERT INTO fpdb_queue.procrastinate_workers DEFAULT VALUES")
    try:
        assert http.get("/api/v1/health").json()["status"] == "ready"
    finally:
        database.execute("DELETE FROM fpdb_queue.procrastinate_workers")
    assert http.get("/api/v1/health/live").json() == {"status": "live"}


def test_a_schema_of_another_program_is_not_ready(http: httpx.Client, database: Connection) -> None:
    database.execute("UPDATE fpdb.alembic_version SET version_num = 'other'")
    try:
        told = http.get("/api/v1/health/ready")
        assert (told.status_code, told.json()["status"]) == (503, "unavailable")
        assert told.json()["schema_revision"] == "other"
    finally:
        database.execute("UPDATE fpdb.alembic_version SET version_num = '0008'")


def test_prometheus_reads_the_service_and_the_database(
    http: httpx.Client, recordings: Recordings
) -> None:
    http.post("/api/v1/search", files=sent(recordings.clip))
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert values["fpdb_assets", "ready"] == 3
    assert values["fpdb_workers",] == 0
    assert values["fpdb_queue_age_seconds", "landmark"] == 0
    assert values["fpdb_index_postings", "delta"] > 1000
    assert values["fpdb_search_seconds_count", "match"] >= 1
    assert values["fpdb_search_stage_seconds_count", "plain"] >= 1
    assert values["fpdb_http_requests_total", "/api/v1/search", "200", "POST"] >= 1
    assert not any("created" in name for name, *_ in values)


def test_a_request_is_a_line_of_the_log(
    http: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "fingerprintdb.api.journal"):
        http.get("/api/v1/assets/424242?secret=1")
        http.get("/api/v1/health/live")  # the line comes after the answer, before the next
    record = next(r for r in caplog.records if r.name == "fingerprintdb.api.journal")
    line = json.loads(_Json().format(record))
    assert (line["method"], line["path"], line["status"]) == (
        *("GET", "/api/v1/assets/424242"),
        404,
    )
    assert line["elapsed_ms"] > 0
    assert line["caller"] == "anybody"


def test_what_is_unexpected_is_logged_and_not_told(
    http: httpx.Client, database: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    database.execute("ALTER TABLE fpdb.collection RENAME COLUMN name TO other_name")
    try:
        answer = http.get("/api/v1/stats")
    finally:
        database.execute("ALTER TABLE fpdb.collection RENAME COLUMN other_name TO name")
    assert (answer.status_code, answer.json()["title"]) == (500, "Unexpected")
    assert "column" not in answer.text
    assert any(r.exc_info for r in caplog.records if r.name == "fingerprintdb.api.problem")
    assert http.get("/api/v1/stats").status_code == 200


def test_the_document_has_every_path_with_an_example(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    assert set(document["paths"]) == {
        *("/api/v1/search", "/api/v1/search/text", "/api/v1/similar/{asset_id}", "/predict"),
        *("/api/v1/assets", "/api/v1/assets/{asset_id}", "/api/v1/assets/{asset_id}/audio"),
        *("/api/v1/assets/{asset_id}/reprocess", "/api/v1/songs", "/api/v1/songs/{asset_id}"),
        *("/upload", "/api/v1/stats", "/api/v1/health", "/api/v1/health/live"),
        *("/api/v1/health/ready", "/api/v1/session", "/metrics"),
    }
    schemas = document["components"]["schemas"]
    for name in ("SearchAnswer", "Asset", "Problem", "Prediction", "Song"):
        assert schemas[name]["examples"], name
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            assert described["description"], (method, path)
            assert described["summary"], (method, path)


def test_the_page_asks_no_other_host(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    assert "https://" not in page.text
    assert http.get("/../api/app.py").status_code == 404
    assert http.get("/%2e%2e/app.py").status_code == 404


def test_a_database_without_the_schema_is_told_at_once(
    empty_url: str, admin: psycopg.Connection
) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    with served(empty_url) as base:
        told = httpx.get(f"{base}/api/v1/health/ready")
        assert (told.status_code, told.json()["schema_revision"]) == (503, None)
