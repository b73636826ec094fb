"""An asset as an archive holds it: its row, its landmarks and bits, its segments and vectors."""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from fingerprintdb.archive.error import ArchiveError
from fingerprintdb.archive.fields import Fields, parsed, storable_json
from fingerprintdb.archive.header import Header
from fingerprintdb.landmarks import DIFFERENCE_BITS, FREQUENCY_BITS, TIME_BITS, Landmarks
from fingerprintdb.subfingerprints import Bits

HASH_BITS = FREQUENCY_BITS + DIFFERENCE_BITS + TIME_BITS
LEAST_KEY = -(2**63)
LONGEST_SEC = 2.0**31
MOST_CONTENT_BYTES = 2**30
"""A gigabyte, which is all that a field of Postgres holds."""

Integers = npt.NDArray[np.int32]
Seconds = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Columns of fpdb.asset, by their names; `metadata` is JSON, times are as Postgres writes."""

    collection: str
    content_type: str
    uri: str | None
    title: str | None
    artist: str | None
    metadata: str
    pitch: float
    tempo: float
    segment_duration_sec: float
    segment_hop_sec: float
    sample_rate: int
    normalize_embeddings: bool
    normalize_loudness: bool
    separator: str | None
    max_audio_length_sec: float | None
    created_at: str
    processed_at: str | None
    sha256: str | None
    audio_source_type: str | None
    duration_sec: float | None
    source_sample_rate: int | None

    @classmethod
    def from_fields(cls, fields: Fields) -> "Description":
        """Check what a file says as fpdb.asset itself would."""
        description = cls(
            collection=fields.text("collection", is_empty_allowed=True),
            content_type=fields.text("content_type"),
            uri=fields.optional_text("uri", is_empty_allowed=False),
            title=fields.optional_text("title"),
            artist=fields.optional_text("artist"),
            metadata=_metadata(fields),
            pitch=fields.number("pitch", 0.5, 2),
            tempo=fields.number("tempo", 0.5, 2),
            segment_duration_sec=fields.number("segment_duration_sec", 1, 30),
            segment_hop_sec=fields.number("segment_hop_sec", 0.5, 15),
            sample_rate=fields.integer("sample_rate", 8000, 192_000),
            normalize_embeddings=fields.flag("normalize_embeddings"),
            normalize_loudness=fields.flag("normalize_loudness"),
            separator=fields.optional_text("separator", is_empty_allowed=False),
            max_audio_length_sec=fields.optional_number("max_audio_length_sec", 1, 600),
            created_at=fields.moment("created_at"),
            processed_at=None if fields.is_null("processed_at") else fields.moment("processed_at"),
            sha256=fields.optional_text("sha256"),
            audio_source_type=fields.optional_text("audio_source_type"),
            duration_sec=fields.optional_number("duration_sec", 0, LONGEST_SEC),
            source_sample_rate=None
            if fields.is_null("source_sample_rate")
            else fields.integer("source_sample_rate", -(2**31), 2**31 - 1),
        )
        if not 0.5 <= description.tempo / description.pitch <= 2:
            raise fields.wrong("tempo / pitch", "is not a number from 0.5 to 2")
        if description.audio_source_type not in {None, "audio", "video"}:
            raise fields.wrong("audio_source_type", "is neither audio nor video")
        if description.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", description.sha256):
            raise fields.wrong("sha256", "is not a SHA-256 in hexadecimal")
        return description


@dataclass(frozen=True, slots=True)
class Segments:
    """Windows of an asset: four arrays of one length, in order of index.

    indexes int32, starts and ends in seconds float64, silent bool.
    """

    indexes: Integers
    starts_sec: Seconds
    ends_sec: Seconds
    silent: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.indexes)


@dataclass(frozen=True, slots=True)
class ModelVectors:
    """Vectors of one model: those of the segments at `places`, which count from 0.

    places int32 (n,), vectors float32 (n, dims), milliseconds that each took float32 (n,);
    `model` is a place in the header's models.
    """

    model: int
    places: Integers
    vectors: Vectors
    times_ms: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AssetRecord:
    """An asset; `key` is what others of the archive call it.

    `version_of` is the key of the work before it. `content_bytes` of content follow the record;
    None where the archive has only the asset's URI. An asset without a model's entry in `vectors`
    was not embedded with it; one of silence has an entry that is empty.
    """

    key: int
    version_of: int | None
    content_bytes: int | None
    description: Description
    landmarks: Landmarks
    sub_fingerprints: Bits
    segments: Segments
    vectors: tuple[ModelVectors, ...]

    def check(self, header: Header) -> None:
        """Raise ArchiveError unless the arrays are such as a stage could have made."""
        fail = _Failure(self.key)
        hashes, frames = self.landmarks.hashes, self.landmarks.frames
        fail.unless(len(hashes) == len(frames), "landmarks are not pairs")
        fail.unless(bool(((hashes >= 0) & (hashes < 1 << HASH_BITS)).all()), "a hash is too large")
        fail.unless(bool((frames >= 0).all()), "a frame is negative")
        width = header.profile.bytes_a_sub_fingerprint
        fail.unless(self.sub_fingerprints.shape[1:] == (width,), "bits are not the profile's")
        described = self.description
        fail.unless(
            described.collection in {one.name for one in header.collections}
            and described.content_type in {one.name for one in header.content_types},
            "its collection or content type is not one of the archive's",
        )
        named = described.uri is not None or self.content_bytes is not None
        fail.unless(named, "neither a URI nor content is given")
        cut = self.segments
        fail.unless(
            len(cut) == len(cut.starts_sec) == len(cut.ends_sec) == len(cut.silent),
            "segments lack times",
        )
        fail.unless(_ascends(cut.indexes), "segments are not in order")
        starts, ends = cut.starts_sec, cut.ends_sec
        # Not a number is in no order, and fails.
        in_time = (starts >= 0) & (starts <= ends) & (ends <= LONGEST_SEC)
        fail.unless(bool(in_time.all()), "a segment has no time")
        models = [made.model for made in self.vectors]
        fail.unless(len(set(models)) == len(models), "vectors of a model come twice")
        for made in self.vectors:
            fail.unless(0 <= made.model < len(header.models), "vectors are of no model")
            shape = (len(made.places), header.models[made.model].dims)
            fail.unless(made.vectors.shape == shape, "vectors are not of the model's dimensions")
            fail.unless(made.times_ms.shape == shape[:1], "vectors lack their times")
            fail.unless(
                _ascends(made.places) and bool((made.places < len(cut)).all()),
                "vectors are of no segment",
            )
            finite = np.isfinite(made.vectors).all() and np.isfinite(made.times_ms).all()
            fail.unless(bool(finite), "a vector is not finite")


def nested(metadata: str) -> Any:
    """Return metadata as the JSON value it is, or as text where Python's floats would change it."""
    is_exact = True

    def number(text: str) -> float:
        nonlocal is_exact
        is_exact &= Decimal(repr(float(text))) == Decimal(text)
        return float(text)

    try:
        value = json.loads(metadata, parse_float=number)
    except (ValueError, RecursionError):
        return metadata
    return value if is_exact and isinstance(value, dict) else metadata


def _metadata(fields: Fields) -> str:
    """Take metadata as an object, or as the text of one."""
    value = fields.anything("metadata")
    what = f"metadata of {fields.what}"
    if isinstance(value, str):
        storable_json(parsed(value, what, numbers=str), what)
        return value
    return storable_json(value, what)


def _ascends(numbers: Integers) -> bool:
    # int32 would wrap where a file means it to.
    return bool((np.diff(numbers.astype(np.int64), prepend=-1) > 0).all())


@dataclass(frozen=True, slots=True)
class _Failure:
    key: int

    def unless(self, condition: bool, why: str) -> None:
        if not condition:
            raise ArchiveError(f"asset {self.key} of the archive is not as it must be: {why}")
