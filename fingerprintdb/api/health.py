"""What is told without a key: whether the service can answer, and whether a key is needed."""

from typing import Any, Literal

import psycopg
from fastapi import APIRouter, Request, Response
from psycopg_pool import PoolTimeout
from pydantic import BaseModel, Field

from fingerprintdb.api.access import ANYBODY, COOKIE, Caller, admit, secret_of
from fingerprintdb.api.problem import ProblemError, documented
from fingerprintdb.api.scope import Name
from fingerprintdb.api.service import Database, Served, Service
from fingerprintdb.store.condition import Condition, condition
from fingerprintdb.store.database import Connection

SESSION_SEC = 30 * 24 * 3600

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """Whether the service can answer: `degraded` searches, but has something to look at."""

    status: Literal["ready", "degraded", "unavailable"]
    database: bool
    schema_revision: str | None
    is_schema_current: bool
    workers: int = Field(description="With a recent sign of life; 0: nothing new is fingerprinted.")
    index_advice: str | None = Field(
        description="What to do about the landmark index, if anything."
    )


@router.get("/api/v1/health/live")
async def live() -> dict[str, str]:
    """Say that the process answers, whatever the database does."""
    return {"status": "live"}


@router.get("/api/v1/health/ready", responses={503: {"model": Health, "description": "Not now."}})
@router.get("/api/v1/health", responses={503: {"model": Health, "description": "Not now."}})
async def ready(service: Served, response: Response) -> Health:
    """Say whether searches are answered, and new recordings fingerprinted."""
    found = await _condition(service)
    if found is None or not found.is_schema_current:
        response.status_code = 503
        status: Any = "unavailable"
    else:
        status = "ready" if found.workers else "degraded"
    return Health(
        status=status,
        database=found is not None,
        schema_revision=found.schema_revision if found else None,
        is_schema_current=bool(found and found.is_schema_current),
        workers=found.workers if found else 0,
        index_advice=found.index_advice if found else None,
    )


async def _condition(service: Service) -> Condition | None:
    try:
        return await service.ask(condition)
    except (psycopg.Error, PoolTimeout):
        return None


class Session(BaseModel):
    """Who the page's requests come from; `collection` is the one that is open, null opens all."""

    needs_key: bool
    has_key: bool = False
    name: str | None = None
    collection: str | None = None
    may_write: bool = False


class Secret(BaseModel):
    """A key, to be remembered in a cookie that no script can read."""

    key: Name


@router.get("/api/v1/session", responses=documented(503))
def get_session(service: Served, connection: Database, request: Request) -> Session:
    """Say who this browser is, and whether it needs a key."""
    return _session(service, connection, secret_of(request))


@router.post("/api/v1/session", responses=documented(401, 422))
def open_session(
    service: Served, connection: Database, request: Request, response: Response, secret: Secret
) -> Session:
    """Remember a key in this browser; 401 where it opens nothing."""
    admit(connection, secret.key, is_open=service.options.is_open)
    response.set_cookie(
        COOKIE,
        secret.key,
        max_age=SESSION_SEC,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return _session(service, connection, secret.key)


@router.delete("/api/v1/session", status_code=204)
def close_session(response: Response) -> None:
    """Forget this browser's key."""
    response.delete_cookie(COOKIE)


def _session(service: Service, connection: Connection, secret: str | None) -> Session:
    try:
        caller: Caller = admit(connection, secret, is_open=service.options.is_open)
    except ProblemError:
        return Session(needs_key=True)
    return Session(
        needs_key=False,
        has_key=caller is not ANYBODY,
        name=caller.name,
        collection=caller.collection,
        may_write=caller.may_write,
    )
