"""Names the recordings that paths, folders and URIs stand for."""

from pathlib import Path

from fingerprintdb.cli.output import say
from fingerprintdb.errors import FingerprintError

MEDIA_SUFFIXES = (
    *(".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".au", ".caf", ".flac", ".m4a"),
    *(".m4b", ".mka", ".mp2", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma", ".wv"),
    *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv"),
    *(".ts", ".webm", ".wmv"),
)
"""What is taken from a folder; a file that is named itself is always tried."""


class NothingToIngestError(FingerprintError):
    """Folders without a single recording."""


def expand(sources: list[str]) -> list[str]:
    """Return the recordings that paths, folders and URIs name, each once, folders in order."""
    from fsspec.core import split_protocol

    uris: list[str] = []
    for source in sources:
        if split_protocol(source)[0] is not None:
            uris.append(source)
            continue
        path = Path(source).expanduser().absolute()
        found = [path]
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in MEDIA_SUFFIXES)
            found = [p for p in found if p.is_file()]
            if not found:
                say(f"no audio or video in {source}")
        uris += map(str, found)
    if not uris:
        raise NothingToIngestError(
            "there is nothing to ingest",
            f"folders are searched for files that end in {' '.join(MEDIA_SUFFIXES)}",
        )
    return list(dict.fromkeys(uris))
