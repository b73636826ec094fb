"""Lets in who may come in, before a byte of a body is read."""

from urllib.parse import SplitResult, urlsplit

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from fingerprintdb.api.access import ANYBODY, Caller, admit, secret_of
from fingerprintdb.api.options import ServiceOptions
from fingerprintdb.api.problem import ProblemError, problem_of
from fingerprintdb.api.service import Service

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SHORT_PATHS = frozenset({"/upload", "/predict", "/metrics"})
OPEN_PATHS = frozenset(
    {
        "/api/v1/health",
        "/api/v1/health/live",
        "/api/v1/health/ready",
        "/api/v1/session",
    }
)


def is_of_service(path: str) -> bool:
    """Say whether a path is the service's; all others are files of the web page."""
    return path.startswith("/api/") or path in SHORT_PATHS


class Guard:
    """ASGI: looks at host, origin and key, and leaves the caller in the request's state."""

    def __init__(self, app: ASGIApp, options: ServiceOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller, or answer why not."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        try:
            self._require_host(asked)
            self._require_origin(asked)
            asked.state.caller = await self._caller(asked)
        except Exception as error:
            refusal = problem_of(error)
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(refusal.response())
            else:
                await refusal.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _require_host(self, asked: HTTPConnection) -> None:
        """A page of another site may have its own name point here (DNS rebinding)."""
        name = _parsed(f"//{asked.headers.get('host', '')}").hostname or ""
        allowed = self._options.allowed_hosts
        if "*" not in allowed and name not in allowed:
            raise ProblemError(
                400,
                "unknown-host",
                "this service does not go by that name",
                "allow it: FPDB_ALLOWED_HOSTS",
            )

    def _require_origin(self, asked: HTTPConnection) -> None:
        """A page of another site may not write here, nor listen: browsers say where it is from."""
        if asked.scope["type"] == "http" and asked.scope["method"] in SAFE_METHODS:
            return
        origin = asked.headers.get("origin")
        if origin is None or origin in self._options.cors_origins:
            return
        if _parsed(origin).netloc != asked.headers.get("host"):
            raise ProblemError(
                403,
                "foreign-origin",
                "pages of other sites may not do this",
                "allow the site: FPDB_CORS_ORIGINS",
            )

    async def _caller(self, asked: HTTPConnection) -> Caller:
        path = asked.scope["path"]
        if not is_of_service(path) or path in OPEN_PATHS:
            return ANYBODY
        service: Service = asked.app.state.service
        return await service.ask(admit, secret_of(asked), is_open=self._options.is_open)


def _parsed(url: str) -> SplitResult:
    """Return the parts of what a client calls itself or this host; of nonsense, none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")
