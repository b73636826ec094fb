"""identify: answers for people and programs, and its exit status."""

import re
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb import audio, degradation
from fingerprintdb.encoding import encode

MATCH_KEYS = [
    *("asset_id", "uri", "title", "artist", "work_id", "work_title", "version"),
    *("confidence", "threshold"),
    *("score", "offset_sec", "query_start_sec", "query_end_sec", "reference_start_sec"),
    *("reference_end_sec", "agreement", "excess", "spread", "evidence"),
]
KEYS = [
    *("clip", "found", "verdict", "matches", "stages"),
    *("processing_time_ms", "timings_ms", "error"),
]
START_SEC = 5.0


@pytest.fixture(scope="module")
def stocked_url(fpdb, library_url, recordings) -> str:
    assert fpdb(library_url, "ingest", recordings).returncode == 0
    return library_url


@pytest.fixture(scope="module")
def clips(tmp_path_factory, recordings) -> Path:
    """known.wav: 8 noisy seconds of one.flac; unknown.wav: noise that is in no recording."""
    folder = tmp_path_factory.mktemp("clips")
    samples = np.concatenate(list(audio.decode(recordings / "below" / "one.flac", 22_050)))
    cut = samples[int(START_SEC * 22_050) :][: 8 * 22_050]
    encode(folder / "known.wav", 0.7 * degradation.add_pink_noise(cut, 10.0), 22_050)
    other = np.random.default_rng(1).uniform(-0.3, 0.3, 8 * 22_050).astype(np.float32)
    encode(folder / "unknown.wav", other, 22_050)
    return folder


def test_json_is_one_line_a_clip_in_order(fpdb, stocked_url, clips, json_lines):
    given = [str(clips / "known.wav"), "absent.wav", str(clips / "unknown.wav"), "-"]
    stdin = (clips / "known.wav").read_bytes()
    run = fpdb(stocked_url, "identify", "--json", *given, stdin=stdin)
    assert (run.returncode, run.stderr) == (2, "")
    lines = json_lines(run)
    assert [line["clip"] for line in lines] == given
    assert all(list(line) == KEYS for line in lines)
    assert [line["found"] for line in lines] == [True, False, False, True]

    known, absent, unknown, piped = lines
    best = known["matches"][0]
    assert list(best) == MATCH_KEYS
    assert best["title"] == "Harbour at Six"
    assert best["offset_sec"] == pytest.approx(START_SEC, abs=0.1)
    assert best["confidence"] > 0.9
    assert known["error"] is None
    assert known["processing_time_ms"] > 0
    assert {"decode", "landmarks", "sub_fingerprints", "match"} <= known["timings_ms"].keys()
    assert [stage["name"] for stage in known["stages"]] == ["plain"]
    assert known["verdict"] == "match"
    assert unknown["verdict"] == "no match"
    assert [stage["name"] for stage in unknown["stages"]] == ["plain", "wide", "warped"]
    assert "embedding" in unknown["timings_ms"]
    assert piped["matches"][0]["asset_id"] == best["asset_id"]
    assert absent["matches"] == []
    assert absent["error"].startswith("absent.wav does not exist — ")
    assert (unknown["matches"], unknown["error"]) == ([], None)


def test_exit_status_and_words_for_people(fpdb, stocked_url, clips):
    found = fpdb(stocked_url, "identify", clips / "known.wav", "-k", "1")
    assert (found.returncode, found.stderr) == (0, "")
    heading, columns, row = found.stdout.splitlines()
    assert heading.startswith(str(clips / "known.wav"))
    assert columns == "asset\trecording\tconfidence\tclip\trecording at\tevidence"
    assert "Harbour at Six — The Constellations" in row
    # Landmarks agree from the first second of the eight to the last.
    assert re.search("0:05–0:1[23]", row)

    lost = fpdb(stocked_url, "identify", clips / "known.wav", clips / "unknown.wav")
    assert (lost.returncode, lost.stderr) == (1, "")
    assert "unknown.wav" in lost.stdout.splitlines()[-1]
    assert lost.stdout.endswith(": no match\n")


def test_landmarks_alone_and_a_scope(fpdb, stocked_url, clips, json_lines):
    clip = clips / "known.wav"
    scope = ("--content-type", "speech", "--landmarks-only")
    run = fpdb(stocked_url, "identify", clip, "--json", *scope)
    assert (run.returncode, run.stderr) == (1, "")
    assert "embedding" not in json_lines(run)[0]["timings_ms"]
    run = fpdb(stocked_url, "identify", clip, "--collection", "nowhere")
    assert run.returncode == 2
    assert "there is no collection 'nowhere' — there are default" in run.stderr


def test_empty_standard_input_is_an_error(fpdb, stocked_url):
    run = fpdb(stocked_url, "identify", "-")
    assert run.returncode == 2
    assert "is empty" in run.stderr


def test_a_separator_is_asked_for_vectors_only(fpdb, stocked_url, clips, json_lines):
    pytest.importorskip("librosa")
    given = [clips / "known.wav", clips / "unknown.wav"]
    run = fpdb(stocked_url, "identify", "--json", "--separator", "repet-sim", *given)
    assert (run.returncode, run.stderr) == (1, "")
    known, unknown = json_lines(run)
    # Landmarks and bits are sure of the first, so no vectors are made of it.
    assert known["found"]
    assert "separation" not in known["timings_ms"]
    assert unknown["timings_ms"]["separation"] > 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--separator", "vocals"], "there is no separator 'vocals'; installed: repet-sim"),
        (["--separator", "repet-sim", "--landmarks-only"], "--landmarks-only leaves out"),
    ],
)
def test_a_separator_that_is_of_no_use_is_an_error(fpdb, stocked_url, clips, options, told):
    run = fpdb(stocked_url, "identify", *options, clips / "known.wav", COLUMNS="200")
    assert run.returncode == 2
    assert told in run.stderr
    assert run.stdout == ""
