"""What the service answers, as OpenAPI describes it; seconds, milliseconds, shares of 1."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fingerprintdb.cascade import Stage
from fingerprintdb.source import redact
from fingerprintdb.store.catalogue import Entry
from fingerprintdb.store.match import Match
from fingerprintdb.store.moment import Moment

Status = Literal["queued", "processing", "ready", "failed"]


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [values]})


class Evidence(BaseModel):
    """What speaks for a match."""

    aligned_landmarks: int = Field(description="Landmarks that agree on the offset.")
    chance_landmarks: float | None = Field(description="The most that chance would have agree.")
    bit_error_rate: float | None = Field(description="Of the sub-fingerprints; chance gives 0.5.")
    chance_bit_error_rate: float | None = Field(description="The least that chance would give.")
    compared_sub_fingerprints: int
    aligned_segments: int = Field(description="Windows whose vectors agree on the offset.")
    similarity: float | None = Field(description="Mean cosine of those vectors.")
    pitch: float = Field(description="The clip's pitch, the recording's being 1.")
    tempo: float = Field(description="The clip's tempo, the recording's being 1.")
    stage: str = Field(description="The search that found it: plain, wide or warped.")


class FoundAsset(BaseModel):
    """A recording that a clip is from, and where; offset = reference time − query time."""

    asset_id: int
    title: str | None
    artist: str | None
    uri: str | None
    work_id: int = Field(description="The asset that this one is a version of, or itself.")
    work_title: str | None
    confidence: float = Field(description="The probability that it is right.")
    threshold: float = Field(description="From which confidence on its content type is sure.")
    offset_sec: float
    query_start_sec: float
    query_end_sec: float
    reference_start_sec: float
    reference_end_sec: float
    evidence: Evidence

    @classmethod
    def of(cls, match: Match) -> "FoundAsset":
        """Return a match as the service shows it."""
        values = asdict(match)
        values["uri"] = redact(match.uri) if match.uri else None
        return cls.model_validate(values)


class SearchStage(BaseModel):
    """What a stage of the search cost."""

    name: str
    elapsed_ms: float
    postings: int = Field(description="Landmarks read of the index.")


class Explanation(BaseModel):
    """Why a clip matched: both constellations and the votes by offset, ready to be drawn.

    Points are [second of the clip, Hz]; a landmark is [anchor's second, Hz, target's second, Hz].
    """

    asset_id: int
    duration_sec: float
    clip_peaks: list[tuple[float, float]]
    reference_peaks: list[tuple[float, float]]
    shared: list[bool] = Field(description="Which of the reference's peaks the clip has too.")
    landmarks: list[tuple[float, float, float, float]] = Field(
        description="Landmarks that both have at this offset."
    )
    histogram_offsets_sec: list[float]
    histogram_votes: list[int]
    chance_votes: float
    peak_offset_sec: float
    peak_votes: int
    bit_errors: list[tuple[float, float]] = Field(
        description="[second of the clip, bit error rate]"
    )


class SearchAnswer(BaseModel):
    """What a clip is."""

    model_config = _example(
        found=True,
        verdict="match",
        matches=[
            {
                "asset_id": 3,
                "title": "Letters from Nowhere",
                "artist": "The Constellations",
                "uri": "album/letters_from_nowhere.flac",
                "work_id": 3,
                "work_title": "Letters from Nowhere",
                "confidence": 0.9999,
                "threshold": 0.95,
                "offset_sec": 22.0,
                "query_start_sec": 0.1,
                "query_end_sec": 9.8,
                "reference_start_sec": 22.1,
                "reference_end_sec": 31.8,
                "evidence": {
                    "aligned_landmarks": 325,
                    "chance_landmarks": 11.2,
                    "bit_error_rate": 0.08,
                    "chance_bit_error_rate": 0.41,
                    "compared_sub_fingerprints": 70,
                    "aligned_segments": 0,
                    "similarity": None,
                    "pitch": 1.0,
                    "tempo": 1.0,
                    "stage": "plain",
                },
            }
        ],
        stages=[{"name": "plain", "elapsed_ms": 21.5, "postings": 4100}],
        processing_time_ms=48.2,
        timings_ms={"decode": 12.0, "landmarks": 4.1, "match": 29.0},
        is_whole=True,
    )

    found: bool
    verdict: Literal["match", "ambiguous", "no match"]
    matches: list[FoundAsset]
    stages: list[SearchStage]
    processing_time_ms: float
    timings_ms: dict[str, float]
    is_whole: bool = Field(description="False where only the first ten minutes were judged.")
    explanation: Explanation | None = None


class ListenProgress(BaseModel):
    """What the WebSocket says while it is not sure yet."""

    event: Literal["listening"] = "listening"
    heard_sec: float


class ListenAnswer(BaseModel):
    """What the WebSocket says last; query times count from the first sound."""

    event: Literal["answer"] = "answer"
    found: bool
    verdict: Literal["match", "ambiguous", "no match"]
    heard_sec: float
    matches: list[FoundAsset]
    stages: list[SearchStage]
    processing_time_ms: float


class Prediction(BaseModel):
    """What a clip is, in short."""

    model_config = _example(
        found=True,
        song_id=3,
        title="Letters from Nowhere",
        artist="The Constellations",
        confidence=0.9999,
        offset_sec=22.0,
        processing_time_ms=48.2,
    )

    found: bool
    song_id: int | None = None
    title: str | None = None
    artist: str | None = None
    confidence: float | None = None
    offset_sec: float | None = None
    processing_time_ms: float


class FoundMoment(BaseModel):
    """A stretch of a recording that a sentence describes; similarity is a cosine."""

    asset_id: int
    title: str | None
    artist: str | None
    start_sec: float
    end_sec: float
    similarity: float


class Moments(BaseModel):
    """The moments that a sentence describes, most similar first."""

    found: bool
    moments: list[FoundMoment]
    processing_time_ms: float

    @classmethod
    def of(cls, moments: list[Moment], elapsed_ms: float) -> "Moments":
        """Return moments as the service shows them."""
        return cls(
            found=bool(moments),
            moments=[FoundMoment.model_validate(asdict(moment)) for moment in moments],
            processing_time_ms=elapsed_ms,
        )


class SimilarAsset(BaseModel):
    """A recording that sounds like another; similarity is the mean cosine of segments."""

    asset_id: int
    title: str | None
    artist: str | None
    similarity: float
    segments: int


class Asset(BaseModel):
    """A recording: what it is called, and how far the work on it is."""

    model_config = _example(
        asset_id=3,
        title="Letters from Nowhere",
        artist="The Constellations",
        collection="default",
        content_type="music",
        metadata={"album": "Harbour"},
        uri=None,
        version_of=None,
        status="ready",
        landmark_status="ready",
        embedding_status="ready",
        error=None,
        duration_sec=49.3,
        audio_source_type="audio",
        source_sample_rate=44100,
        landmark_count=6371,
        content_bytes=788_480,
        created_at="2026-01-01T12:00:00Z",
        processed_at="2026-01-01T12:00:01Z",
    )

    asset_id: int
    title: str | None
    artist: str | None
    collection: str
    content_type: str
    metadata: dict[str, Any]
    uri: str | None
    version_of: int | None
    status: Status
    landmark_status: Status
    embedding_status: Status
    error: str | None = Field(description="Why it failed, where it did.")
    duration_sec: float | None
    audio_source_type: str | None
    source_sample_rate: int | None
    landmark_count: int | None
    content_bytes: int | None = Field(description="Size of what was uploaded; null of a URI.")
    created_at: datetime
    processed_at: datetime | None

    @classmethod
    def of(cls, entry: Entry) -> "Asset":
        """Return an asset as the service shows it: its URI without what may be secret in it."""
        values = asdict(entry)
        values["uri"] = redact(entry.uri) if entry.uri else None
        return cls.model_validate(values)


class AssetPage(BaseModel):
    """Assets, newest first."""

    assets: list[Asset]
    total: int = Field(description="How many there are in all.")
    next_before: int | None = Field(
        description="What to ask for as `before` for the next page; null on the last."
    )


class Song(BaseModel):
    """An asset under other names."""

    model_config = _example(song_id=3, title="Letters from Nowhere", artist="The Constellations")

    song_id: int
    title: str | None
    artist: str | None


class UploadedSong(Song):
    """A song that was sent, and whether clips of it are found."""

    status: str
    error: str | None
    is_new: bool = Field(description="False where the collection had these bytes before.")


class SongPage(BaseModel):
    """Songs, newest first."""

    songs: list[Song]
    total: int
    next_before: int | None


def stages_of(stages: list[Stage]) -> list[SearchStage]:
    """Return the stages of a search as the service shows them."""
    return [SearchStage.model_validate(asdict(stage)) for stage in stages]
