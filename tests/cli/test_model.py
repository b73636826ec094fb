"""Models side by side: added, filled by workers beside the active one, compared, switched, gone."""

import psycopg
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from tiny_clap import save_model


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("clap") / "tiny", projection_dim=768)


@pytest.fixture(scope="module")
def url(library_url, fpdb, recordings, other):
    """A library of the built-in model, with another one added."""
    assert fpdb(library_url, "ingest", recordings).returncode == 0
    added = fpdb(library_url, "model", "add", other, "--halfvec")
    assert added.returncode == 0, added.stderr
    assert f"model 2 is {other}" in added.stdout
    assert "768 dimensions" in added.stdout
    return library_url


def rows(fpdb, url, json_lines):
    columns = ("model_id", "state", "dims", "index_type", "is_indexed", "assets", "failed")
    listed = json_lines(fpdb(url, "model", "list", "--json"))
    return [tuple(row[column] for column in columns) for row in listed]


def test_a_model_is_filled_compared_switched_to_and_back(
    url, fpdb, other, recordings, json_lines, tmp_path
):
    clip = recordings / "two.wav"
    assert rows(fpdb, url, json_lines) == [
        (1, "active", 512, "vector", True, 3, 0),
        (2, "retired", 768, "halfvec", False, 0, 0),
    ]
    filled = fpdb(url, "model", "backfill", other)
    assert "3 assets are queued" in filled.stdout
    assert fpdb(url, "worker", "--once").returncode == 0
    assert rows(fpdb, url, json_lines) == [
        (1, "active", 512, "vector", True, 3, 0),
        (2, "shadow", 768, "halfvec", False, 3, 0),
    ]
    # What comes while it is a shadow is made by both.
    copy = tmp_path / "copy.wav"
    copy.write_bytes(clip.read_bytes())
    assert fpdb(url, "ingest", "--collection", "copies", copy).returncode == 0
    assert fpdb(url, "worker", "--once").returncode == 0
    assert [row[5] for row in rows(fpdb, url, json_lines)] == [4, 4]
    with psycopg.connect(url) as connection:
        connection.execute("DELETE FROM fpdb.asset WHERE collection = 'copies'")

    told = fpdb(url, "model", "compare", "2", clip, "--json")
    assert told.returncode == 0, told.stderr
    (compared,) = json_lines(told)
    assert compared["asked"] > 10
    assert 0 <= compared["agreement"] <= 1
    ours, theirs = compared["recall"][1], compared["recall"][0]
    assert (ours["model"], ours["clips"], ours["first"]) == ("builtin", 1, 1.0)
    assert (theirs["model"], theirs["clips"]) == (str(other), 1)

    switched = fpdb(url, "model", "activate", "2")
    assert switched.stdout == f"model {other} is active\n"
    assert [row[1:5] for row in rows(fpdb, url, json_lines)] == [
        ("retired", 512, "vector", True),
        ("active", 768, "halfvec", True),
    ]
    (answer,) = json_lines(fpdb(url, "identify", "--json", clip))
    assert answer["matches"][0]["uri"] == str(clip)
    assert len(json_lines(fpdb(url, "search", "--clip", clip, "--json"))) > 0
    back = fpdb(url, "model", "activate", "builtin")
    assert back.stdout == "model builtin is active\n"
    gone = fpdb(url, "model", "retire", other)
    assert gone.stdout == f"the vectors of model {other} are gone from 3 assets\n"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM fpdb.embedding_2").fetchone() == (0,)


def test_a_shadow_without_its_weights_fails_beside_and_stops_nobody(url, fpdb, other, json_lines):
    assert fpdb(url, "model", "retire", other).returncode == 0
    assert fpdb(url, "model", "backfill", other).returncode == 0
    weights = other / "model.safetensors"
    hidden = weights.rename(other / "hidden")
    try:
        assert fpdb(url, "worker", "--once").returncode == 0
    finally:
        hidden.rename(weights)
    active, shadow = json_lines(fpdb(url, "model", "list", "--json"))
    assert (active["assets"], active["failed"]) == (3, 0)
    assert (shadow["assets"], shadow["failed"]) == (0, 3)
    assert "lacks model.safetensors" in shadow["an_error"]
    assert json_lines(fpdb(url, "status", "--json"))[0]["assets"] == {"ready": 3}
    # Told again, workers try again.
    assert fpdb(url, "model", "backfill", other).returncode == 0
    assert fpdb(url, "worker", "--once").returncode == 0
    assert json_lines(fpdb(url, "model", "list", "--json"))[1]["assets"] == 3


def test_a_model_with_weight_is_asked_as_well(url, fpdb, other, json_lines, tmp_path):
    import numpy as np

    from fingerprintdb.encoding import encode

    told = fpdb(url, "model", "weigh", "2", "music", "0.5")
    assert told.stdout == f"model {other} has weight 0.5 for music\n"
    assert json_lines(fpdb(url, "model", "list", "--json"))[1]["weights"] == {"music": 0.5}
    noise = tmp_path / "noise.wav"
    sound = np.random.default_rng(5).normal(0, 0.1, 48_000 * 6).astype(np.float32)
    encode(noise, sound, 48_000)
    (unknown,) = json_lines(fpdb(url, "identify", "--json", noise))
    assert unknown["matches"] == []
    # Where its weights are not, it is left out, and the rest answers.
    weights = other / "model.safetensors"
    hidden = weights.rename(other / "hidden")
    try:
        alone = fpdb(url, "identify", "--json", noise)
    finally:
        hidden.rename(weights)
    assert alone.returncode == 1
    assert f"clips are not heard by {other}, which has weight" in alone.stderr
    refused = fpdb(url, "model", "weigh", "2", "musik", "0.5")
    assert refused.returncode == 2
    assert "musik" in refused.stderr
    assert fpdb(url, "model", "retire", "2").returncode == 0
    retired = fpdb(url, "model", "weigh", "2", "music", "0.5")
    assert retired.returncode == 2
    assert "is retired, so no clip is heard by it — fill it first" in retired.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("activate", "nonsense"), "no model is 'nonsense'"),
        (("retire", "builtin"), "is the active one"),
        (("backfill", "1"), "is the active one"),
        (("add", "no/such-model"), "are not on this machine"),
        (("compare", "builtin"), "it is the active one"),
        (("weigh", "2", "music", "2"), "Invalid value"),
        (("calibrate", "builtin"), "30 of each are needed"),
    ],
)
def test_what_cannot_be_done_says_why(url, fpdb, arguments, said):
    refused = fpdb(url, "model", *arguments)
    assert refused.returncode == 2
    assert said in refused.stderr
