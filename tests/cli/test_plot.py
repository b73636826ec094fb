"""plot: a picture of why a clip matched, its exit status, and what it refuses."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb import audio, degradation
from fingerprintdb.encoding import encode

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


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of a PNG in pixels."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", head[16:])


def test_it_draws_into_the_working_directory(fpdb, stocked_url, clips, tmp_path):
    run = fpdb(stocked_url, "plot", clips / "known.wav", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "known.plot.png: match: Harbour at Six — The Constellations\n"
    assert [path.name for path in tmp_path.iterdir()] == ["known.plot.png"]
    assert size_of(tmp_path / "known.plot.png") == (1560, 1690)
    assert 100_000 < (tmp_path / "known.plot.png").stat().st_size < 4_000_000


def test_a_name_that_is_not_utf_8_is_drawn(fpdb, stocked_url, clips, tmp_path):
    clip = tmp_path / os.fsdecode(b"r\xe9sum\xe9.wav")
    clip.write_bytes((clips / "known.wav").read_bytes())
    run = fpdb(stocked_url, "plot", clip, "-o", tmp_path / "why.png")
    assert run.returncode == 0, run.stderr


def test_a_clip_that_is_not_there_is_drawn_on_the_likeliest(fpdb, stocked_url, clips, tmp_path):
    run = fpdb(stocked_url, "plot", clips / "unknown.wav", "--output", tmp_path / "why.png")
    assert run.returncode == 1
    assert run.stdout.startswith(f"{tmp_path / 'why.png'}: no match; the likeliest is ")
    assert size_of(tmp_path / "why.png") == (1560, 1690)


def test_an_asset_can_be_named(fpdb, stocked_url, clips, tmp_path, json_lines):
    assets = {a["title"]: a["asset_id"] for a in json_lines(fpdb(stocked_url, "list", "--json"))}
    right = assets.pop("Harbour at Six")
    known, path = clips / "known.wav", tmp_path / "why.png"
    run = fpdb(stocked_url, "plot", known, "--asset", right, "-o", path)
    assert (run.returncode, "match: Harbour at Six" in run.stdout) == (0, True)
    title, other = assets.popitem()
    run = fpdb(stocked_url, "plot", known, "--asset", other, "-o", path)
    assert (run.returncode, f"no match with {title}" in run.stdout) == (1, True)


def test_standard_input_is_a_clip(fpdb, stocked_url, clips, tmp_path):
    stdin = (clips / "known.wav").read_bytes()
    run = fpdb(stocked_url, "plot", "-", "-o", "why.svg", stdin=stdin, cwd=tmp_path)
    assert (run.returncode, run.stdout[:8]) == (0, "why.svg:")
    assert "<svg" in (tmp_path / "why.svg").read_text("utf-8")


def test_what_cannot_be_done_is_said(fpdb, stocked_url, clips, tmp_path):
    known = clips / "known.wav"
    for arguments, message in (
        ((known, "--asset", "999"), "error: there is no asset 999 — `fpdb list`"),
        ((known, "--output", "why.gif"), "error: why.gif has no suffix of a picture — use one of"),
        ((known, "--output", "why"), "error: why has no suffix of a picture"),
        (("absent.wav",), "error: absent.wav does not exist"),
        ((known, "--output", "absent/why.png"), "error: there is no folder absent — make it"),
    ):
        run = fpdb(stocked_url, "plot", *arguments, cwd=tmp_path)
        assert (run.returncode, run.stdout) == (2, "")
        assert message in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_has_nothing_to_draw(fpdb, library_url, clips, tmp_path, empty_library):
    run = fpdb(empty_library, "plot", clips / "known.wav", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (1, "")
    assert "there is nothing to draw" in run.stderr


@pytest.fixture
def empty_library(migrated_url: str) -> str:
    """A database with a model and no recording."""
    return migrated_url
