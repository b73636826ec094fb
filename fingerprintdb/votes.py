"""Counts the votes of a clip's landmarks for each offset of one asset, to be looked at."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fingerprintdb.landmarks import Landmarks

Integers = npt.NDArray[np.int64]

VOTES_AN_ANCHOR = 3
"""As fpdb.landmark_alignments counts them: one moment cannot decide."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Votes (n) at the n offsets from `lowest_frames` on, those of both neighbours counted in."""

    lowest_frames: int
    votes: Integers
    chance_votes: float
    """The most votes that chance would give the best of these offsets."""

    def best(self) -> int:
        """Return the offset in frames that has most votes."""
        return self.lowest_frames + int(np.argmax(self.votes))

    def best_near(self, offset_frames: int) -> int:
        """Return the offset that has most votes within three frames, as far as bits look."""
        place = min(max(0, offset_frames - self.lowest_frames), len(self.votes) - 1)
        since = max(0, place - 3)
        near = self.votes[since : place + 4]
        nearness = -np.abs(np.arange(since, since + len(near)) - place)
        return self.lowest_frames + since + int(np.lexsort((nearness, near))[-1])

    def columns(self, most: int) -> tuple[Integers, Integers]:
        """Return at most so many offsets, each with the greatest vote up to the next.

        So a needle is not lost between the pixels of a picture.
        """
        each = -(-len(self.votes) // most)
        starts = np.arange(0, len(self.votes), each)
        return self.lowest_frames + starts, np.maximum.reduceat(self.votes, starts)

    def at(self, offset_frames: int) -> int:
        """Return the votes for an offset."""
        return int(self.votes[offset_frames - self.lowest_frames])


@dataclass(frozen=True, slots=True)
class Votes:
    """Agreements of a clip's landmarks with an asset's: three arrays of one length."""

    offsets_frames: Integers
    """Reference frame − query frame."""
    query_frames: Integers
    stored: npt.NDArray[np.intp]
    """Which of the asset's landmarks agrees."""
    reach_frames: tuple[int, int]
    """The least and the greatest offset at which clip and asset overlap."""

    def histogram(self) -> Histogram:
        """Count the votes at every offset as fpdb.landmark_alignments does."""
        lowest, highest = self.reach_frames
        size = highest - lowest + 1
        moments = int(self.query_frames.max(initial=0)) + 1
        places = np.concatenate([self.offsets_frames - lowest + step for step in (-1, 0, 1)])
        places = np.clip(places, 0, size - 1)
        cells, counts = np.unique(
            places * moments + np.tile(self.query_frames, 3), return_counts=True
        )
        capped = np.minimum(counts, VOTES_AN_ANCHOR).astype(np.float64)
        votes = np.bincount(cells // moments, capped, size).astype(np.int64)
        # fpdb.chance_votes, for the offsets of this asset alone.
        expected, trials = 3 * len(self.offsets_frames) / size, np.log(max(size, 2))
        chance = expected + trials / 3 + np.sqrt(trials**2 / 9 + 2 * expected * trials)
        return Histogram(lowest, votes, float(chance))

    def landmarks_at(self, offset_frames: int) -> npt.NDArray[np.intp]:
        """Return the indexes of the stored landmarks that agree at an offset, each once."""
        return np.unique(self.stored[np.abs(self.offsets_frames - offset_frames) <= 1])


def cast_votes(asked: Landmarks, stored: Landmarks) -> Votes:
    """Look every hash of a clip up among those of an asset."""
    order = np.argsort(stored.hashes, kind="stable")
    ranked = stored.hashes[order]
    first = np.searchsorted(ranked, asked.hashes, side="left")
    counts = np.searchsorted(ranked, asked.hashes, side="right") - first
    query = np.repeat(np.arange(len(asked)), counts)
    within = np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)
    found = order[np.repeat(first, counts) + within]
    frames = asked.frames[query].astype(np.int64)
    lowest, highest = -int(asked.frames.max(initial=0)), int(stored.frames.max(initial=0))
    return Votes(stored.frames[found] - frames, frames, found, (lowest, highest))
