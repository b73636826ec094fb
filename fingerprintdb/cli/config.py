"""Reads the settings, remembers where each came from, and prints them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import typer

from fingerprintdb.cli.output import OneJson, print_json, print_table
from fingerprintdb.cli.page import examples
from fingerprintdb.errors import FingerprintError
from fingerprintdb.secret import SecretFiles
from fingerprintdb.settings import Settings


class SettingsError(FingerprintError):
    """A setting that cannot be used."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of this call, and the source of each: option, environment, file or default."""

    settings: Settings
    sources: dict[str, str]

    @classmethod
    def read(cls, **options: str | Path | None) -> Self:
        """Let the options that were given beat the environment, `.env` and the defaults."""
        from pydantic import ValidationError
        from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

        given = {name: value for name, value in options.items() if value is not None}
        try:
            settings = Settings(**given)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            written = f"--{name.replace('_', '-')}" if name in given else f"FPDB_{name.upper()}"
            raise SettingsError(f"{written}: {first['msg']}", "`fpdb --help` says more") from None
        found = (
            ("option", given),
            ("environment", EnvSettingsSource(Settings)()),
            ("secret file", SecretFiles(Settings)()),
            (".env", DotEnvSettingsSource(Settings)()),
        )
        sources = {
            field: next((source for source, values in found if field in values), "default")
            for field in Settings.model_fields
        }
        return cls(settings, sources)


@examples(
    ("fpdb config", "A table of all settings."),
    ("fpdb config --json", "The same, for programs."),
)
def config(
    context: typer.Context,
    as_json: OneJson = False,
) -> None:
    """Print every setting, its value and where it came from.

    An option beats the environment; then come secret files, named by FPDB_…_FILE or found in
    /run/secrets under the setting's name in small letters; then `.env` in the working directory;
    then the default. Passwords are not shown. No database is opened.
    """
    chosen: Configuration = context.obj
    values = {name: _shown(name, value) for name, value in chosen.settings}
    if as_json:
        print_json(
            {n: {"value": values[n], "source": source} for n, source in chosen.sources.items()}
        )
        return
    print_table(
        ("setting", "value", "source", "meaning"),
        (
            (f"FPDB_{name.upper()}", values[name], chosen.sources[name], field.description)
            for name, field in Settings.model_fields.items()
        ),
    )


def _shown(name: str, value: Any) -> Any:
    """Return a setting as it may be shown: a database URL without its password."""
    if name == "database_url" and value is not None:
        from fingerprintdb.store.database import masked

        return masked(value.get_secret_value())
    return str(value) if isinstance(value, Path) else value
