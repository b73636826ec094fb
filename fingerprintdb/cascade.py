"""Searches for a clip as hard as it takes: plain, then wide, then as if its speed had changed."""

import time
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from fingerprintdb.clip import Clip, warps
from fingerprintdb.embedding import Embedder
from fingerprintdb.profile import PLAIN, QUICK, WIDE, Probe
from fingerprintdb.refinement import refined
from fingerprintdb.store.database import Connection
from fingerprintdb.store.match import Match, Question, Scope, propose
from fingerprintdb.store.model import Model
from fingerprintdb.warp import AS_RECORDED, Warp

SURE = 0.99
"""A confidence from which no further stage is worth its cost."""

RIVAL_SPREADS = 4
"""Two recordings whose agreement differs by less chance alone may have put in this order."""

SAME_PLACE_SEC = 0.1
"""What two searches may differ by in where they put a clip; a loop's repeats lie further apart."""

QUICK_POSTINGS = 8_000
"""Of 354 clips of 5 s, 55 of them strangers, among 10,000 recordings, 187 end at this stage with
230 hashes and 8,000 postings, 194 with 350 and 16,000, 181 with 175 and 8,000; the wide stage finds
most of the rest."""
PLAIN_POSTINGS = 50_000
WIDE_POSTINGS = 300_000

STAGES = ("plain", "wide", "warped")

Verdict = Literal["match", "ambiguous", "no match"]
Listeners = Sequence[tuple[Model, Embedder]]
"""The models that a clip is heard by."""
Hearing = Callable[[], Listeners]
"""Names them when a search comes to that: loading one takes seconds, and most clips need none."""


@dataclass(frozen=True, slots=True)
class Search:
    """One way to look for a clip, which reads at most `max_postings`, of the rarest hashes.

    The bits verify `max_alignments` of its proposals.
    """

    stage: str
    probe: Probe
    warp: Warp
    max_alignments: int
    max_postings: int


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of the search cost."""

    name: str
    elapsed_ms: float
    postings: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The matches of a clip, best first, and what finding them cost."""

    verdict: Verdict
    matches: list[Match]
    stages: list[Stage] = field(default_factory=list)


def nobody() -> Listeners:
    """Name no model: landmarks and bits alone."""
    return ()


def search(
    connection: Connection,
    clip: Clip,
    heard_by: Hearing,
    scope: Scope,
    stages: Container[str] = STAGES,
) -> Answer:
    """Return what a clip is.

    Each stage asks only while the last one's best answer is unsure and the budget of postings
    lasts. Vectors are made at the second stage, by each of the models that are given. `stages`
    names those that may be tried.
    """
    best: dict[int, Match] = {}
    spent: dict[str, Stage] = {}
    left = scope.max_postings
    for step in searches():
        if step.stage not in stages:
            continue
        if left <= 0 or any(match.confidence >= SURE for match in best.values()):
            break
        began = time.perf_counter()
        found, read = ask(connection, clip, step, heard_by, scope, left)
        left -= read
        for match in found:
            former = best.get(match.asset_id)
            if former is None or _strength(match) > _strength(former):
                best[match.asset_id] = match
        before = spent.get(step.stage, Stage(step.stage, 0.0, 0))
        elapsed_ms = before.elapsed_ms + (time.perf_counter() - began) * 1000
        spent[step.stage] = Stage(step.stage, elapsed_ms, before.postings + read)
    answer = _answer(list(best.values()), scope, list(spent.values()))
    if not answer.matches or not answer.matches[0].is_sure:
        return answer
    first = _placed(connection, clip, answer.matches[0], scope, max_postings=left)
    return replace(answer, matches=[first, *answer.matches[1:]])


