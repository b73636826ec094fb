"""Who may do what: API keys, each of one collection or of all."""

from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPBearer
from starlette.requests import HTTPConnection

from fingerprintdb.api.problem import ProblemError
from fingerprintdb.store.database import Connection
from fingerprintdb.store.key import find_key, has_keys

COOKIE = "fpdb_key"
"""Where the web page's key is: no script can read it, and no other site has it sent."""

_bearer = HTTPBearer(auto_error=False, description="A key that `fpdb key add` printed.")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the one collection that is open to them; None opens all."""

    name: str
    collection: str | None
    may_write: bool

    def scope(self, collection: str | None) -> str | None:
        """Return the collection to look in where one is asked for; ProblemError 403 if not open."""
        if self.collection is None or collection in {None, self.collection}:
            return collection or self.collection
        raise ProblemError(
            403,
            "forbidden-collection",
            f"this key does not open the collection {collection}",
            f"it opens {self.collection}",
        )


ANYBODY = Caller("anybody", None, may_write=True)


def secret_of(connection: HTTPConnection) -> str | None:
    """Return the key that a request carries: as bearer, in X-API-Key, or the page's cookie."""
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer:
        return bearer.strip()
    if "x-api-key" in connection.headers:
        return connection.headers["x-api-key"]
    try:
        cookie = SimpleCookie(connection.headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return cookie.value if cookie else None


def admit(connection: Connection, secret: str | None, *, is_open: bool) -> Caller:
    """Return who holds a key; ProblemError 401 where it opens nothing or is missing."""
    if secret is not None:
        key = find_key(connection, secret)
        if key is None and (has_keys(connection) or not is_open):
            raise _unauthorised("this key opens nothing: it is unknown or revoked")
        return ANYBODY if key is None else Caller(key.name, key.collection, key.may_write)
    if is_open and not has_keys(connection):
        return ANYBODY
    raise _unauthorised("this needs a key")


def _unauthorised(detail: str) -> ProblemError:
    return ProblemError(
        401,
        "unauthorised",
        detail,
        "send `Authorization: Bearer KEY`; `fpdb key add NAME` makes one",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _caller(connection: HTTPConnection) -> Caller:
    caller: Caller = connection.state.caller
    return caller


def _writer(connection: HTTPConnection) -> Caller:
    caller = _caller(connection)
    if not caller.may_write:
        raise ProblemError(
            403,
            "read-only-key",
            "this key may only read",
            "use one that `fpdb key add --write` made",
        )
    return caller


def _overseer(connection: HTTPConnection) -> Caller:
    caller = _caller(connection)
    if caller.collection is not None:
        raise ProblemError(403, "forbidden-collection", "this needs a key of all collections")
    return caller


documented_key = Depends(_bearer)
"""Tells OpenAPI of the key, which the guard looks at before any of a request's body is read."""

Reader = Annotated[Caller, Depends(_caller)]
Writer = Annotated[Caller, Depends(_writer)]
Overseer = Annotated[Caller, Depends(_overseer)]
