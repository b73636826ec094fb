"""Reads the landmarks of many assets in one look at the index, and hands them out asset by asset.

The index is by hash: one asset's landmarks cost a look at all of it. So it is read once, and what
does not fit into memory waits in files, each for assets that follow one another.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fingerprintdb.landmarks import Landmarks
from fingerprintdb.store.database import COPY_HEADER, Connection

# One row of binary COPY: the number of fields, then each field's length and value.
COPIED = np.dtype(
    [
        ("fields", ">i2"),
        ("asset_id_bytes", ">i4"),
        ("asset_id", ">i8"),
        ("hash_bytes", ">i4"),
        ("hash", ">i4"),
        ("frame_bytes", ">i4"),
        ("frame", ">i4"),
    ]
)
HELD = np.dtype([("place", "<u4"), ("hash", "<i4"), ("frame", "<i4")])
"""A landmark of the asset at a place in the order that is asked for."""

MOST_HELD = 1 << 22
"""Landmarks in memory at once (50 MB); a file holds as many, unless one asset has more."""

COPIED_AT_ONCE = 1 << 20
"""Rows that are taken from the server before they are looked at (30 MB)."""

EVERY_LANDMARK = (
    "COPY (SELECT l.asset_id, l.hash, l.frame FROM fpdb.landmark l"
    " JOIN fpdb.asset a USING (asset_id) WHERE {}) TO STDOUT (FORMAT binary)"
)


@contextmanager
def harvest(
    connection: Connection,
    asset_ids: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    *,
    collection: str | None = None,
    most_held: int = MOST_HELD,
    told: Callable[[int], None] | None = None,
) -> Iterator[Iterator[Landmarks]]:
    """Yield the active profile's landmarks of each asset, in the order of the keys.

    `counts` says about how many each has. `told` hears how many landmarks have been read since it
    was called last. Must run in a transaction of one snapshot.
    """
    part_of = (np.cumsum(counts) - counts) // most_held
    with tempfile.TemporaryDirectory(prefix="fpdb-", ignore_cleanup_errors=True) as folder:
        waiting = _Waiting(Path(folder), part_of.astype(np.int64))
        by_key = np.argsort(asset_ids)
        for rows in _copied(connection, collection, most_held):
            at = np.searchsorted(asset_ids, rows["asset_id"], sorter=by_key)
            places = by_key[np.minimum(at, len(by_key) - 1)] if len(by_key) else at
            known = asset_ids[places] == rows["asset_id"] if len(by_key) else at < 0
            held = np.empty(int(known.sum()), HELD)
            held["place"] = places[known]
            held["hash"], held["frame"] = rows["hash"][known], rows["frame"][known]
            waiting.put(held)
            if told is not None:
                told(len(rows))
        yield _handed_out(waiting, len(asset_ids))


class _Waiting:
    """Landmarks by part: those of the part that was put in last in memory, all others in files."""

    def __init__(self, folder: Path, part_of: npt.NDArray[np.int64]) -> None:
        self.part_of = part_of
        self._folder = folder
        self._is_one = not len(part_of) or not part_of[-1]
        self._held: list[npt.NDArray[Any]] = []

    def put(self, held: npt.NDArray[Any]) -> None:
        if self._is_one:
            self._held.append(held)
            return
        parts = self.part_of[held["place"]]
        order = np.argsort(parts, kind="stable")
        found, first = np.unique(parts[order], return_index=True)
        for part, rows in zip(found, np.split(held[order], first[1:]), strict=True):
            with (self._folder / str(part)).open("ab") as file:
                file.write(rows.tobytes())

    def take(self, part: int) -> npt.NDArray[Any]:
        """Return what a part holds, by place, and forget it."""
        path = self._folder / str(part)
        if self._is_one:
            held = np.concatenate([np.empty(0, HELD), *self._held])
            self._held = []
        elif path.exists():
            held = np.fromfile(path, HELD)
            path.unlink()
        else:
            held = np.empty(0, HELD)
        return held[np.argsort(held["place"], kind="stable")]


def _handed_out(waiting: _Waiting, assets: int) -> Iterator[Landmarks]:
    part, held = -1, np.empty(0, HELD)
    for place in range(assets):
        if waiting.part_of[place] != part:
            part = int(waiting.part_of[place])
            held = waiting.take(part)
        low, high = np.searchsorted(held["place"], [place, place + 1])
        own = held[low:high]
        yield Landmarks(own["hash"].astype(np.int32), own["frame"].astype(np.int32))


def _copied(
    connection: Connection, collection: str | None, most_held: int
) -> Iterator[npt.NDArray[Any]]:
    """Yield rows of COPIED, a few at a time."""
    scope = "a.profile_id IS NOT NULL" + (
        " AND a.collection = %s" if collection is not None else ""
    )
    rows_at_once = min(most_held, COPIED_AT_ONCE)
    data = bytearray()
    with connection.cursor().copy(
        EVERY_LANDMARK.format(scope).encode(), [collection] if collection is not None else None
    ) as copy:
        # A piece is a row, or what begins and ends the data.
        for piece in copy:
            data += piece
            if len(data) >= rows_at_once * COPIED.itemsize:
                yield _rows(data)
                data = bytearray()
    yield _rows(data)


def _rows(data: bytearray) -> npt.NDArray[Any]:
    first = len(COPY_HEADER) if data.startswith(COPY_HEADER) else 0
    return np.frombuffer(data, COPIED, (len(data) - first) // COPIED.itemsize, first)
