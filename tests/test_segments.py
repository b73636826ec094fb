"""Windows cover the audio, start on the grid, and do not depend on how the stream was blocked."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fingerprintdb.segments import MIN_TAIL_SEC, Samples, Segment, cut

RATE_HZ = 100


def ramp(length: int) -> Samples:
    """Samples that are their own index, so that a segment shows where it was cut."""
    return np.arange(length, dtype=np.float32)


def spans(duration_sec: float) -> list[tuple[float, float]]:
    audio = ramp(round(duration_sec * RATE_HZ))
    return [(s.start_sec, s.end_sec) for s in cut([audio], RATE_HZ)]


@pytest.mark.parametrize(
    ("duration_sec", "expected"),
    [
        (0.01, [(0.0, 0.01)]),
        (3.0, [(0.0, 3.0)]),
        (5.0, [(0.0, 5.0)]),
        (5.49, [(0.0, 5.0)]),
        (5.5, [(0.0, 5.0), (2.5, 5.5)]),
        (7.5, [(0.0, 5.0), (2.5, 7.5)]),
        (9.0, [(0.0, 5.0), (2.5, 7.5), (5.0, 9.0)]),
    ],
)
def test_tail_is_kept_where_it_brings_half_a_second(
    duration_sec: float, expected: list[tuple[float, float]]
) -> None:
    assert spans(duration_sec) == expected


def test_no_audio_gives_no_segment() -> None:
    assert list(cut([], RATE_HZ)) == []
    assert list(cut([ramp(0)], RATE_HZ)) == []


def test_cap_ends_the_audio_and_the_reading() -> None:
    taken = []

    def blocks() -> Iterator[Samples]:
        for number in range(100):
            taken.append(number)
            yield ramp(RATE_HZ)

    segments = list(cut(blocks(), RATE_HZ, max_audio_length_sec=12.5))
    assert segments[-1].end_sec == 12.5
    assert len(taken) == 13


def test_default_cap_is_two_minutes_and_none_lifts_it() -> None:
    audio = ramp(200 * RATE_HZ)
    assert list(cut([audio], RATE_HZ))[-1].end_sec == 120.0
    assert list(cut([audio], RATE_HZ, max_audio_length_sec=None))[-1].end_sec == 200.0


def test_starts_do_not_drift_where_the_hop_is_no_whole_number_of_samples() -> None:
    segments = list(cut([ramp(60 * 11_025)], 11_025, hop_sec=0.7))
    for segment in segments:
        assert segment.samples[0] == round(segment.index * 0.7 * 11_025)


def test_segments_own_their_samples() -> None:
    audio = ramp(10 * RATE_HZ)
    first, second = list(cut([audio], RATE_HZ))[:2]
    first.samples[:] = 0
    assert second.samples[0] == 250
    assert audio[1] == 1


@pytest.mark.parametrize(
    "wrong", [{"duration_sec": 0}, {"hop_sec": -1}, {"max_audio_length_sec": 0}]
)
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        next(cut([ramp(10)], RATE_HZ, **wrong))


@pytest.mark.parametrize(("level_dbfs", "silent"), [(-61, True), (-59, False), (0, False)])
def test_silence_is_below_60_db_of_full_scale(level_dbfs: float, silent: bool) -> None:
    samples = np.full(1000, 10 ** (level_dbfs / 20), np.float32)
    samples[::2] *= -1
    assert Segment(0, 0.0, 1.0, samples).is_silent is silent


@given(
    length=st.integers(0, 3000),
    duration=st.integers(50, 800),
    hop=st.integers(20, 1000),
    cap=st.none() | st.integers(1, 3500),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
)
def test_any_blocking_gives_the_same_complete_cover(
    length: int, duration: int, hop: int, cap: int | None, cuts: list[int]
) -> None:
    audio = ramp(length)

    def segments(blocks: list[Samples]) -> list[Segment]:
        return list(
            cut(
                blocks,
                RATE_HZ,
                duration_sec=duration / RATE_HZ,
                hop_sec=hop / RATE_HZ,
                max_audio_length_sec=None if cap is None else cap / RATE_HZ,
            )
        )

    whole = segments([audio])
    blocked = segments(np.split(audio, sorted(min(c, length) for c in cuts)))
    assert [(s.index, s.start_sec, s.end_sec) for s in whole] == [
        (s.index, s.start_sec, s.end_sec) for s in blocked
    ]
    for one, other in zip(whole, blocked, strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)

    assert [s.index for s in whole] == list(range(len(whole)))
    end = length if cap is None else min(length, cap)
    covered = np.zeros(end, bool)
    for s in whole:
        start = s.index * hop
        assert s.start_sec == pytest.approx(start / RATE_HZ, abs=0.5 / RATE_HZ)
        assert s.end_sec - s.start_sec == pytest.approx(s.samples.size / RATE_HZ)
        assert s.samples.size == duration or s is whole[-1]
        np.testing.assert_array_equal(s.samples, audio[start : start + s.samples.size])
        covered[start : start + s.samples.size] = True
    # Uncovered is only what lies between windows, and a tail below the minimum.
    missing = np.flatnonzero(~covered)
    in_gaps = missing % hop >= duration
    tail = missing[~in_gaps]
    assert tail.size < MIN_TAIL_SEC * RATE_HZ
    assert not tail.size or tail[-1] == end - 1
