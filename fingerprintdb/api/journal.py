"""Writes a line and a measurement of every request, and answers what nobody foresaw."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fingerprintdb.api.problem import problem_of
from fingerprintdb.metrics import REQUEST_SECONDS, REQUESTS

logger = logging.getLogger(__name__)


class Journal:
    """ASGI: logs each request with its status and time, counts it by route, answers every error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and look at its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, is_begun = 500, False

        async def noting(message: Message) -> None:
            nonlocal status, is_begun
            if message["type"] == "http.response.start":
                status, is_begun = message["status"], True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            if is_begun:
                raise
            await problem_of(error).response()(scope, receive, noting)
        finally:
            elapsed_sec = time.perf_counter() - began
            # The route's pattern, so that keys in paths do not make a series each.
            route = getattr(scope.get("route"), "path", None) or "other"
            REQUESTS.labels(scope["method"], route, str(status)).inc()
            REQUEST_SECONDS.labels(route).observe(elapsed_sec)
            caller = scope.get("state", {}).get("caller")
            logger.info(
                "%s %s %d in %.0f ms",
                scope["method"],
                scope["path"],
                status,
                elapsed_sec * 1000,
                extra={
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "elapsed_ms": round(elapsed_sec * 1000, 1),
                    "caller": caller.name if caller else None,
                },
            )
