"""Learns the matrix of the sub-fingerprints: what stays of a patch when its sound is spoilt."""

import hashlib
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.signal import resample_poly

from fingerprintdb.audio import AudioError, decode
from fingerprintdb.degradation import degrade
from fingerprintdb.profile import ACCURATE, Profile
from fingerprintdb.subfingerprints import query_patches

Matrix = npt.NDArray[np.float64]

LEARNED_FROM = (
    "gsm",
    "pink 5 dB",
    "pink 0 dB",
    "pink -5 dB",
    "babble 5 dB",
    "babble 0 dB",
    "room 5 dB",
)
"""Conditions that move no time: a patch and its spoilt copy lie at the same place."""

RATE_HZ = 44_100
HEARD_SEC = 90.0
EXCERPT_SEC = 8.0
EXCERPTS = 3
"""A piece and condition."""
PATCH_STEP = 7
"""Every seventh patch of an excerpt: neighbours are nearly the same."""
SHRINKAGE = 0.01
"""Of the total variance, added to the spoilt one: without it 2 % less is told apart at 0 dB."""

Sums = tuple[Matrix, Matrix, int]


def learn_projection(
    files: list[Path], *, bits: int = ACCURATE.sub_fingerprint_bits, processes: int = 1
) -> npt.NDArray[np.float16]:
    """Return the projection (patch_rows × bands, bits) that the files teach, best column first.

    Linear discriminant analysis (Fisher 1936): the directions in which patches differ most from
    one another for how little they differ from their own spoilt copies. Files that cannot be
    read, or are shorter than an excerpt, teach nothing; ValueError if that is all of them.
    """
    size = ACCURATE.patch_rows * ACCURATE.bands
    total, spoilt, count = np.zeros((size, size)), np.zeros((size, size)), 0
    with ProcessPoolExecutor(processes) as pool:
        for one_total, one_spoilt, one_count in pool.map(
            partial(_scatter, profile=ACCURATE), files
        ):
            total += one_total
            spoilt += one_spoilt
            count += one_count
    if not count:
        raise ValueError("no file was long enough to learn from")
    return discriminants(total / (2 * count), spoilt / count, bits)


def discriminants(total: Matrix, spoilt: Matrix, bits: int) -> npt.NDArray[np.float16]:
    """Return the `bits` directions of the greatest ratio of two scatter matrices (n, n)."""
    variances, directions = eigh(total)
    # A patch has lost each band's mean, so one direction a band is empty.
    used = directions[:, variances > 1e-6 * variances[-1]]
    within = used.T @ spoilt @ used
    within += SHRINKAGE * np.trace(total) / len(total) * np.eye(used.shape[1])
    _, found = eigh(used.T @ total @ used, within)
    matrix = used @ found[:, ::-1][:, :bits]
    return np.asarray(matrix / np.abs(matrix).max(axis=0), np.float16)


def save_projection(matrix: npt.NDArray[np.float16], path: Path) -> str:
    """Write a projection and return its digest, which goes into the profile."""
    written = BytesIO()
    np.save(written, matrix, allow_pickle=False)
    path.write_bytes(written.getvalue())
    return digest_of(path)


def digest_of(path: Path) -> str:
    """Return sixteen hexadecimal digits over a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _scatter(path: Path, *, profile: Profile) -> Sums:
    """Return the sums of squares of patches and of what spoiling does to them, and their number."""
    size = profile.patch_rows * profile.bands
    total, spoilt, count = np.zeros((size, size)), np.zeros((size, size)), 0
    for clean, heard in _pairs(path, profile):
        total += clean.T @ clean + heard.T @ heard
        spoilt += (heard - clean).T @ (heard - clean)
        count += len(clean)
    return total, spoilt, count


def _pairs(path: Path, profile: Profile) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield patches of excerpts and of their spoilt copies, up to half a frame out of phase."""
    try:
        blocks = list(decode(path, RATE_HZ, max_duration_sec=HEARD_SEC))
    except AudioError:
        return
    music = np.concatenate(blocks)
    length = round(EXCERPT_SEC * RATE_HZ)
    divisor = RATE_HZ // profile.sample_rate_hz
    random = np.random.default_rng(zlib.crc32(path.stem.encode()))
    for condition in LEARNED_FROM:
        for _ in range(EXCERPTS):
            start = int(random.integers(0, max(1, len(music) - length)))
            late = int(random.integers(-1, 2) * random.integers(profile.hop_samples // 2 + 1))
            excerpt = music[start : start + length]
            seed = int(random.integers(1 << 30))
            if len(excerpt) < length or np.abs(excerpt).max() < 1e-3:
                continue
            clean = resample_poly(excerpt, 1, divisor).astype(np.float32)
            heard = resample_poly(degrade(excerpt, RATE_HZ, condition, seed), 1, divisor)
            heard = np.roll(heard, late).astype(np.float32)
            seen = query_patches(clean, profile)[::PATCH_STEP]
            yield seen, query_patches(heard, profile)[::PATCH_STEP][: len(seen)]
