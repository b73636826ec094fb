"""Reads an archive: which form it has, its records, and whether it is whole."""

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from fingerprintdb.archive import compact, lines
from fingerprintdb.archive.error import ArchiveError
from fingerprintdb.archive.form import End, Form, Read
from fingerprintdb.archive.header import Header
from fingerprintdb.archive.record import AssetRecord
from fingerprintdb.archive.writer import FORMS

FOREIGN = "give a file that `fpdb export` wrote"


class ArchiveReader:
    """An archive in a file that can be read from its start as often as wanted."""

    def __init__(self, file: BinaryIO) -> None:
        """Recognise the form and read the header; ArchiveError where that cannot be."""
        self._file = file
        self._start = file.tell()
        self._form = self._recognised()
        first = next(self._read(), None)
        if first is None or not isinstance(first.record, Header):
            raise ArchiveError("the archive has no header")
        self.header = first.record

    def records(self) -> Iterator[AssetRecord | bytes]:
        """Yield each asset and, where it has some, its content in pieces after it.

        Raises ArchiveError, at the latest at the end, where the file is not what was written: a
        record is damaged, missing or too much. All records are checked as they come.
        """
        sha256 = hashlib.sha256()
        assets, awaited = 0, 0
        work: int | None = None
        content = hashlib.sha256()
        asset: AssetRecord | None = None
        end: End | None = None
        for read in self._read():
            if end is not None:
                raise ArchiveError("something follows the end of the archive")
            record = read.record
            if isinstance(record, End):
                end = record
                continue
            sha256.update(read.data)
            if isinstance(record, Header):
                continue
            if isinstance(record, bytes):
                awaited -= len(record)
                content.update(record)
                if asset is None or awaited < 0 or not record:
                    raise ArchiveError(f"there is too much content after asset {assets}")
                if not awaited and asset.description.sha256 not in {None, content.hexdigest()}:
                    raise ArchiveError(f"the content of asset {asset.key} is not what it was")
            else:
                _require_all(awaited)
                assets += 1
                record.check(self.header)
                if record.version_of is None:
                    work = record.key
                elif record.version_of != work:
                    raise ArchiveError(f"asset {record.key} is a version of none before it")
                asset, content = record, hashlib.sha256()
                awaited = record.content_bytes or 0
            yield record
        if end is None:
            raise ArchiveError(
                f"the archive ends in the middle, after {assets} of {self.header.assets} assets"
            )
        _require_all(awaited)
        if end.sha256 != sha256.hexdigest() or not assets == end.assets == self.header.assets:
            raise ArchiveError("the archive is damaged: its checksum is not that of its records")

    def _recognised(self) -> Form:
        self._file.seek(self._start)
        begin = self._file.read(64)
        if not begin:
            raise ArchiveError("the file is empty", FOREIGN)
        if begin.startswith(compact.MARK):
            return FORMS[compact.Compact.name]
        if begin.startswith(b'{"%s":' % lines.MARK.encode()):
            return FORMS[lines.Lines.name]
        if compact.MARK.startswith(begin) or begin[1:5] == compact.MARK[1:5]:
            raise ArchiveError("the archive is damaged at its very beginning")
        raise ArchiveError("the file is not an archive of fingerprintdb", FOREIGN)

    def _read(self) -> Iterator[Read]:
        self._file.seek(self._start)
        return self._form.read(self._file)


def _require_all(awaited: int) -> None:
    if awaited:
        raise ArchiveError(f"{awaited} bytes of content are missing from the archive")
