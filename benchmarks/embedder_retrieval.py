"""Measures how often an embedder finds the recording that a noisy five-second clip comes from.

`python -m benchmarks.embedder_retrieval MUSIC_DIR [--model NAME] [--json]`

Every piece below MUSIC_DIR is stored as five-second windows every 2.5 s of its first minute; ten
clips of each, from random places, ask for it, and the answer is the recording of the most similar
window. All pieces are candidates, and the clips are reported in two halves by a hash of the
piece's path: the built-in embedder was chosen on one and is to be judged on the other.

"same audio" counts, beside the right answers, those where the recording that was named holds the
clip's own samples (normalised cross-correlation of at least 0.5): pieces exist in two versions.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.shared_audio import holds
from fingerprintdb.audio import AudioError, decode
from fingerprintdb.degradation import add_pink_noise
from fingerprintdb.embedding import Embedder, load
from fingerprintdb.segments import Segment, cut

Samples = NDArray[np.float32]

DURATION_SEC, HOP_SEC, STORED_SEC = 5.0, 2.5, 60.0
CLIPS_PER_PIECE = 10
SUFFIXES = {".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}
CONDITIONS = ("clean", "pink noise 10 dB", "20 dB quieter")


class Clip(NamedTuple):
    """Five seconds from a random place of a piece."""

    piece: int
    samples: Samples


def read(folder: Path, rate_hz: int) -> tuple[list[Path], list[Samples]]:
    paths, pieces = [], []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        try:
            pieces.append(np.concatenate(list(decode(path, rate_hz, max_duration_sec=STORED_SEC))))
        except AudioError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
        else:
            paths.append(path)
    return paths, pieces


def draw(pieces: list[Samples], rate_hz: int, rng: np.random.Generator) -> Iterator[Clip]:
    length = round(DURATION_SEC * rate_hz)
    for number, piece in enumerate(pieces):
        if piece.size < length:
            continue
        for start in rng.integers(0, piece.size - length, CLIPS_PER_PIECE, endpoint=True):
            samples = piece[start : start + length]
            if not Segment(0, 0.0, DURATION_SEC, samples).is_silent:
                yield Clip(number, samples)


def disturb(clip: Samples, condition: str, seed: int) -> Samples:
    if condition == "20 dB quieter":
        return np.multiply(clip, 0.1, dtype=np.float32)
    return clip if condition == "clean" else add_pink_noise(clip, 10.0, seed)


def measure(embedder: Embedder, folder: Path, seed: int) -> dict[str, Any]:
    rate_hz = embedder.sample_rate_hz
    rng = np.random.default_rng(seed)
    paths, pieces = read(folder, rate_hz)
    clips = list(draw(pieces, rate_hz, rng))

    stored, owner, spent_sec = [], [], 0.0
    for number, piece in enumerate(pieces):
        windows = [
            segment.samples
            for segment in cut([piece], rate_hz, duration_sec=DURATION_SEC, hop_sec=HOP_SEC)
            if not segment.is_silent
        ]
        started_sec = time.process_time()
        stored.append(embedder.embed_audio(windows))
        spent_sec += time.process_time() - started_sec
        owner += [number] * len(windows)
    index, owners = np.concatenate(stored), np.array(owner)

    asked = np.array([clip.piece for clip in clips])
    names = ["__".join(path.relative_to(folder).with_suffix("").parts) for path in paths]
    reports = np.array([hashlib.sha256(name.encode()).digest()[0] % 2 == 1 for name in names])
    reporting = reports[asked]
    rows = []
    for condition in CONDITIONS:
        heard = [disturb(clip.samples, condition, n) for n, clip in enumerate(clips)]
        similarity = embedder.embed_audio(heard) @ index.T
        right = np.where(owners == asked[:, np.newaxis], similarity, -1.0).max(axis=1)
        wrong = np.where(owners == asked[:, np.newaxis], -1.0, similarity).max(axis=1)
        named = owners[similarity.argmax(axis=1)]
        found = named == asked
        same = found.copy()
        for row in np.flatnonzero(~found):
            same[row] = holds(pieces[named[row]], clips[row].samples)
        for half, of_half in (("choosing", ~reporting), ("reporting", reporting)):
            rows.append(
                {
                    "condition": condition,
                    "half": half,
                    "clips": int(of_half.sum()),
                    "top1": float(found[of_half].mean()),
                    "top1_or_same_audio": float(same[of_half].mean()),
                    "right_p5": float(np.percentile(right[of_half], 5)),
                    "right_median": float(np.median(right[of_half])),
                    "best_wrong_median": float(np.median(wrong[of_half])),
                    "best_wrong_p95": float(np.percentile(wrong[of_half], 95)),
                    "any_wrong_p95": float(
                        np.percentile(similarity[of_half][owners != asked[of_half, np.newaxis]], 95)
                    ),
                }
            )
    return {
        "model": embedder.name,
        "revision": embedder.revision,
        "pieces": len(pieces),
        "stored_windows": len(index),
        "ms_a_window": 1000.0 * spent_sec / len(index),
        "times_real_time_a_core": HOP_SEC * len(index) / spent_sec,
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("music_dir", type=Path, metavar="MUSIC_DIR")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(load(options.model), options.music_dir, options.seed)
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"{result['model']} {result['revision']}: {result['pieces']} pieces, "
        f"{result['stored_windows']} stored windows, {result['ms_a_window']:.1f} ms of CPU a "
        f"window, {result['times_real_time_a_core']:.0f} × real time a core\n"
    )
    print("                                 right    same  cosine of right   best wrong  any wrong")
    print("condition         half      clips top-1   audio    p5   median   median   p95     p95")
    for row in result["rows"]:
        print(
            f"{row['condition']:17} {row['half']:9} {row['clips']:5}"
            f"{row['top1']:7.1%} {row['top1_or_same_audio']:7.1%}"
            f"{row['right_p5']:6.2f} {row['right_median']:7.2f}"
            f"{row['best_wrong_median']:9.2f} {row['best_wrong_p95']:6.2f} "
            f"{row['any_wrong_p95']:6.2f}"
        )


if __name__ == "__main__":
    main()
