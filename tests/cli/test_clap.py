"""A database whose model is CLAP: chosen by init, filled by ingest, missed without harm."""

import shutil

import numpy as np
import psycopg
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_clap import save_model

from fingerprintdb.encoding import encode


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("clap") / "tiny")


def models(url):
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT m.name, m.state, count(e.segment_id) FROM fpdb.model m"
            " LEFT JOIN fpdb.embedding e USING (model_id) GROUP BY 1, 2 ORDER BY 1"
        ).fetchall()


def test_a_folder_becomes_the_model_and_is_missed_without_harm(
    fpdb, empty_url, model, recordings, json_lines, tmp_path
):
    first = fpdb(empty_url, "init", "--model", model)
    assert first.returncode == 0, first.stderr
    assert str(model) in first.stdout

    lines = json_lines(fpdb(empty_url, "ingest", "--json", recordings))
    assert [line["status"] for line in lines] == ["ready"] * 3
    ((name, state, vectors),) = models(empty_url)
    assert (name, state) == (str(model), "active")
    assert vectors >= 3 * 5

    clip, noise = recordings / "two.wav", tmp_path / "noise.wav"
    random = np.random.default_rng(5)
    encode(noise, random.normal(0, 0.1, 48_000 * 6).astype(np.float32), 48_000)
    (answer,) = json_lines(fpdb(empty_url, "identify", "--json", clip))
    assert answer["matches"][0]["uri"] == str(clip)
    # Landmarks and bits are sure of a clean clip; of nothing, vectors are asked as well.
    assert answer["matches"][0]["evidence"]["stage"] == "plain"
    assert "embedding" not in answer["timings_ms"]
    (unknown,) = json_lines(fpdb(empty_url, "identify", "--json", noise))
    assert unknown["matches"] == []
    assert unknown["timings_ms"]["embedding"] > 0

    # Without the weights, landmarks still identify, and what needs them says what is missing.
    away = shutil.move(model, tmp_path / "away")
    assert fpdb(empty_url, "identify", clip).returncode == 0
    gone = fpdb(empty_url, "identify", noise)
    assert gone.returncode == 2
    assert str(model) in gone.stderr
    assert fpdb(empty_url, "identify", "--landmarks-only", noise).returncode == 1
    fpdb(empty_url, "reprocess", "--all")
    assert fpdb(empty_url, "worker", "--once").returncode == 0
    for asset in json_lines(fpdb(empty_url, "list", "--json")):
        (shown,) = json_lines(fpdb(empty_url, "show", "--json", asset["asset_id"]))
        assert (shown["landmark_status"], shown["embedding_status"]) == ("ready", "failed")
        assert str(model) in shown["embedding_error"]
    shutil.move(away, model)

    second = fpdb(empty_url, "init", "--model", "builtin")
    assert second.returncode == 0
    assert fpdb(empty_url, "worker", "--once").returncode == 0
    assert [(name, state) for name, state, _ in models(empty_url)] == [
        (str(model), "retired"),
        ("builtin", "active"),
    ]
    assert json_lines(fpdb(empty_url, "status", "--json"))[0]["assets"] == {"ready": 3}
