"""What can be set: an option beats environment, secret files, `.env` and default, in this order."""

import os
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from fingerprintdb.secret import SecretFiles
from fingerprintdb.store.embedded import open_embedded


def _parts(value: object) -> object:
    """Split a text at its commas."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _named(sites: tuple[str, ...]) -> tuple[str, ...]:
    if "*" in sites:
        raise ValueError("name each site: the pages of all others must not write here")
    return sites


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]


class Settings(BaseSettings):
    """Each field is read from FPDB_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix="FPDB_", env_file=".env", extra="ignore", env_ignore_empty=True
    )

    database_url: SecretStr | None = Field(
        None, description="The Postgres to use; none: the embedded one."
    )
    data_dir: Path = Field(
        Path(platformdirs.user_data_dir("fingerprintdb", appauthor=False)),
        description="Folder of the embedded Postgres.",
    )
    model: str = Field(
        "auto",
        description="Embedding model that `fpdb init` makes active:"
        " auto, clap, builtin, a checkpoint's name or a folder.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="Least level that is logged."
    )
    log_format: Literal["text", "json"] = Field("text", description="Lines for people or programs.")
    concurrency: int = Field(
        os.cpu_count() or 1, ge=1, le=256, description="Recordings worked on at once."
    )
    max_source_bytes: int = Field(
        8 * 1024**3, ge=1, description="Largest file that is fetched, in bytes."
    )
    max_attempts: int = Field(
        5, ge=1, le=100, description="How often a job is tried while its source is unreachable."
    )
    poll_sec: float = Field(
        5.0, gt=0, description="Seconds between a worker's looks at the queue without a NOTIFY."
    )
    heartbeat_sec: float = Field(
        10.0, gt=0, description="Seconds between a worker's signs of life."
    )
    stalled_after_sec: float = Field(
        30.0, gt=0, description="Seconds without a sign of life after which others take its jobs."
    )
    host: str = Field("127.0.0.1", description="Where `fpdb serve` listens.")
    port: int = Field(8000, ge=0, le=65535, description="Its port; 0 takes a free one.")
    connections: int = Field(
        max(4, 2 * (os.cpu_count() or 1)),
        ge=1,
        le=1000,
        description="To the database, of `fpdb serve`; further requests wait.",
    )
    max_upload_bytes: int = Field(
        256 * 1024**2, ge=1, le=2**30 - 2**20, description="Largest file that `fpdb serve` takes."
    )
    request_timeout_sec: float = Field(
        60.0, gt=0, description="Seconds for an upload to arrive, and for a search."
    )
    max_listen_sec: float = Field(
        60.0, ge=5, le=600, description="Seconds that `fpdb serve` listens to a microphone."
    )
    allowed_uris: Texts = Field(
        (), description="What URIs registered over the API may begin with, separated by commas."
    )
    cors_origins: Annotated[Texts, AfterValidator(_named)] = Field(
        (), description="Other sites whose pages may call the API, separated by commas."
    )
    allowed_hosts: Texts = Field(
        (), description="Names the service goes by; default: any, on loopback only its own."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Where `fpdb worker --metrics-port` listens."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources, the strongest first."""
        del file_secret_settings  # knows a folder only, and passes over what it cannot read
        return init_settings, env_settings, SecretFiles(settings_cls), dotenv_settings

    def open_database(self) -> str:
        """Return the database's URL, with the embedded server started where none is set."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return open_embedded(self.data_dir.expanduser().absolute())
