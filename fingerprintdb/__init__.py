"""Audio identification and audio similarity inside the user's own Postgres."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Return the version when it is asked for: what reads it takes 50 ms to load."""
        if name != "__version__":
            raise AttributeError(name)
        from importlib.metadata import version  # noqa: PLC0415

        return version("fingerprintdb")
