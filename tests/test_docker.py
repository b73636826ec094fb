"""The Docker files name what exists: commands of the program, files of the checkout, settings."""

import re
from pathlib import Path

import typer
import yaml

from fingerprintdb.cli.app import app
from fingerprintdb.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text("utf-8")


def test_services_run_commands_that_exist() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    ours = {name: s for name, s in COMPOSE["services"].items() if s.get("image") != "database"}
    named = {name: service["command"][0] for name, service in ours.items() if "command" in service}
    assert named == {"migrate": "init", "worker": "worker"}
    assert set(named.values()) <= set(commands)
    assert 'ENTRYPOINT ["fpdb"]' in DOCKERFILE


def test_workers_wait_for_the_schema_and_the_schema_for_the_database() -> None:
    services = COMPOSE["services"]
    assert services["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert services["worker"]["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"}
    }
    assert services["database"]["image"].startswith("pgvector/pgvector:")


def test_settings_are_the_programs_own() -> None:
    for service in ("migrate", "worker"):
        for name in COMPOSE["services"][service]["environment"]:
            assert name.removeprefix("FPDB_").lower() in Settings.model_fields, name


def test_the_image_copies_what_there_is_and_the_ignore_file_lets_it_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, flags=re.MULTILINE):
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignored, name
    assert "USER 10001" in DOCKERFILE
