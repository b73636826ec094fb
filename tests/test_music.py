"""The main job on real music, where there is some: in FPDB_MUSIC_DIR, or beside the checkout."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from fingerprintdb.audio import decode
from fingerprintdb.degradation import add_pink_noise
from fingerprintdb.encoding import encode
from fingerprintdb.extractor import Extractor
from fingerprintdb.identification import identify
from fingerprintdb.pipeline import ingest
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Scope

FOLDER = Path(
    os.environ.get("FPDB_MUSIC_DIR", Path(__file__).parents[1].parent / "shared" / "audio")
)
PIECES = sorted(FOLDER.glob("*.ogg"), key=lambda path: zlib.crc32(path.stem.encode()))[:8]
RATE_HZ = 22_050

pytestmark = pytest.mark.skipif(len(PIECES) < 8, reason="no real music here")


def test_recordings_are_found_and_strangers_are_not(connection: Connection, tmp_path: Path) -> None:
    known, strangers = PIECES[:5], PIECES[5:]
    extractor = Extractor()
    keys = {path: ingest(connection, extractor, str(path)).asset_id for path in known}
    for path in PIECES:
        samples = np.concatenate(list(decode(path, RATE_HZ)))[20 * RATE_HZ : 30 * RATE_HZ]
        for name, clip in (("clean", samples), ("noisy", add_pink_noise(samples, 5, seed=1))):
            encode(tmp_path / "clip.wav", clip / max(1, np.abs(clip).max()), RATE_HZ)
            found = identify(connection, extractor, Scope(), uri=str(tmp_path / "clip.wav"))
            if path in strangers:
                assert found.answer.matches == [], f"{path.stem}, {name}"
                continue
            best = found.answer.matches[0]
            assert best.asset_id == keys[path], f"{path.stem}, {name}"
            assert best.offset_sec == pytest.approx(20, abs=0.1)
            assert best.confidence > 0.9
