"""Searches by sentence, clip and segment, through the command and through a worker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from library import Library

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_clap import save_model, save_tokenizer

from fingerprintdb.embedding.checkpoint import find
from fingerprintdb.embedding.clap import ClapEmbedder
from fingerprintdb.store.database import connect


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("clap") / "tiny")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def stocked(fpdb: Callable[..., Any], library_url: str, model: Path, recordings: Path) -> str:
    """A database that knows words, with three recordings; the first is in a collection alone."""
    assert fpdb(library_url, "init", "--model", model).returncode == 0
    assert fpdb(library_url, "ingest", recordings).returncode == 0
    with psycopg.connect(library_url, autocommit=True) as connection:
        connection.execute("INSERT INTO fpdb.collection (name) VALUES ('apart')")
        connection.execute(
            "UPDATE fpdb.asset SET collection = 'apart', metadata = '{\"mood\": \"calm\"}'"
            " WHERE asset_id = (SELECT min(asset_id) FROM fpdb.asset)"
        )
    return library_url


def test_a_sentence_finds_what_its_vector_is_near_to(
    fpdb: Callable[..., Any], json_lines: Callable[..., Any], stocked: str, model: Path
) -> None:
    found = fpdb(stocked, "search", "rain on a tin roof", "--json", "-k", 3)
    assert found.returncode == 0, found.stderr
    rows = json_lines(found)
    similarities = [row["similarity"] for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    # The nearest vector is in the first moment.
    (vector,) = ClapEmbedder(find(str(model))).embed_text(["rain on a tin roof"])
    with connect(stocked) as connection:
        nearest = Library(connection).names(
            "SELECT e.asset_id, s.start_time_sec, e.embedding FROM fpdb.embedding e"
            " JOIN fpdb.segment s USING (segment_id) WHERE e.model_id = fpdb.active_model()"
        )
    best = max(nearest, key=lambda row: float(np.dot(row["embedding"].to_numpy(), vector)))
    assert rows[0]["asset_id"] == best["asset_id"]
    assert rows[0]["start_sec"] <= best["start_time_sec"] < rows[0]["end_sec"]
    assert rows[0]["similarity"] == pytest.approx(
        float(np.dot(best["embedding"].to_numpy(), vector)), abs=1e-4
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--collection", "apart"], "one"),
        (["--metadata", '{"mood": "calm"}'], "one"),
        (["--min-duration", "17"], "none"),
        (["--max-duration", "17"], "all"),
        (["--content-type", "music"], "all"),
        (["--content-type", "speech"], "none"),
    ],
)
def test_filters(
    fpdb: Callable[..., Any],
    json_lines: Callable[..., Any],
    stocked: str,
    options: list[str],
    expected: str,
) -> None:
    found = fpdb(stocked, "search", "rain", "--json", *options)
    assets = {row["asset_id"] for row in json_lines(found)}
    assert len(assets) == {"one": 1, "none": 0, "all": 3}[expected]
    assert found.returncode == (0 if assets else 1)


def test_a_clip_or_a_segment_is_an_example(
    fpdb: Callable[..., Any], json_lines: Callable[..., Any], stocked: str, recordings: Path
) -> None:
    by_clip = json_lines(fpdb(stocked, "search", "--clip", recordings / "two.wav", "--json"))
    assert by_clip[0]["uri"] == str(recordings / "two.wav")
    with connect(stocked) as connection:
        segment_id, asset_id = connection.execute(
            "SELECT segment_id, asset_id FROM fpdb.segment ORDER BY 1 LIMIT 1"
        ).fetchone() or (0, 0)
    by_segment = json_lines(fpdb(stocked, "search", "--segment", segment_id, "--json"))
    assert by_segment
    assert asset_id not in {row["asset_id"] for row in by_segment}
    shown = fpdb(stocked, "search", "--segment", segment_id)
    assert "similarity" in shown.stdout


def test_a_clip_may_be_separated(
    fpdb: Callable[..., Any], json_lines: Callable[..., Any], stocked: str, recordings: Path
) -> None:
    pytest.importorskip("librosa")
    clip = ("search", "--clip", recordings / "two.wav", "--json")
    plain = json_lines(fpdb(stocked, *clip))
    separated = fpdb(stocked, *clip, "--separator", "repet-sim")
    assert separated.returncode == 0, separated.stderr
    assert [row["similarity"] for row in json_lines(separated)] != [
        row["similarity"] for row in plain
    ]
    unknown = fpdb(stocked, *clip, "--separator", "vocals")
    assert unknown.returncode == 2
    assert "there is no separator 'vocals'; installed: repet-sim" in unknown.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "one of TEXT, --clip and --segment"),
        (["rain", "--segment", "1"], "one of TEXT, --clip and --segment"),
        (["  "], "the text is empty"),
        (["rain", "--metadata", "[1]"], "metadata is a JSON object"),
        (["rain", "--collection", "nowhere"], "nowhere"),
        (["--segment", "999999999"], "there is no segment"),
        (["--clip", "gone.wav"], "gone.wav"),
        (["rain", "--separator", "repet-sim"], "--separator is for a --clip"),
    ],
)
def test_wrong_questions(
    fpdb: Callable[..., Any], stocked: str, arguments: list[str], told: str
) -> None:
    done = fpdb(stocked, "search", *arguments, COLUMNS="200")
    assert done.returncode == 2
    assert told in done.stderr


def test_a_sentence_from_sql_is_answered_by_a_worker(
    fpdb: Callable[..., Any], json_lines: Callable[..., Any], stocked: str
) -> None:
    with connect(stocked) as connection:
        library = Library(connection)
        query_id = library.value("SELECT fpdb.query('rain on a tin roof', 3)")
        apart = library.value("SELECT fpdb.query('rain', collection => 'apart')")
        nowhere = library.value("SELECT fpdb.query('rain', collection => 'nowhere')")
        none = library.value("SELECT fpdb.query('rain', min_duration_sec => 1000)")
        fpdb(stocked, "worker", "--once")
        rows = library.names(
            "SELECT asset_id, start_sec, end_sec, similarity FROM fpdb.query_moment"
            " WHERE query_id = %s ORDER BY rank",
            query_id,
        )
        found = json_lines(fpdb(stocked, "search", "rain on a tin roof", "--json", "-k", 3))
        assert rows == [{name: row[name] for name in rows[0]} for row in found]
        assert library.rows(
            "SELECT q.query_id, q.status, q.found, count(DISTINCT m.asset_id) FROM fpdb.query q"
            " LEFT JOIN fpdb.query_moment m USING (query_id) WHERE query_id <> %s GROUP BY 1"
            " ORDER BY 1",
            query_id,
        ) == [(apart, "ready", True, 1), (nowhere, "failed", None, 0), (none, "ready", False, 0)]
        for values in ("('x', 'clip.wav')", "(NULL, NULL)"):
            with pytest.raises(psycopg.errors.CheckViolation):
                connection.execute(f"INSERT INTO fpdb.query (text, uri) VALUES {values}".encode())


def test_a_model_without_words_says_so(fpdb: Callable[..., Any], migrated_url: str) -> None:
    done = fpdb(migrated_url, "search", "rain")
    assert done.returncode == 2
    assert "knows no words" in done.stderr
    assert "fpdb init --model clap" in done.stderr
    with connect(migrated_url) as connection:
        library = Library(connection)
        query_id = library.value("SELECT fpdb.query('rain')")
        fpdb(migrated_url, "worker", "--once")
        ((status, error),) = library.rows(
            "SELECT status, error FROM fpdb.query WHERE query_id = %s", query_id
        )
        assert status == "failed"
        assert "knows no words" in error


def test_json_is_plain(fpdb: Callable[..., Any], stocked: str) -> None:
    for line in fpdb(stocked, "search", "rain", "--json").stdout.splitlines():
        assert set(json.loads(line)) == {
            "asset_id", "uri", "title", "artist", "start_sec", "end_sec", "similarity",
        }  # fmt: skip
