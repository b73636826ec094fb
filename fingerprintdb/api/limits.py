"""Ends requests whose body is too large, too slow or never complete."""

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fingerprintdb.api.options import MEBIBYTE, ServiceOptions
from fingerprintdb.api.problem import ProblemError

FORM_BYTES = MEBIBYTE
"""What a body may hold beside a file: boundaries, names, metadata; all of one that has no file."""

LEAST_BYTES_A_SEC = 32 * 1024
"""What arrives earns time at this rate, so that a long file may come over a slow line."""


class Limits:
    """ASGI: counts a body's bytes and the time that it takes to arrive."""

    def __init__(self, app: ASGIApp, options: ServiceOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; a body beyond the limits fails where it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        most_bytes = FORM_BYTES
        if headers.get("content-type", "").startswith("multipart/"):
            most_bytes += self._options.max_upload_bytes
        announced = headers.get("content-length", "0")[:18]
        if announced.isdecimal() and int(announced) > most_bytes:
            await _too_large(most_bytes).response()(scope, receive, send)
            return
        body = _Body(receive, most_bytes, self._options.request_timeout_sec)
        await self._app(scope, body.receive, send)


class _Body:
    """The body of one request, as it arrives; time begins when it is first asked for."""

    def __init__(self, receive: Receive, most_bytes: int, timeout_sec: float) -> None:
        self._receive = receive
        self._most_bytes = most_bytes
        self._timeout_sec = timeout_sec
        self._began_sec: float | None = None
        self._bytes = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """Return the next piece of the body; ProblemError 413 or 408 beyond a limit."""
        if self._is_complete:  # what follows is only the caller's leaving
            return await self._receive()
        if self._began_sec is None:
            self._began_sec = asyncio.get_running_loop().time()
        allowed_sec = self._timeout_sec + self._bytes / LEAST_BYTES_A_SEC
        try:
            async with asyncio.timeout_at(self._began_sec + allowed_sec):
                message: dict[str, Any] = dict(await self._receive())
        except TimeoutError:
            raise _too_slow(allowed_sec) from None
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
            if self._bytes > self._most_bytes:
                raise _too_large(self._most_bytes)
        return message


def _too_large(most_bytes: int) -> ProblemError:
    return ProblemError(
        413,
        "too-large",
        f"the body exceeds {most_bytes / MEBIBYTE:.0f} MiB",
        "send a shorter file, or raise FPDB_MAX_UPLOAD_BYTES",
        headers={"Connection": "close"},
    )


def _too_slow(allowed_sec: float) -> ProblemError:
    return ProblemError(
        408,
        "too-slow",
        f"the body did not arrive within {allowed_sec:.0f} s",
        "send it faster, or raise FPDB_REQUEST_TIMEOUT_SEC",
        headers={"Connection": "close"},
    )
