"""Finds the least confidence that keeps false alarms as rare as asked, and says what it buys."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.special import betaincinv

from fingerprintdb.errors import FingerprintError

LEAST_THRESHOLD = 0.5
"""An answer that is likelier wrong than right is no answer, however rare."""

MOST_FALSE_ALARMS = 0.5
"""The greatest share of negatives that `fpdb calibrate` accepts."""

RULE_OF_THREE = 3.0
"""Of n negatives without a false alarm, the rate is under 3 / n with 95 % confidence."""


class CalibrationError(FingerprintError):
    """A collection that a threshold cannot be found from."""


@dataclass(frozen=True, slots=True)
class Score:
    """How sure one answer was; 0 where a clip of a stored recording was not named for it."""

    content_type: str
    confidence: float
    is_positive: bool
    """Whether the recording was among those searched, or a person said that the answer is right."""
    duration_sec: float | None = None
    """Seconds of the clip; None for what a person said."""


@dataclass(frozen=True, slots=True)
class Recall:
    """How many clips of a length were asked about, and how many found at the threshold."""

    duration_sec: float | None
    asked: int
    found: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """A content type's threshold and what it buys; rates are shares of the negatives."""

    content_type: str
    negatives: int
    former: float
    threshold: float
    former_false_alarms: int
    false_alarms: int
    false_alarm_bound: float
    """What the rate is under with 95 % confidence."""
    positives: int
    former_found: int
    found: int
    recalls: list[Recall]


def needed(target: float) -> int:
    """Return how many negatives a false-alarm rate asks for."""
    return math.ceil(round(RULE_OF_THREE / target, 6))


def require_negatives(content_type: str, negatives: int, target: float) -> None:
    """Raise CalibrationError where so few negatives cannot tell so small a rate."""
    least = needed(target)
    if negatives >= least:
        return
    remedy = "ingest more recordings of other works, or raise --samples"
    if negatives >= needed(MOST_FALSE_ALARMS):
        remedy += (
            f", or accept --false-alarms {math.ceil(1000 * RULE_OF_THREE / negatives) / 1000:g}"
        )
    raise CalibrationError(
        f"{content_type}: {negatives} negatives are too few for a false-alarm rate of {target:g},"
        f" which needs {least}",
        remedy,
    )


def require_any(negatives: dict[str, int], target: float) -> None:
    """Raise CalibrationError unless some content type (by name) has, or may get, enough."""
    if not negatives:
        raise CalibrationError(
            "there is nothing to calibrate on: no recording is ready", "ingest some"
        )
    name = max(negatives, key=lambda content_type: negatives[content_type])
    require_negatives(name, negatives[name], target)


def false_alarm_bound(false_alarms: int, negatives: int) -> float:
    """Return what the rate is under with 95 % confidence (Clopper and Pearson, one-sided).

    It holds for a threshold chosen on the same negatives too: beyond the k-th greatest of n
    scores lies a share with the law Beta(k, n − k + 1), whatever the scores' own law.
    """
    if false_alarms >= negatives:
        return 1.0
    return float(betaincinv(false_alarms + 1, negatives - false_alarms, 0.95))


def least_threshold(negatives: Iterable[float], target: float) -> float:
    """Return the smallest confidence, 0.5 at least, that so small a share of negatives reaches.

    Raises CalibrationError where none does, as too many wrong answers are certain.
    """
    falling = sorted(negatives, reverse=True)
    allowed = math.floor(round(target * len(falling), 9))
    if allowed >= len(falling):
        return LEAST_THRESHOLD
    threshold = max(LEAST_THRESHOLD, math.nextafter(falling[allowed], 2.0))
    if threshold > 1:
        raise CalibrationError(
            f"more than {target:g} of the {len(falling)} negatives are answered with certainty, so"
            " no threshold keeps them out",
            "name versions of one work with `fpdb ingest --version-of`, or raise --false-alarms",
        )
    return threshold


def fit(content_type: str, scores: Iterable[Score], former: float, target: float) -> Threshold:
    """Return the threshold of a content type for a false-alarm rate, and what it buys.

    Raises CalibrationError where there are too few negatives.
    """
    ours = [score for score in scores if score.content_type == content_type]
    negatives = [score.confidence for score in ours if not score.is_positive]
    require_negatives(content_type, len(negatives), target)
    threshold = least_threshold(negatives, target)
    false_alarms = sum(confidence >= threshold for confidence in negatives)
    recalls = []
    lengths = {score.duration_sec for score in ours if score.is_positive}
    for duration_sec in sorted(lengths, key=lambda sec: math.inf if sec is None else sec):
        asked = [s.confidence for s in ours if s.is_positive and s.duration_sec == duration_sec]
        recalls.append(Recall(duration_sec, len(asked), sum(c >= threshold for c in asked)))
    return Threshold(
        content_type,
        len(negatives),
        former,
        threshold,
        sum(confidence >= former for confidence in negatives),
        false_alarms,
        false_alarm_bound(false_alarms, len(negatives)),
        sum(recall.asked for recall in recalls),
        sum(score.confidence >= former for score in ours if score.is_positive),
        sum(recall.found for recall in recalls),
        recalls,
    )


def fit_all(
    scores: list[Score], former: dict[str, float], target: float
) -> tuple[list[Threshold], dict[str, str]]:
    """Return a threshold for every content type that has one, and why the others have none.

    `former` are the thresholds in force. Raises CalibrationError where no content type has one.
    """
    found: list[Threshold] = []
    refused: dict[str, CalibrationError] = {}
    tried = Counter(score.content_type for score in scores)
    for name, _ in tried.most_common():
        try:
            found.append(fit(name, scores, former[name], target))
        except CalibrationError as error:
            refused[name] = error
    if found:
        return found, {name: str(error) for name, error in refused.items()}
    nothing = CalibrationError(
        "no recording could be asked about", "put their files where this machine can read them"
    )
    raise next(iter(refused.values()), nothing)
