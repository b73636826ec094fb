"""Writes an archive: records in a form, their number and checksum at the end."""

import hashlib
from typing import BinaryIO

from fingerprintdb.archive.compact import Compact
from fingerprintdb.archive.form import CONTENT_BYTES, End, Form
from fingerprintdb.archive.header import Header
from fingerprintdb.archive.lines import Lines
from fingerprintdb.archive.record import AssetRecord

FORMS: dict[str, Form] = {form.name: form for form in (Compact(), Lines())}


class ArchiveWriter:
    """Writes records to a file as they come; without `end` it is no whole archive."""

    def __init__(self, file: BinaryIO, form: Form, header: Header) -> None:
        """Write the header."""
        self._file = file
        self._form = form
        self._header = header
        self._sha256 = hashlib.sha256()
        self.assets = 0
        self.size_bytes = 0
        self._write(form.header(header))

    def asset(self, asset: AssetRecord) -> None:
        """Write an asset; its content, if any, is to follow."""
        asset.check(self._header)
        self.assets += 1
        self._write(self._form.asset(asset, self._header))

    def content(self, piece: bytes) -> None:
        """Write some of the content of the asset that was written last."""
        for start in range(0, len(piece), CONTENT_BYTES):
            self._write(self._form.content(piece[start : start + CONTENT_BYTES]))

    def end(self) -> str:
        """Write the end and return the SHA-256 of everything before it, in hexadecimal."""
        sha256 = self._sha256.hexdigest()
        self._write(self._form.end(End(self.assets, sha256)))
        return sha256

    def _write(self, data: bytes) -> None:
        self._sha256.update(data)
        self.size_bytes += len(data)
        self._file.write(data)
