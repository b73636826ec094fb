"""Chooses pieces of music, cuts excerpts and spoils them: seeded, and paired over conditions."""

import random
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fingerprintdb.audio import AudioError, Samples, decode
from fingerprintdb.degradation import degrade

RATE_HZ = 44_100
SUFFIXES = {".ogg", ".mp3", ".flac", ".wav", ".m4a", ".opus"}
HEARD_SEC = 180.0
LOUD_ENOUGH = 2e-3
"""Root mean square (−54 dB) under which a passage is a pause, and nobody would ask what it is."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Where an excerpt begins and what is done to it; `is_indexed` says what the answer must be."""

    piece: str
    path: Path
    is_indexed: bool
    start_sec: float
    duration_sec: float
    condition: str
    seed: int


def music_in(folders: list[Path]) -> list[Path]:
    """Return the music files of folders, sorted; sound marks are another matter."""
    files = {path for folder in folders for path in folder.rglob("*")}
    return sorted(
        path
        for path in files
        if path.suffix.lower() in SUFFIXES and path.parent.name != "sound_marks"
    )


def half_of(piece: str) -> str:
    """Return the half that a piece belongs to: what was learnt from, and what is reported."""
    return "reported" if (zlib.crc32(piece.encode()) >> 3) % 2 else "fitted"


def is_held_out(piece: str) -> bool:
    """Say whether a piece stays out of the index: every fifth, by its name."""
    return zlib.crc32(piece.encode()) % 5 == 0


def excerpts(
    path: Path, conditions: tuple[str, ...], durations_sec: tuple[float, ...], trials: int
) -> list[Excerpt]:
    """Return the excerpts of a piece: each place is asked in every condition and length."""
    chosen: list[Excerpt] = []
    piece = path.stem
    music = samples_of(path)
    longest = max(durations_sec)
    chooser = random.Random(piece)  # noqa: S311 — repeatable, not secret
    latest_sec = len(music) / RATE_HZ - longest * 1.15
    for trial in range(trials):
        for _ in range(50):
            start_sec = chooser.uniform(0, max(0.0, latest_sec))
            first = round(start_sec * RATE_HZ)
            parts = [music[first : first + round(sec * RATE_HZ)] for sec in durations_sec]
            if all(len(p) and np.sqrt(np.mean(np.square(p))) > LOUD_ENOUGH for p in parts):
                break
        else:
            continue
        chosen += [
            Excerpt(
                piece,
                path,
                not is_held_out(piece),
                start_sec,
                duration_sec,
                condition,
                zlib.crc32(f"{piece} {trial} {condition}".encode()),
            )
            for condition in conditions
            for duration_sec in durations_sec
        ]
    return chosen


def spoilt(excerpt: Excerpt) -> Samples:
    """Return the sound of an excerpt: as long as it says, whatever was done to its speed."""
    clean = clean_part(excerpt, excerpt.duration_sec * _stretch(excerpt.condition) + 0.1)
    heard = degrade(clean, RATE_HZ, excerpt.condition, excerpt.seed)
    return heard[: round(excerpt.duration_sec * RATE_HZ)]


def clean_part(excerpt: Excerpt, duration_sec: float) -> Samples:
    """Return so much of the piece from where the excerpt begins."""
    first = round(excerpt.start_sec * RATE_HZ)
    return samples_of(excerpt.path)[first : first + round(duration_sec * RATE_HZ)]


@lru_cache(maxsize=2)
def samples_of(path: Path) -> Samples:
    """Return the beginning of a piece; nothing where it cannot be read."""
    try:
        return np.concatenate(list(decode(path, RATE_HZ, max_duration_sec=HEARD_SEC)))
    except AudioError:
        return np.empty(0, np.float32)


def _stretch(condition: str) -> float:
    kind, _, strength = condition.partition(" ")
    return 1 + float(strength.split()[0]) / 100 if kind in {"speed", "tempo"} else 1.0
