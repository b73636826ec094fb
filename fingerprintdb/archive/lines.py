"""The form for people: JSON lines; the header, a line an asset, the end.

The SHA-256 of the end is that of all lines before it: `head -n -1 FILE | sha256sum`.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, BinaryIO, ClassVar

import numpy as np
import numpy.typing as npt

from fingerprintdb.archive.columns import in_order
from fingerprintdb.archive.error import ArchiveError
from fingerprintdb.archive.fields import Fields, parsed
from fingerprintdb.archive.form import MOST_RECORD_BYTES, End, Read, require_format, require_length
from fingerprintdb.archive.header import FORMAT, MOST_DIMS, Header
from fingerprintdb.archive.record import (
    LEAST_KEY,
    MOST_CONTENT_BYTES,
    AssetRecord,
    Description,
    ModelVectors,
    Segments,
    nested,
)
from fingerprintdb.landmarks import Landmarks

MARK = "fingerprintdb_archive"
"""The first field of the first line; its value is the format."""


class Lines:
    """JSON lines; each says in its first field what it is."""

    name: ClassVar[str] = "lines"

    def header(self, header: Header) -> bytes:
        """Return the first line."""
        return _line({MARK: FORMAT} | header.to_fields())

    def asset(self, asset: AssetRecord, header: Header) -> bytes:
        """Return an asset as one line."""
        del header
        described = asdict(asset.description)
        landmarks = in_order(asset.landmarks)
        cut = asset.segments
        line = _line(
            {
                "asset": asset.key,
                "version_of": asset.version_of,
                "content_bytes": asset.content_bytes,
                **described,
                "metadata": nested(described["metadata"]),
                "hashes": landmarks.hashes.tolist(),
                "frames": landmarks.frames.tolist(),
                "sub_fingerprints": [bits.tobytes().hex() for bits in asset.sub_fingerprints],
                "segment_indexes": cut.indexes.tolist(),
                "start_times_sec": cut.starts_sec.tolist(),
                "end_times_sec": cut.ends_sec.tolist(),
                "is_silent": cut.silent.tolist(),
                "vectors": [_vectors(made) for made in asset.vectors],
            }
        )
        require_length(len(line), f"asset {asset.key} as a line of JSON")
        return line

    def content(self, piece: bytes) -> bytes:
        """Return a piece of content as a line, in base64."""
        return _line({"content": base64.b64encode(piece).decode()})

    def end(self, end: End) -> bytes:
        """Return the last line."""
        return _line({"end": end.assets, "sha256": end.sha256})

    def read(self, file: BinaryIO) -> Iterator[Read]:
        """Yield what the lines say."""
        header, number = None, 0
        while line := file.readline(MOST_RECORD_BYTES + 1):
            number += 1
            what = f"line {number} of the archive"
            require_length(len(line), what)
            if not line.endswith(b"\n"):
                raise ArchiveError(f"the archive ends in the middle of line {number}")
            record = _record(Fields(parsed(line, what), what), header)
            if isinstance(record, Header):
                header = record
            yield Read(record, line)


def _record(fields: Fields, header: Header | None) -> Header | AssetRecord | bytes | End:
    if header is None:
        require_format(fields.anything(MARK))
        return Header.from_fields(fields)
    if fields.has("asset"):
        return _asset(fields, header)
    if fields.has("content"):
        return _content(fields)
    end = End(fields.integer("end"), fields.text("sha256"))
    fields.end()
    return end


def _content(fields: Fields) -> bytes:
    try:
        piece = base64.b64decode(fields.text("content"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ArchiveError(f"{fields.what} is damaged: it is not base64") from error
    fields.end()
    return piece


def _asset(fields: Fields, header: Header) -> AssetRecord:
    key = fields.integer("asset", LEAST_KEY)
    fields.what = f"asset {key} of the archive"
    version_of = None
    if not fields.is_null("version_of"):
        version_of = fields.integer("version_of", LEAST_KEY)
    content_bytes = None
    if not fields.is_null("content_bytes"):
        content_bytes = fields.integer("content_bytes", 1, MOST_CONTENT_BYTES)
    record = AssetRecord(
        key=key,
        version_of=version_of,
        content_bytes=content_bytes,
        description=Description.from_fields(fields),
        landmarks=Landmarks(_integers(fields, "hashes"), _integers(fields, "frames")),
        sub_fingerprints=_bits(fields, header.profile.bytes_a_sub_fingerprint),
        segments=Segments(
            _integers(fields, "segment_indexes"),
            _array(fields, "start_times_sec", np.float64),
            _array(fields, "end_times_sec", np.float64),
            _array(fields, "is_silent", np.bool_),
        ),
        vectors=tuple(
            _model_vectors(Fields(one, f"the vectors of {fields.what}"), header)
            for one in fields.items("vectors")
        ),
    )
    fields.end()
    return record


def _vectors(made: ModelVectors) -> dict[str, Any]:
    return {
        "model": made.model,
        "segments": made.places.tolist(),
        "times_ms": _shortest(made.times_ms),
        "vectors": [_shortest(vector) for vector in made.vectors],
    }


def _model_vectors(fields: Fields, header: Header) -> ModelVectors:
    model = fields.integer("model", 0, len(header.models) - 1)
    rows = fields.items("vectors")
    dims = header.models[model].dims
    if not all(isinstance(row, list) and len(row) == dims <= MOST_DIMS for row in rows):
        raise fields.wrong("vectors", f"are not lists of {dims} numbers")
    flat = Fields({"vectors": [number for row in rows for number in row]}, fields.what)
    made = ModelVectors(
        model,
        _integers(fields, "segments"),
        _array(flat, "vectors", np.float32).reshape(len(rows), dims),
        _array(fields, "times_ms", np.float32),
    )
    fields.end()
    return made


def _shortest(numbers: npt.NDArray[np.float32]) -> list[float]:
    """Return single-precision numbers as the shortest decimals that mean them."""
    return [float(text) for text in numbers.astype("U32")]


def _bits(fields: Fields, width: int) -> npt.NDArray[np.uint8]:
    rows = fields.items("sub_fingerprints")
    if not all(isinstance(row, str) and len(row) == 2 * width for row in rows):
        raise fields.wrong("sub_fingerprints", f"are not texts of {2 * width} digits")
    try:
        data = bytes.fromhex("".join(rows))
    except ValueError:
        raise fields.wrong("sub_fingerprints", "are not hexadecimal") from None
    # Blanks between digits are let through, and make it shorter.
    if len(data) != len(rows) * width:
        raise fields.wrong("sub_fingerprints", "are not hexadecimal")
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def _integers(fields: Fields, name: str) -> npt.NDArray[np.int32]:
    return np.asarray(_array(fields, name, np.int32), np.int32)


def _array(fields: Fields, name: str, dtype: type[np.generic]) -> npt.NDArray[Any]:
    """Take a list of numbers, or of truths, as an array; ArchiveError where it is none."""
    values = fields.items(name)
    allowed: set[type] = {int, float}
    if dtype in {np.int32, np.bool_}:
        allowed = {int} if dtype is np.int32 else {bool}
    if not {type(value) for value in values} <= allowed:
        raise fields.wrong(name, "is not a list of such numbers")
    try:
        # Out of single precision's range is infinite, which a record refuses.
        with np.errstate(over="ignore"):
            return np.array(values, np.float64 if dtype is np.float32 else dtype).astype(dtype)
    except (OverflowError, ValueError):
        raise fields.wrong(name, "holds a number that is too large") from None


def _line(values: dict[str, Any]) -> bytes:
    try:
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise ArchiveError(
            f"asset {values.get('asset')} holds a number that is not finite",
            "`fpdb reprocess` makes it again",
        ) from error
    return text.encode() + b"\n"
