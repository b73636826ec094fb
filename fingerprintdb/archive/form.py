"""What a form of archive does: records to bytes, and the bytes of one file back to records."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

from fingerprintdb.archive.error import ArchiveError
from fingerprintdb.archive.header import FORMAT, Header
from fingerprintdb.archive.record import AssetRecord

MOST_RECORD_BYTES = 2**28
"""A record is no longer, whatever a file says: a day of sound takes half of it as JSON."""

CONTENT_BYTES = 3 * 2**20
"""Content is written in pieces of so many bytes."""

READ_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class End:
    """The last record: how many assets there were, and the SHA-256 of all bytes before it."""

    assets: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Read:
    """One record, with the bytes of the file that it was read from."""

    record: Header | AssetRecord | bytes | End
    data: bytes


class Form(Protocol):
    """Writes and reads records; a piece of content is bytes."""

    name: ClassVar[str]

    def header(self, header: Header) -> bytes:
        """Return the beginning of a file."""
        ...

    def asset(self, asset: AssetRecord, header: Header) -> bytes:
        """Return an asset's record."""
        ...

    def content(self, piece: bytes) -> bytes:
        """Return the record of a piece of content."""
        ...

    def end(self, end: End) -> bytes:
        """Return the end of a file."""
        ...

    def read(self, file: BinaryIO) -> Iterator[Read]:
        """Yield what a file of this form holds, from its beginning to the end of its bytes."""
        ...


def require_format(number: object) -> None:
    """Raise ArchiveError unless this program reads a format."""
    if type(number) is not int or number < 1:
        raise ArchiveError("the archive does not say which format it has")
    if number > FORMAT:
        raise ArchiveError(
            f"the archive is of format {number}, this program reads up to {FORMAT}",
            "upgrade it: pip install --upgrade fingerprintdb",
        )


def require_length(length: int, what: str) -> None:
    """Raise ArchiveError where a record is too long to be one."""
    if length > MOST_RECORD_BYTES:
        raise ArchiveError(
            f"{what} is longer than {MOST_RECORD_BYTES:,} bytes",
            "no recording of a day is so long: the file is damaged, or made to harm",
        )
