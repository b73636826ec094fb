"""Ends requests whose body is too large, too slow or never complete."""

import asyncio
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fingerprintdb.api.options import MEBIBYTE, ServiceOptions
from fingerprintdb.api.problem import ProblemError

FORM_BYTES = MEBIBYTE
"""What a body may hold beside the file: boundaries, names, metadata."""


class Limits:
    """ASGI: counts a body's bytes and the time that it takes to arrive."""

    def __init__(self, app: ASGIApp, options: ServiceOptions) -> None:
        self._app = app
        self._options = options
        self._most_bytes = options.max_upload_bytes + FORM_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; a body beyond the limits fails where it is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._most_bytes:
            await self._too_large().response()(scope, receive, send)
            return
        body = _Body(self, receive, asyncio.get_running_loop().time())
        await self._app(scope, body.receive, send)

    def _too_large(self) -> ProblemError:
        most = self._options.max_upload_bytes
        return ProblemError(
            413,
            "too-large",
            f"the body exceeds {most / MEBIBYTE:.0f} MiB"
            if most >= MEBIBYTE
            else f"the body exceeds {most} bytes",
            "send a shorter file, or raise FPDB_MAX_UPLOAD_BYTES",
            headers={"Connection": "close"},
        )

    def _too_slow(self) -> ProblemError:
        return ProblemError(
            408,
            "too-slow",
            f"the body did not arrive within {self._options.request_timeout_sec:.0f} s",
            "send it faster, or raise FPDB_REQUEST_TIMEOUT_SEC",
            headers={"Connection": "close"},
        )


class _Body:
    """The body of one request, as it arrives."""

    def __init__(self, limits: Limits, receive: Receive, began_sec: float) -> None:
        self._limits = limits
        self._receive = receive
        self._deadline_sec = began_sec + limits._options.request_timeout_sec
        self._bytes = 0
        self._is_complete = False

    async def receive(self) -> Message:
        """Return the next piece of the body; ProblemError 413 or 408 beyond a limit."""
        if self._is_complete:  # what follows is only the caller's leaving
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline_sec):
                message: dict[str, Any] = dict(await self._receive())
        except TimeoutError:
            raise self._limits._too_slow() from None
        if message["type"] == "http.request":
            self._bytes += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
            if self._bytes > self._limits._most_bytes:
                raise self._limits._too_large()
        return message
