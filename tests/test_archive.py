"""The archive: records survive both forms, and nothing that is not whole or not sound is let in."""

import base64
import hashlib
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fingerprintdb.archive import (
    FORMS,
    ArchiveError,
    ArchiveReader,
    ArchiveWriter,
    AssetRecord,
    ContentType,
    Description,
    Header,
    Model,
    ModelVectors,
    NamedCollection,
    NamedProfile,
    Segments,
    compact,
    lines,
)
from fingerprintdb.archive.columns import Cursor, in_order, pack_landmarks, unpack_landmarks
from fingerprintdb.landmarks import Landmarks
from fingerprintdb.profile import ACCURATE

DIMS = 4
WIDTH = ACCURATE.sub_fingerprint_bits // 8


def header(assets: int = 1) -> Header:
    model = Model(
        "tiny", "1", "tiny", DIMS, 16_000, "active", -20.0, 25.5, "vector", {"music": 0.5}
    )
    return Header(
        program="0.1.0",
        schema="0008",
        exported_at="2026-01-31 12:00:00.5+00",
        assets=assets,
        profile=NamedProfile(ACCURATE.name, ACCURATE.digest, ACCURATE.parameters()),
        models=(model, replace(model, name="other", state="shadow", dims=2, weights={})),
        content_types=(ContentType("music", 0.75, 0.75, 0.95, None),),
        collections=(NamedCollection("ä b", "for people", "2026-01-31 12:00:00+00"),),
    )


def description(**values: Any) -> Description:
    return replace(
        Description(
            collection="ä b",
            content_type="music",
            uri="/music/Größe.mp3",
            title='"quoted" \\ \u2028 🎵',
            artist="",
            metadata='{"label": "X", "n": [1, 0.1, null, {"deep": true}]}',
            pitch=1.0,
            tempo=0.1 + 0.9,
            segment_duration_sec=5.0,
            segment_hop_sec=2.5,
            sample_rate=48_000,
            normalize_embeddings=True,
            normalize_loudness=False,
            separator=None,
            max_audio_length_sec=None,
            created_at="2026-01-31 12:00:00.123456+00",
            processed_at=None,
            sha256=None,
            audio_source_type="audio",
            duration_sec=61.234567890123,
            source_sample_rate=44_100,
        ),
        **values,
    )


def record(seed: int = 0, key: int = 7, *, landmarks: int = 500, **values: Any) -> AssetRecord:
    rng = np.random.default_rng(seed)
    starts = np.arange(5) * 2.5
    return replace(
        AssetRecord(
            key=key,
            version_of=None,
            content_bytes=None,
            description=description(),
            landmarks=Landmarks(
                rng.integers(0, 1 << 24, landmarks, np.int32),
                np.sort(rng.integers(0, landmarks, landmarks, np.int32)),
            ),
            sub_fingerprints=rng.integers(0, 256, (40, WIDTH), np.uint8),
            segments=Segments(np.arange(5, dtype=np.int32), starts, starts + 5, np.arange(5) == 3),
            vectors=(
                ModelVectors(
                    0,
                    np.array([0, 1, 2, 4], np.int32),
                    rng.standard_normal((4, DIMS)).astype(np.float32),
                    rng.random(4, np.float32),
                ),
                ModelVectors(
                    1, np.empty(0, np.int32), np.empty((0, 2), np.float32), np.empty(0, np.float32)
                ),
            ),
        ),
        **values,
    )


def written(form: str, *records: AssetRecord | bytes, of: Header | None = None) -> bytes:
    file = io.BytesIO()
    assets = sum(isinstance(one, AssetRecord) for one in records)
    writer = ArchiveWriter(file, FORMS[form], of or header(assets))
    for one in records:
        if isinstance(one, bytes):
            writer.content(one)
        else:
            writer.asset(one)
    writer.end()
    return file.getvalue()


def read(data: bytes) -> list[AssetRecord | bytes]:
    return list(ArchiveReader(io.BytesIO(data)).records())


