"""Plays a recording from where a match lies: its bytes, or a part of them."""

import mimetypes
import re
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from fingerprintdb.api.access import Reader
from fingerprintdb.api.assets import required
from fingerprintdb.api.options import MEBIBYTE
from fingerprintdb.api.problem import ProblemError, documented
from fingerprintdb.api.scope import AssetId
from fingerprintdb.api.service import Served, Service
from fingerprintdb.source import local_path
from fingerprintdb.store import catalogue
from fingerprintdb.store.catalogue import Entry

router = APIRouter(prefix="/api/v1/assets", tags=["assets"])

# What was uploaded is played, never shown as a page of this site.
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Accept-Ranges": "bytes",
}


@router.get(
    "/{asset_id}/audio",
    response_class=Response,
    responses={
        200: {"content": {"audio/*": {}}, "description": "The whole recording."},
        206: {"content": {"audio/*": {}}, "description": "The bytes that were asked for."},
        **documented(404, 416, 422),
    },
)
async def play(service: Served, request: Request, caller: Reader, asset_id: AssetId) -> Response:
    """Return a recording's file, or the range of it that is asked for."""
    entry = await service.ask(required, asset_id, caller)
    headers = _HEADERS | {"Content-Type": _media_type(entry)}
    if entry.content_bytes is not None:
        return _content(service, entry, request.headers.get("range"), headers)
    path = local_path(entry.uri or "") if entry.landmark_status == "ready" else None
    if path is None or not path.is_file():
        raise ProblemError(
            404,
            "no-audio",
            f"the sound of asset {asset_id} is not on this machine",
            "it lies elsewhere, or was moved",
        )
    return FileResponse(path, headers=headers)


def _content(
    service: Service, entry: Entry, wanted: str | None, headers: dict[str, str]
) -> Response:
    size = entry.content_bytes or 0
    part = _range(wanted, size)
    first, last = part or (0, size - 1)
    headers = headers | {"Content-Length": str(last - first + 1)}
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    status = 200 if part is None else 206
    return StreamingResponse(_parts(service, entry.asset_id, first, last), status, headers)


async def _parts(service: Service, asset_id: int, first: int, last: int) -> AsyncIterator[bytes]:
    """Yield a range a mebibyte at a time, with no connection held while the browser reads."""
    while first <= last:
        size = min(MEBIBYTE, last - first + 1)
        part = await service.ask(catalogue.content_part, asset_id, first, size)
        if not part:
            return
        yield part
        first += len(part)


def _range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Return the first and the last byte of a Range header; None asks for the whole.

    What is not one range of bytes is left out of account, as RFC 9110 (14.2) allows.
    """
    found = re.fullmatch(r"bytes=(\d{0,18})-(\d{0,18})", (wanted or "").strip())
    first, last = found.groups() if found else ("", "")
    if first:
        begin, end = int(first), min(int(last) if last else size - 1, size - 1)
    elif last:
        begin, end = max(0, size - int(last)), size - 1
    else:
        return None
    if begin > end:
        raise ProblemError(
            416,
            "unsatisfiable-range",
            f"there are {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return begin, end


def _media_type(entry: Entry) -> str:
    name = entry.metadata.get("filename") if entry.uri is None else entry.uri
    guessed, _ = mimetypes.guess_type(Path(str(name)).name)
    if guessed is None or not guessed.startswith(("audio/", "video/")):
        return "application/octet-stream"
    return guessed
