"""How the service serves."""

from dataclasses import dataclass

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Limits, and what is let in; seconds and bytes."""

    connections: int = 8
    """To the database, at most; requests beyond that wait."""
    max_upload_bytes: int = 256 * MEBIBYTE
    request_timeout_sec: float = 60.0
    """For a body to arrive, and again for the database to answer a statement."""
    max_listen_sec: float = 60.0
    allowed_uris: tuple[str, ...] = ()
    """What URIs of new assets may begin with: the worker opens them with its own rights."""
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may call the service."""
    is_open: bool = False
    """Whether anybody may come in where no key was ever made."""
    allowed_hosts: tuple[str, ...] = ("*",)
    """Names that requests may call this host by."""