def _placed(
    connection: Connection, clip: Clip, match: Match, scope: Scope, *, max_postings: int
) -> Match:
    """Return a match with the clip's pitch and tempo, and the place that they point to.

    A clip whose speed was changed may be sure of its recording and land on another repeat of a
    loop: a search that knows the change tells the repeats apart.
    """
    first = refined(connection, clip, match)
    warp = Warp(first.evidence.pitch, first.evidence.tempo)
    if first is match or first.agreement is None:
        return match
    step = Search("refined", PLAIN, warp, max_alignments=50, max_postings=PLAIN_POSTINGS)
    found, _ = ask(connection, clip, step, nobody, scope, max_postings)
    for other in found:
        if other.asset_id != match.asset_id:
            continue
        if (other.agreement or 0) > first.agreement:
            return replace(
                other,
                confidence=max(other.confidence, match.confidence),
                score=max(other.score, match.score),
                evidence=replace(other.evidence, stage=match.evidence.stage),
            )
        if abs(other.offset_sec - first.offset_sec) < SAME_PLACE_SEC:
            return _with_landmarks_of(first, other)
    return first


def _with_landmarks_of(match: Match, other: Match) -> Match:
    """Return a match with the landmarks that agree, and the spans, of another at its place.

    Under a tempo that was not undone a few landmarks agree, for a moment of the clip.
    """
    if other.evidence.aligned_landmarks <= match.evidence.aligned_landmarks:
        return match
    return replace(
        match,
        query_start_sec=other.query_start_sec,
        query_end_sec=other.query_end_sec,
        reference_start_sec=other.reference_start_sec,
        reference_end_sec=other.reference_end_sec,
        evidence=replace(
            match.evidence,
            aligned_landmarks=other.evidence.aligned_landmarks,
            chance_landmarks=other.evidence.chance_landmarks,
        ),
    )


def searches() -> Iterator[Search]:
    """Yield the searches in the order in which they are worth trying."""
    yield Search("plain", QUICK, AS_RECORDED, max_alignments=30, max_postings=QUICK_POSTINGS)
    yield Search("wide", WIDE, AS_RECORDED, max_alignments=300, max_postings=WIDE_POSTINGS)
    for warp in warps():
        yield Search("warped", PLAIN, warp, max_alignments=50, max_postings=PLAIN_POSTINGS)


WARPED_SEARCHES = len(list(warps()))


def ask(
    connection: Connection,
    clip: Clip,
    step: Search,
    heard_by: Hearing,
    scope: Scope,
    budget: int,
) -> tuple[list[Match], int]:
    """Return what one search finds, sure or not, and how much of the budget of postings it read."""
    max_postings = min(budget, step.max_postings)
    asked = question(clip, step, heard_by)
    return propose(connection, asked, scope, max_postings=max_postings, stage=step.stage)


def question(clip: Clip, step: Search, heard_by: Hearing) -> Question:
    """Return what one search asks the database."""
    listeners = heard_by() if step.stage == "wide" else ()
    return Question(
        landmarks=clip.landmarks(step.probe, step.warp),
        sub_fingerprints=clip.sub_fingerprints(step.warp),
        windows={model.model_id: clip.windows(embedder) for model, embedder in listeners},
        profile=clip.profile,
        pitch=step.warp.pitch,
        tempo=step.warp.tempo,
        searches=WARPED_SEARCHES if step.stage == "warped" else 1,
        max_alignments=step.max_alignments,
    )


def _strength(match: Match) -> tuple[float, float]:
    return match.confidence, match.score


def _answer(found: list[Match], scope: Scope, stages: list[Stage]) -> Answer:
    asked = scope.min_confidence
    sure = [
        match
        for match in found
        if match.confidence >= (match.threshold if asked is None else asked)
    ]
    sure.sort(key=lambda match: (-match.confidence, -match.score, match.asset_id))
    verdict: Verdict = "match" if sure else "no match"
    if any(other.is_sure and _are_rivals(sure[0], other) for other in sure[1:]):
        verdict = "ambiguous"
    return Answer(verdict, sure[: scope.k], stages)


def _are_rivals(first: Match, second: Match) -> bool:
    if first.agreement is None or second.agreement is None:
        return False
    # Of a clip of one recording after another, each holds its own part.
    shared_sec = min(first.query_end_sec, second.query_end_sec) - max(
        first.query_start_sec, second.query_start_sec
    )
    if shared_sec < min(map(_span_sec, (first, second))) / 2:
        return False
    return abs(first.agreement - second.agreement) < RIVAL_SPREADS * first.spread


def _span_sec(match: Match) -> float:
    return match.query_end_sec - match.query_start_sec
