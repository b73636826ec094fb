"""A collection as one portable file: the records, and the two forms they are written in."""

from fingerprintdb.archive.error import ArchiveError
from fingerprintdb.archive.header import ContentType, Header, Model, NamedCollection, NamedProfile
from fingerprintdb.archive.reader import ArchiveReader
from fingerprintdb.archive.record import AssetRecord, Description, ModelVectors, Segments
from fingerprintdb.archive.writer import FORMS, ArchiveWriter

__all__ = [
    "FORMS",
    "ArchiveError",
    "ArchiveReader",
    "ArchiveWriter",
    "AssetRecord",
    "ContentType",
    "Description",
    "Header",
    "Model",
    "ModelVectors",
    "NamedCollection",
    "NamedProfile",
    "Segments",
]
