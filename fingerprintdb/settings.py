"""What can be set: an option beats the environment beats `.env` beats the default."""

import os
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from fingerprintdb.store.embedded import open_embedded


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

    def open_database(self) -> str:
        """Return the database's URL, with the embedded server started where none is set."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return open_embedded(self.data_dir.expanduser().absolute())
