"""A browser's page of the service, and the music that is shown to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

CLIP_FROM_SEC = 6
WAIT_MS = 20_000

expect.set_options(timeout=WAIT_MS)


@dataclass(frozen=True, slots=True)
class Music:
    """Files: three pieces of 20 s, two to be added, and clips."""

    folder: Path
    titles: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Path:
        """Return a file by its name."""
        return self.folder / name

    @property
    def stored(self) -> list[Path]:
        """What the library holds: the third piece twice, in two formats."""
        names = ("piece0.flac", "piece1.flac", "piece2.flac", "copy2.wav")
        return [self.folder / name for name in names]


@contextmanager
def opened(browser: Browser, base: str, **options: object) -> Iterator[Page]:
    """Open the page in a browser of its own, which asks no other host and meets no error."""
    context: BrowserContext = browser.new_context(base_url=base, **options)  # type: ignore[arg-type]
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    errors: list[str] = []
    addresses: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # A refused request is written to the console by the browser itself.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            errors.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: addresses.append(request.url))
    page.on("websocket", lambda socket: addresses.append(socket.url))
    yield page
    context.close()
    assert errors == []
    host = urlsplit(base).netloc
    assert {urlsplit(url).netloc for url in addresses if not url.startswith("blob:")} <= {host}
