"""Serves the REST API and the web page, with a worker beside where there is no other."""

import ipaddress
import signal
import socket
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from fingerprintdb.cli.beside import WorkerBeside
from fingerprintdb.cli.output import say
from fingerprintdb.cli.page import examples
from fingerprintdb.cli.setup import open_ready
from fingerprintdb.errors import FingerprintError
from fingerprintdb.settings import Settings

if TYPE_CHECKING:
    from fingerprintdb.api.options import ServiceOptions

INSTALL_COMMAND = 'pip install "fingerprintdb[api]"'
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
SHUTDOWN_SEC = 30


class ServeError(FingerprintError):
    """The service cannot start, or should not, as it is."""


@examples(
    ("fpdb serve", "On this machine only, for whoever is on it."),
    (
        "fpdb serve --host 0.0.0.0 --port 8080",
        "For the network, once `fpdb key add` has made a key; put TLS in front.",
    ),
)
def serve(
    context: typer.Context,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at; default FPDB_HOST, loopback.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to listen at; default FPDB_PORT, 8000.", min=0, max=65535),
    ] = None,
    open_to_all: Annotated[
        bool, typer.Option("--open", help="Let everybody in while there is no key.")
    ] = False,
    allow_uri: Annotated[
        list[str] | None,
        typer.Option(
            help="What URIs registered over the API may begin with: a folder, https://host/, ...",
            metavar="PREFIX",
        ),
    ] = None,
    worker: Annotated[
        bool | None,
        typer.Option(
            "--worker/--no-worker",
            help="Process queued recordings, too; default: where Postgres is the embedded one.",
        ),
    ] = None,
) -> None:
    """Serve the REST API and the web page until Ctrl-C.

    Beyond this machine it listens only if there is a key, or with --open. Recordings that are
    uploaded are stored in the database; workers process them.
    """
    settings: Settings = context.obj.settings
    host = settings.host if host is None else host
    _require_extra()
    with _listen(host, settings.port if port is None else port) as listening:
        url = open_ready(settings)
        is_open = open_to_all or _is_loopback(host)
        if not is_open and not _has_keys(url):
            raise ServeError(
                f"at {host} everybody on the network could read and change the library",
                "make a key first: fpdb key add NAME --write; or let everybody in: --open",
            )
        from fingerprintdb.api.options import ServiceOptions

        options = ServiceOptions(
            connections=settings.connections,
            max_upload_bytes=settings.max_upload_bytes,
            request_timeout_sec=settings.request_timeout_sec,
            max_listen_sec=settings.max_listen_sec,
            allowed_uris=(*settings.allowed_uris, *(allow_uri or ())),
            cors_origins=settings.cors_origins,
            is_open=is_open,
            allowed_hosts=settings.allowed_hosts
            or (LOOPBACK_NAMES if _is_loopback(host) else ("*",)),
        )
        beside = settings.database_url is None if worker is None else worker
        shown = f"[{host}]" if ":" in host else host
        say(
            f"serving http://{shown}:{listening.getsockname()[1]}/"
            f" {'with a worker, ' if beside else ''}until Ctrl-C",
            to_stderr=False,
        )
        with WorkerBeside(url, settings) if beside else nullcontext():
            _answer(url, settings, options, listening)


def _answer(
    url: str, settings: Settings, options: "ServiceOptions", listening: socket.socket
) -> None:
    """Answer requests until a signal."""
    import uvicorn

    from fingerprintdb.api.app import create_app
    from fingerprintdb.api.options import MEBIBYTE
    from fingerprintdb.extractor import Extractor
    from fingerprintdb.processes import Processes

    with Processes(settings.concurrency) as processes:
        app = create_app(url, Extractor(settings.max_source_bytes, processes), options)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SEC,
                ws_max_size=MEBIBYTE,
            )
        )
        # The server, when it has ended, raises the signal that ended it once more.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave_to_server)
        server.run([listening])


def _require_extra() -> None:
    try:
        import uvicorn  # noqa: F401

        import fingerprintdb.api.app  # noqa: F401
    except ModuleNotFoundError as error:
        raise ServeError(f"the service needs {error.name}", INSTALL_COMMAND) from None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]  # what follows repeats the address
        raise ServeError(
            f"cannot listen at {host}:{port}: {reason}", "choose another: --host, --port"
        ) from None


def _leave_to_server(_number: int, _frame: object) -> None:
    """Do nothing: the server has its own handler while it runs."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _has_keys(url: str) -> bool:
    from fingerprintdb.store.database import connect
    from fingerprintdb.store.key import has_keys

    with connect(url) as connection:
        return has_keys(connection)
