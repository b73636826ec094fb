"""A service on loopback, as `fpdb serve` runs it, and what tests send to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import sleep

import uvicorn

from fingerprintdb.api.app import create_app
from fingerprintdb.api.options import MEBIBYTE, ServiceOptions
from fingerprintdb.extractor import Extractor
from fingerprintdb.store.database import Connection
from fingerprintdb.store.key import add_key

OPTIONS = ServiceOptions(
    connections=4, max_upload_bytes=4 * MEBIBYTE, request_timeout_sec=4, is_open=True
)


@dataclass(frozen=True, slots=True)
class Recordings:
    """Three pieces of 16 s, files of them, and clips that are cut out of the first."""

    folder: Path
    titles: list[str]

    @property
    def files(self) -> list[Path]:
        """The pieces."""
        return sorted(self.folder.glob("piece*.flac"))

    @property
    def clip(self) -> Path:
        """Five seconds of the first piece, from 0:06."""
        return self.folder / "clip.wav"

    @property
    def silence(self) -> Path:
        """Five seconds of nothing."""
        return self.folder / "silence.wav"


@contextmanager
def served(url: str, options: ServiceOptions = OPTIONS) -> Iterator[str]:
    """Serve the database at a URL at a port of loopback, and return where."""
    app = create_app(url, Extractor(), options)
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False)
    )
    thread = Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def make_key(
    connection: Connection, name: str, *, collection: str | None = None, may_write: bool = False
) -> dict[str, str]:
    """Make a key, and return the header that carries it."""
    secret = add_key(connection, name, collection=collection, may_write=may_write)
    return {"Authorization": f"Bearer {secret}"}


def sent(path: Path) -> dict[str, tuple[str, bytes]]:
    """Return a file as a multipart form's `file`."""
    return {"file": (path.name, path.read_bytes())}
