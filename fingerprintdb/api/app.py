"""Puts the service together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.responses import Response
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from fingerprintdb import __version__
from fingerprintdb.api import assets, health, listen, media, search, songs, system
from fingerprintdb.api.access import documented_key
from fingerprintdb.api.guard import Guard, is_of_service
from fingerprintdb.api.journal import Journal
from fingerprintdb.api.limits import Limits
from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.problem import answer_problems, documented
from fingerprintdb.api.service import Service
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import pool

SPARE_THREADS = 32

PAGE = Path(__file__).with_name("page")

# The page asks no other host for anything, and no other site may frame it.
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; media-src 'self' blob:;"
        " frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

DESCRIPTION = """\
Audio identification and audio similarity inside your own Postgres.

Failures are [problem details](https://www.rfc-editor.org/rfc/rfc9457). The WebSocket
`/api/v1/listen` takes sound from a microphone and answers as soon as it is sure.
"""


class Page(StaticFiles):
    """The files of the web page, with its headers."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file, never from a cache without asking."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_PAGE_HEADERS)
        return response


class PageMount(Mount):
    """Whatever is not the service's own: else a wrong method would look like a missing file."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Leave the service's paths to its routes."""
        if scope["type"] == "http" and is_of_service(scope["path"]):
            return Match.NONE, {}
        return super().matches(scope)


def create_app(url: str, extractor: Extractor, options: ServiceOptions) -> FastAPI:
    """Return the service over the database at a URL, which it connects to when it starts."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with pool(
            url,
            size=options.connections,
            statement_timeout_sec=options.request_timeout_sec,
        ) as connections:
            app.state.service = Service(connections, extractor, options)
            # Whoever has a connection finds a thread, whatever else goes on.
            current_default_thread_limiter().total_tokens = options.connections + SPARE_THREADS
            starting = asyncio.create_task(asyncio.to_thread(extractor.start))
            yield
            await starting

    app = FastAPI(
        title="fingerprintdb",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from another host
        redoc_url=None,
        responses=documented(400, 503),
        middleware=[
            Middleware(Journal),
            Middleware(
                CORSMiddleware,
                allow_origins=options.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
            ),
            Middleware(Limits, options),
            Middleware(Guard, options),
        ],
    )
    guarded = [part.router for part in (search, assets, media, songs, system)]
    app.include_router(health.router)
    for router in guarded:
        app.include_router(router, dependencies=[documented_key], responses=documented(401))
    app.include_router(listen.router)
    answer_problems(app, [health.router, *guarded])
    app.router.routes.append(PageMount("/", Page(directory=PAGE, html=True)))
    return app
