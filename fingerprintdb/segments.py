"""Cuts a recording into the windows that each get one vector per model."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SILENCE_DBFS = -60.0
MIN_TAIL_SEC = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One window of a recording: its place in time and its sound.

    `samples` is 1-D float32 mono and the segment's own copy; `start_sec` and `end_sec` are where
    its first sample starts and its last one ends (to half a sample), so a shortened last window
    says so.
    """

    index: int
    start_sec: float
    end_sec: float
    samples: Samples

    @property
    def is_silent(self) -> bool:
        """Whether the RMS level is below −60 dB of full scale (a full-scale square wave is 0 dB).

        The threshold is absolute, because a level relative to the recording's own would need the
        whole recording first. It lies far above the dither of a 16-bit master (about −93 dB).
        Silent segments are not indexed: they resemble each other, and nothing is found by them.
        """
        level = math.sqrt(float(np.mean(np.square(self.samples, dtype=np.float64))))
        return level < math.pow(10.0, SILENCE_DBFS / 20.0)


def cut(
    blocks: Iterable[Samples],
    sample_rate_hz: int,
    *,
    duration_sec: float = 5.0,
    hop_sec: float = 2.5,
    max_audio_length_sec: float | None = 120.0,
) -> Iterator[Segment]:
    """Cut a stream of mono blocks into windows, in the memory of one window (or hop) and a block.

    Window i starts at sample round(i × hop × rate) exactly, so that starts never drift and the
    same sound is cut the same way however the stream was blocked. The end of the audio (of the
    recording, or of its first `max_audio_length_sec`; None for all of it) follows one rule: a
    last window shorter than `duration_sec` still starts on the hop grid, and is kept where it
    brings at least 0.5 s that no earlier window covers. The first window is kept whatever its
    length, so a recording shorter than one window is one segment. Nothing else is left out, but
    for the gaps that a hop above the duration asks for. Reading stops at the cap.

    Raises ValueError where duration, hop or cap is not positive.
    """
    duration = round(duration_sec * sample_rate_hz)
    limit = (
        math.inf if max_audio_length_sec is None else round(max_audio_length_sec * sample_rate_hz)
    )
    if min(duration, round(hop_sec * sample_rate_hz), limit) < 1:
        raise ValueError("duration, hop and maximum length must each be at least one sample")

    def segment(index: int, samples: Samples) -> Segment:
        # The nominal start: the sample nearest to it lies at most half a sample away.
        start_sec = index * hop_sec
        return Segment(index, start_sec, start_sec + samples.size / sample_rate_hz, samples.copy())

    index = start = 0  # the next window, and its first sample
    # The audio from sample `held_from` up to `read`, joined only when a window is full.
    held: list[Samples] = []
    held_from = read = 0
    for block in _up_to(blocks, limit):
        held.append(block)
        read += block.size
        if read < start + duration:
            continue
        audio = np.concatenate(held)
        while read >= start + duration:
            yield segment(index, audio[start - held_from :][:duration])
            index += 1
            start = round(index * hop_sec * sample_rate_hz)
        held, held_from = [audio[max(start - held_from, 0) :].copy()], min(start, read)

    covered = 0 if index == 0 else round((index - 1) * hop_sec * sample_rate_hz) + duration
    fresh = read - max(start, covered)
    if fresh >= (1 if index == 0 else MIN_TAIL_SEC * sample_rate_hz):
        yield segment(index, np.concatenate(held)[start - held_from :])


def _up_to(blocks: Iterable[Samples], limit: float) -> Iterator[Samples]:
    """Pass blocks on until `limit` samples have gone by, and read no further."""
    left = limit
    for block in blocks:
        yield block if block.size <= left else block[: int(left)]
        left -= block.size
        if left <= 0:
            return