def plain(value: Any) -> Any:
    """Return records as values that can be compared."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def as_read(one: AssetRecord | bytes) -> Any:
    if isinstance(one, bytes):
        return one
    values = asdict(replace(one, landmarks=in_order(one.landmarks)))
    values["description"]["metadata"] = json.loads(values["description"]["metadata"])
    return plain(values)


both_forms = pytest.mark.parametrize("form", ["compact", "lines"])


@both_forms
def test_everything_survives(form: str) -> None:
    content = bytes(range(256)) * 20_000
    named = description(uri=None, sha256=hashlib.sha256(content).hexdigest())
    records = [
        record(0, key=7),
        record(1, key=-8, version_of=7, description=description(tempo=2.0, pitch=1.5)),
        record(2, key=9, content_bytes=len(content), description=named),
        content[: 3 * 2**20],
        content[3 * 2**20 :],
        record(3, key=10, landmarks=0),
    ]
    data = written(form, *records)
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    reader = ArchiveReader(file)
    assert reader.header == header(4)
    for _ in range(2):
        assert [as_read(one) for one in reader.records()] == [as_read(one) for one in records]


@both_forms
def test_an_empty_collection_is_an_archive(form: str) -> None:
    assert read(written(form)) == []


def test_lines_are_for_people() -> None:
    data = written("lines", record())
    first, asset, end = (json.loads(line) for line in data.splitlines())
    assert first["fingerprintdb_archive"] == 1
    assert (first["profile"]["digest"], first["models"][0]["name"]) == (ACCURATE.digest, "tiny")
    assert asset["title"] == record().description.title
    assert asset["metadata"]["n"] == [1, 0.1, None, {"deep": True}]
    assert len(asset["hashes"]) == len(asset["frames"]) == 500
    assert end["end"] == 1
    before = data[: data.rindex(b"\n", 0, -1) + 1]
    assert end["sha256"] == hashlib.sha256(before).hexdigest()


def test_metadata_keeps_numbers_that_python_would_round() -> None:
    text = '{"n": 0.1000000000000000000001, "huge": 1e400, "long": ' + "9" * 5000 + "}"
    for form in FORMS:
        (one,) = read(written(form, record(description=description(metadata=text))))
        assert isinstance(one, AssetRecord)
        assert one.description.metadata == text


def test_compact_is_smaller() -> None:
    one = record(landmarks=20_000)
    assert len(written("compact", one)) < 0.3 * len(written("lines", one))


@settings(max_examples=40)
@given(st.data())
def test_landmarks_and_vectors_survive_whatever_they_are(data: st.DataObject) -> None:
    size = data.draw(st.integers(0, 600))
    few = data.draw(st.booleans())
    hashes = data.draw(
        arrays.arrays(
            np.int32,
            size,
            elements=st.integers(0, 3 if few else (1 << 24) - 1),
            fill=st.just(5),
        )
    )
    frames = data.draw(
        arrays.arrays(
            np.int32, size, elements=st.integers(0, 2 if few else 2**31 - 1), fill=st.just(1)
        )
    )
    cursor = Cursor(pack_landmarks(Landmarks(hashes, frames)), "a test")
    found = unpack_landmarks(cursor)
    cursor.end()
    assert plain(asdict(found)) == plain(asdict(in_order(Landmarks(hashes, frames))))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    vectors = data.draw(arrays.arrays(np.float32, (3, DIMS), elements=finite))
    made = ModelVectors(0, np.arange(3, dtype=np.int32), vectors, vectors[:, 0])
    one = record(vectors=(made,), landmarks=3)
    for form in FORMS:
        (back,) = read(written(form, one))
        assert as_read(back) == as_read(one)


def damaged(data: bytes, draw: Callable[[st.SearchStrategy[int]], int]) -> Iterator[bytes]:
    at = draw(st.integers(0, len(data) - 1))
    yield data[:at]
    bit = draw(st.integers(0, 7))
    yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    yield data[:at] + data[at + 1 :]
    yield data[:at] + b"\0" * 7 + data[at + 7 :] + b"\n"


EXAMPLES = {
    form: written(
        form,
        record(landmarks=30, content_bytes=5, sub_fingerprints=record().sub_fingerprints[:2]),
        b"bytes",
        record(key=8, version_of=7, landmarks=1, sub_fingerprints=record().sub_fingerprints[:1]),
    )
    for form in FORMS
}


@both_forms
@settings(max_examples=150)
@given(data=st.data())
def test_what_is_damaged_anywhere_is_refused(form: str, data: st.DataObject) -> None:
    for bad in damaged(EXAMPLES[form], data.draw):
        if bad != EXAMPLES[form]:
            with pytest.raises(ArchiveError):
                read(bad)


@both_forms
def test_every_cut_and_the_ends_are_refused(form: str) -> None:
    data = EXAMPLES[form]
    for at in [*range(0, len(data), 17), *range(len(data) - 100, len(data))]:
        with pytest.raises(ArchiveError):
            read(data[:at])
    for more in (b"\n", b"x", data):
        with pytest.raises(ArchiveError):
            read(data + more)


def test_what_is_no_archive_says_so() -> None:
    for data, why in (
        (b"", "empty"),
        (b"ID3\3\0 music", "not an archive"),
        (b'{"some": "json"}\n', "not an archive"),
        (b"\x1f\x8b\x08", "not an archive"),
        (compact.MARK, "ends in the middle"),
        (compact.MARK.replace(b"\r\n", b"\n"), "very beginning"),
    ):
        with pytest.raises(ArchiveError, match=why):
            read(data)


def test_a_newer_format_asks_for_a_newer_program() -> None:
    newer = {
        "lines": EXAMPLES["lines"].replace(b'archive":1', b'archive":2'),
        "compact": EXAMPLES["compact"].replace(compact.MARK + b"\1", compact.MARK + b"\2"),
    }
    for data in newer.values():
        with pytest.raises(ArchiveError, match="format 2, this program reads up to 1 — upgrade"):
            read(data)


def edited(**values: Any) -> bytes:
    """Return an archive whose asset has other values, and whose checksum is right."""
    first, asset, _ = written("lines", record(landmarks=2)).splitlines()
    line = json.dumps(json.loads(asset) | values).encode()
    return sealed(first + b"\n" + line + b"\n")


def sealed(data: bytes) -> bytes:
    end = {"end": 1, "sha256": hashlib.sha256(data).hexdigest()}
    return data + json.dumps(end).encode() + b"\n"


VECTORS: dict[str, Any] = {"model": 0, "segments": [0], "times_ms": [1.0]}


@pytest.mark.parametrize(
    "values",
    [
        {"hashes": [1, 1 << 24]},
        {"hashes": [-1, 1]},
        {"hashes": [1, 2**40]},
        {"hashes": [1, 1.5]},
        {"hashes": [1, True]},
        {"frames": [0, -1]},
        {"frames": [1]},
        {"frames": {"0": 1}},
        {"sub_fingerprints": ["00"]},
        {"sub_fingerprints": ["zz" * WIDTH]},
        {"sub_fingerprints": [" " * (2 * WIDTH)]},
        {"segment_indexes": [0, 1, 1, 2, 3]},
        {"segment_indexes": [-(2**31), 1, 2, 3, 2**31 - 1]},
        {"start_times_sec": [0, 2.5, 5, 7.5, -1]},
        {"end_times_sec": [0, 0, 0, 0, 1e300]},
        {"end_times_sec": [5]},
        {"is_silent": [0, 0, 0, 1, 0]},
        {"vectors": [VECTORS | {"vectors": [[0.1] * (DIMS + 1)]}]},
        {"vectors": [VECTORS | {"vectors": [[1e39] * DIMS]}]},
        {"vectors": [VECTORS | {"vectors": [["1"] * DIMS]}]},
        {"vectors": [VECTORS | {"vectors": [[0.1] * DIMS], "segments": [5]}]},
        {"vectors": [VECTORS | {"vectors": [[0.1] * DIMS], "segments": [-1]}]},
        {"vectors": [VECTORS | {"vectors": [[0.1] * DIMS], "model": 2}]},
        {"vectors": [VECTORS | {"vectors": [[0.1] * DIMS]}] * 2},
        {"title": "NUL \0"},
        {"title": 5},
        {"artist": "\ud800"},
        {"metadata": []},
        {"metadata": {"a": "\0"}},
        {"metadata": '{"a": NaN}'},
        {"metadata": "no JSON"},
        {"metadata": "[" * 100_000},
        {"uri": None},
        {"uri": ""},
        {"collection": "another"},
        {"content_type": "another"},
        {"pitch": 0.5, "tempo": 2},
        {"tempo": 10**400},
        {"sample_rate": 1},
        {"segment_hop_sec": "2.5"},
        {"duration_sec": -1},
        {"sha256": "../../etc"},
        {"audio_source_type": "image"},
        {"created_at": "yesterday"},
        {"created_at": "2026-01-31 12:00:00"},
        {"version_of": 8},
        {"asset": 2**63},
        {"content_bytes": 2**62},
        {"content_bytes": 5},
        {"surprise": 1},
    ],
    ids=lambda values: str(values)[:40],
)
def test_unsound_values_are_refused(values: dict[str, Any]) -> None:
    assert len(read(edited())) == 1
    with pytest.raises(ArchiveError):
        read(edited(**values))


def test_content_must_be_what_its_digest_says() -> None:
    digest = hashlib.sha256(b"bytes").hexdigest()
    one = record(content_bytes=5, description=description(sha256=digest))
    assert read(written("compact", one, b"bytes"))[1] == b"bytes"
    for pieces in ([b"other"], [b"byte"], [b"bytes", b"bytes"], []):
        with pytest.raises(ArchiveError):
            read(written("compact", one, *pieces))


def test_lengths_that_lie_take_no_memory() -> None:
    begin = compact.Compact().header(header())
    for stored, whole in ((2**32 - 1, 2**32 - 1), (2**28, 10), (20, 2**28)):
        with pytest.raises(ArchiveError):
            read(begin + compact.FRAME.pack(b"A", stored, whole) + zlib.compress(b"0" * 100))
    bomb = zlib.compress(b"\0" * 2**20)
    with pytest.raises(ArchiveError, match="as long as it says"):
        read(begin + compact.FRAME.pack(b"A", len(bomb), 1000) + bomb)
    # Landmarks, bits, segments and vectors each as many as a number can say.
    described = json.dumps({"asset": 1, "version_of": None, "content_bytes": None}).encode()
    named = json.dumps(json.loads(described) | asdict(description())).encode()
    for counts in ((2**32 - 1, 2**32 - 1), (0, 0, 2**32 - 1), (0, 0, 0, 2**32 - 1),
                   (0, 0, 0, 0, 2**32 - 1), (0, 0, 0, 0, 1, 0, 2**32 - 1)):  # fmt: skip
        payload = struct.pack("<I", len(named)) + named + struct.pack(f"<{len(counts)}I", *counts)
        with pytest.raises(ArchiveError):
            read(begin + frame(payload))


def frame(payload: bytes) -> bytes:
    packed = zlib.compress(payload)
    return compact.FRAME.pack(b"A", len(packed), len(payload)) + packed


def test_an_endless_line_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_RECORD_BYTES", 10_000)
    monkeypatch.setattr("fingerprintdb.archive.form.MOST_RECORD_BYTES", 10_000)
    first = written("lines").splitlines(keepends=True)[0]
    with pytest.raises(ArchiveError, match="longer than"):
        read(first + b" " * 20_000)
    with pytest.raises(ArchiveError, match="longer than"):
        written("lines", record(landmarks=5_000))


def test_a_piece_of_content_is_base64() -> None:
    first, asset, piece, *_ = EXAMPLES["lines"].splitlines(keepends=True)
    assert base64.b64decode(json.loads(piece)["content"]) == b"bytes"
    for bad in (b'{"content":"not base64!"}\n', b'{"content":""}\n', b'{"content":7}\n'):
        with pytest.raises(ArchiveError):
            read(first + asset + bad)
