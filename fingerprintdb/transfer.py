"""Takes a collection out of a database into an archive, and from an archive into a database."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fingerprintdb.archive import FORMS, ArchiveReader, ArchiveWriter, AssetRecord
from fingerprintdb.source import may_be_read
from fingerprintdb.store.adoption import Adopted, adopt, require_adoptable
from fingerprintdb.store.arrival import put_arrival
from fingerprintdb.store.database import Connection, DatabaseError
from fingerprintdb.store.index import compact_when_due
from fingerprintdb.store.model import ModelChangedError
from fingerprintdb.store.profile import ProfileChangedError
from fingerprintdb.store.snapshot import Snapshot

LANDMARKS_BEFORE_PACKING = 1 << 22
"""After so many it is asked whether the index is to be packed: what waits makes searches slow."""


@dataclass(frozen=True, slots=True)
class Written:
    """What an archive that was written holds."""

    assets: int
    landmarks: int
    size_bytes: int
    sha256: str


def write_archive(
    held: Snapshot,
    file: BinaryIO,
    form: str,
    *,
    told: Callable[[int], None] | None = None,
    counted: Callable[[str], None] | None = None,
) -> Written:
    """Write what a snapshot holds to a file; `form` is a name of FORMS.

    `told` hears how many landmarks have been read before the first asset is written, `counted`
    that an asset has been. Raises ArchiveError where an asset does not fit the form.
    """
    writer = ArchiveWriter(file, FORMS[form], held.header)
    landmarks = 0
    for record in held.records(told):
        if isinstance(record, bytes):
            writer.content(record)
            continue
        writer.asset(record)
        landmarks += len(record.landmarks)
        if counted is not None:
            counted("written")
    sha256 = writer.end()
    return Written(writer.assets, landmarks, writer.size_bytes, sha256)


def check_archive(reader: ArchiveReader) -> Iterator[None]:
    """Yield once an asset while an archive is read through; ArchiveError where it is not whole."""
    for record in reader.records():
        if isinstance(record, AssetRecord):
            yield


def take_in(
    connection: Connection,
    reader: ArchiveReader,
    *,
    collection: str | None = None,
    embed: bool | None = None,
) -> Iterator[str]:
    """Store an archive's assets, each whole or not at all, and yield what became of each.

    new, skipped (the collection plays the same bytes the same way), queued (new, its vectors left
    to workers) or unembedded (new, without vectors); before them notes on what else was changed.
    `collection` is where they go instead of those of the archive. Only what `check_archive` has
    been through is to be taken in. Raises DatabaseError where the archive does not fit.
    """
    adopted = adopt(connection, reader.header, embed=embed, collection=collection)
    for note in adopted.notes:
        yield f"note: {note}"
    work: tuple[int, int] | None = None
    waiting = 0
    for record, content in _whole(reader):
        work_id = work[1] if work is not None and record.version_of == work[0] else None
        arrived = _put(connection, record, content, adopted, collection, work_id, embed=embed)
        if record.version_of is None:
            work = (record.key, arrived.work_id)
        yield arrived.state
        waiting += len(record.landmarks)
        if waiting >= LANDMARKS_BEFORE_PACKING:
            compact_when_due(connection)
            waiting = 0
    compact_when_due(connection)


@dataclass(frozen=True, slots=True)
class _Placed:
    state: str
    work_id: int


def _put(
    connection: Connection,
    record: AssetRecord,
    content: bytes | None,
    adopted: Adopted,
    collection: str | None,
    work_id: int | None,
    *,
    embed: bool | None,
) -> _Placed:
    is_embedded = any(adopted.model_ids[v.model] == adopted.active_model_id for v in record.vectors)
    missing = None
    if not is_embedded:
        missing = _why_not(record, content, adopted.active_model_name, embed=embed)
    try:
        arrived = put_arrival(
            connection,
            record,
            content,
            adopted,
            collection=record.description.collection if collection is None else collection,
            work_id=work_id,
            embedding_error=missing,
        )
    except (ProfileChangedError, ModelChangedError) as error:
        raise DatabaseError(
            "another profile or model became the active one meanwhile",
            "run `fpdb import` again: what came in so far is skipped",
        ) from error
    if not arrived.is_new:
        return _Placed("skipped", arrived.work_id)
    state = "new" if is_embedded else "unembedded" if missing else "queued"
    return _Placed(state, arrived.work_id)


def _why_not(
    record: AssetRecord, content: bytes | None, model: str, *, embed: bool | None
) -> str | None:
    """Say why an asset that came without the active model's vectors does not get them; or None."""
    uri = record.description.uri
    if embed is not False and (content is not None or (uri is not None and may_be_read(uri))):
        return None
    return (
        f"it came from an archive without vectors of {model}: landmarks alone find it"
        " — bring the audio within reach and run `fpdb reprocess --failed`"
    )


def _whole(reader: ArchiveReader) -> Iterator[tuple[AssetRecord, bytes | None]]:
    """Yield each asset with its content, which comes in pieces."""
    asset: AssetRecord | None = None
    pieces: list[bytes] = []
    for record in reader.records():
        if isinstance(record, bytes):
            pieces.append(record)
            continue
        if asset is not None:
            yield asset, b"".join(pieces) or None
        asset, pieces = record, []
    if asset is not None:
        yield asset, b"".join(pieces) or None


__all__ = ["Written", "check_archive", "require_adoptable", "take_in", "write_archive"]
