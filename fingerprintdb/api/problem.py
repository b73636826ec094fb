"""What a caller reads when a request fails: problem details (RFC 9457)."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.responses import JSONResponse
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route
from starlette.websockets import WebSocket

from fingerprintdb.audio import AudioError
from fingerprintdb.embedding import ModelError
from fingerprintdb.errors import FingerprintError
from fingerprintdb.processes import ProcessDiedError
from fingerprintdb.store.database import DatabaseError, DatabaseUnreachableError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SEC = 5

logger = logging.getLogger(__name__)


class Problem(BaseModel):
    """What went wrong, for programs (`type`, `status`) and for people (`detail`, `remedy`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:fingerprintdb:problem:unusable-audio",
                    "title": "Unusable audio",
                    "status": 422,
                    "detail": "clip.wav: the recording is silent",
                    "remedy": "supply a recording with sound",
                }
            ]
        }
    )

    type: str = Field(description="Says which kind of problem it is, whatever its words.")
    title: str
    status: int
    detail: str = Field(description="What happened this time.")
    remedy: str | None = Field(None, description="What to do about it.")
    errors: list[dict[str, Any]] | None = Field(
        None, description="Of a request that is not as documented: where, and what."
    )


class ProblemError(HTTPException):
    """A problem that a handler found; it is answered as it stands."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        remedy: str | None = None,
        *,
        errors: list[dict[str, Any]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.problem = Problem(
            type=f"urn:fingerprintdb:problem:{kind}",
            title=kind.replace("-", " ").capitalize(),
            status=status,
            detail=detail,
            remedy=remedy,
            errors=errors,
        )

    def response(self) -> JSONResponse:
        """Return the problem as a response."""
        return JSONResponse(
            self.problem.model_dump(exclude_none=True),
            self.problem.status,
            headers=self.headers,
            media_type=MEDIA_TYPE,
        )


def unknown(what: str, key: object) -> ProblemError:
    """Return the problem of something that is not there, or not for this caller."""
    return ProblemError(404, f"unknown-{what}", f"there is no {what} {key}")


def unavailable() -> ProblemError:
    """Return the problem of a database that does not answer."""
    return ProblemError(
        503,
        "database-unavailable",
        "the database does not answer",
        "try again in a few seconds; /api/v1/health/ready says when it is back",
        headers={"Retry-After": str(RETRY_AFTER_SEC)},
    )


def busy() -> ProblemError:
    """Return the problem of a service that more is asked of than it can do."""
    return ProblemError(
        503,
        "busy",
        "too many requests are waiting",
        "try again in a few seconds, or raise FPDB_CONNECTIONS",
        headers={"Retry-After": str(RETRY_AFTER_SEC)},
    )


# What our own errors are to a caller; they say themselves what happened. The first that fits.
_EXPECTED: tuple[tuple[type[FingerprintError], int, str], ...] = (
    (AudioError, 422, "unusable-audio"),
    (ProcessDiedError, 422, "unusable-audio"),
    (ModelError, 409, "unfit-model"),
    (DatabaseError, 422, "refused"),
    (FingerprintError, 422, "failed"),
)


def problem_of(error: Exception) -> ProblemError:
    """Return what a caller may know of an error: no path, no statement, no traceback."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, DatabaseUnreachableError | PoolTimeout | psycopg.Error | UnicodeError):
        return _of_database(error)
    for kind, status, name in _EXPECTED:
        if isinstance(error, kind):
            return ProblemError(status, name, error.message, error.remedy or None)
    if isinstance(error, RequestValidationError | WebSocketRequestValidationError):
        where = [{"where": list(at["loc"]), "what": at["msg"]} for at in error.errors()]
        detail = "; ".join(f"{'.'.join(map(str, at['where']))}: {at['what']}" for at in where)
        return ProblemError(422, "invalid-request", detail, "see /openapi.json", errors=where)
    if isinstance(error, HTTPException):
        kind_of_status = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
        headers = dict(error.headers or {})
        return ProblemError(error.status_code, kind_of_status, str(error.detail), headers=headers)
    return _unexpected(error)


def _of_database(error: Exception) -> ProblemError:
    if isinstance(error, psycopg.errors.QueryCanceled):
        return ProblemError(
            504, "too-slow", "the database took too long", "ask with a shorter clip"
        )
    if isinstance(error, psycopg.DataError | UnicodeError):
        return ProblemError(
            422,
            "invalid-request",
            "the request holds what the database cannot store",
            "leave out NUL characters, and numbers that JSON does not know",
        )
    if isinstance(error, psycopg.Error) and not isinstance(
        error, psycopg.OperationalError | psycopg.InterfaceError
    ):
        return _unexpected(error)
    return unavailable()


def _unexpected(error: Exception) -> ProblemError:
    logger.error("a request failed unexpectedly", exc_info=error)
    return ProblemError(
        500, "unexpected", "something unexpected went wrong", "the service's log says what"
    )


def answer_problems(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Have every failure of a handler answered as problem details."""
    routes = [route for router in routers for route in router.routes]

    def answered(request: Request, error: Exception) -> JSONResponse:
        problem = problem_of(error)
        if problem.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            problem.headers = dict(problem.headers or {}) | {
                "Allow": ", ".join(_methods(routes, request))
            }
        return problem.response()

    async def denied(socket: WebSocket, error: Exception) -> None:
        await socket.send_denial_response(problem_of(error).response())

    app.add_exception_handler(WebSocketRequestValidationError, denied)
    for kind in (HTTPException, RequestValidationError, FingerprintError, psycopg.Error):
        app.add_exception_handler(kind, answered)
    app.add_exception_handler(PoolTimeout, answered)
    app.add_exception_handler(UnicodeError, answered)


def _methods(routes: Iterable[BaseRoute], request: Request) -> list[str]:
    """Return what a path may be asked with; a route knows of its own method alone."""
    return sorted(
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the problems that a path may answer with."""
    return {
        status: {
            "model": Problem,
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }
