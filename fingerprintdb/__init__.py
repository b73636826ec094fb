"""Audio identification and audio similarity inside the user's own Postgres."""

from importlib.metadata import version

__version__ = version("fingerprintdb")
