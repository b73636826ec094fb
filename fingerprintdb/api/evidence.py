"""Says what there is to draw of a match, in numbers that a web page can take."""

import numpy as np
import numpy.typing as npt

from fingerprintdb.api.answers import Explanation
from fingerprintdb.explanation import Explanation as Seen
from fingerprintdb.explanation import Points

HISTOGRAM_COLUMNS = 1500
SHOWN_SEC = 60.0
"""Of a longer clip so much is shown, around the middle of what agrees."""


def shown(seen: Seen, asset_id: int) -> Explanation:
    """Return what there is to draw of an explanation, rounded to what can be seen."""
    agreed = seen.anchors.times_sec
    middle = float(np.median(agreed)) if len(agreed) else seen.duration_sec / 2
    first = max(0.0, min(middle - SHOWN_SEC / 2, seen.duration_sec - SHOWN_SEC))
    last = first + SHOWN_SEC

    def inside(times_sec: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        return (times_sec >= first) & (times_sec <= last)

    both = inside(seen.reference_peaks.times_sec)
    ends = inside(seen.anchors.times_sec)
    anchors, targets = seen.anchors.where(ends), seen.targets.where(ends)
    errors = seen.bit_errors
    rates = inside(errors.times_sec)
    offsets_sec, votes = seen.histogram.columns(HISTOGRAM_COLUMNS)
    return Explanation(
        asset_id=asset_id,
        duration_sec=round(seen.duration_sec, 3),
        clip_peaks=_pairs(seen.clip_peaks.where(inside(seen.clip_peaks.times_sec))),
        reference_peaks=_pairs(seen.reference_peaks.where(both)),
        shared=seen.is_shared[both].tolist(),
        landmarks=[(*a, *b) for a, b in zip(_pairs(anchors), _pairs(targets), strict=True)],
        histogram_offsets_sec=np.round(offsets_sec * seen.frame_sec, 2).tolist(),
        histogram_votes=votes.tolist(),
        chance_votes=round(seen.histogram.chance_votes, 1),
        peak_offset_sec=round(seen.peak_frames * seen.frame_sec, 2),
        peak_votes=seen.aligned_landmarks,
        bit_errors=[
            (round(t, 2), round(rate, 3))
            for t, rate in zip(errors.times_sec[rates], errors.rates[rates], strict=True)
        ],
    )


def _pairs(points: Points) -> list[tuple[float, float]]:
    return [
        (round(t, 3), round(hz, 1))
        for t, hz in zip(points.times_sec.tolist(), points.frequencies_hz.tolist(), strict=True)
    ]
