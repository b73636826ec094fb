"""The Docker files name what exists: commands of the program, files of the checkout, settings."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from fingerprintdb.cli.app import app
from fingerprintdb.settings import Settings

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if name != "database"}
LASTING = {name: one for name, one in SERVICES.items() if name != "migrate"}
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text("utf-8").replace("\\\n", " ")


def stage(name: str) -> str:
    """The lines of a stage of the Dockerfile."""
    found = re.search(
        rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1]


def parsed(arguments: list[str]) -> None:
    """Put arguments to the command tree, whose functions are left out."""
    tree = typer.main.get_command(app)
    tree.callback = None
    for command in tree.commands.values():
        for leaf in getattr(command, "commands", {"": command}).values():
            leaf.callback = None
    assert tree.main(arguments, standalone_mode=False) is None


@pytest.mark.parametrize("name", OURS)
def test_services_run_commands_that_exist(name):
    parsed(OURS[name]["command"])
    health = OURS[name].get("healthcheck", {"test": ["CMD", "python"]})["test"]
    assert health[0] == "CMD"
    if health[1] == "fpdb":
        parsed(health[2:])
    else:
        assert health[1] == "python"


def test_images_run_commands_that_exist():
    for target in ("cpu", "gpu"):
        assert 'ENTRYPOINT ["fpdb"]' in stage(target)
        (arguments,) = re.findall(r"^CMD (\[.*\])$", stage(target), re.MULTILINE)
        parsed(yaml.safe_load(arguments))


def test_what_the_head_of_the_compose_file_tells_parses():
    head = (ROOT / "docker" / "compose.yaml").read_text("utf-8").split("\nname:")[0]
    (arguments,) = re.findall(r"compose run --rm migrate (key add .*?) +#", head)
    parsed(shlex.split(arguments))
    for name in COMPOSE["secrets"]:
        assert COMPOSE["secrets"][name]["file"] == f"./secrets/{name}"
        assert f"secrets/{name}" in head


def test_a_command_that_does_not_parse_would_be_noticed():
    with pytest.raises(Exception, match="No such option"):
        parsed(["worker", "--ques", "embedding"])


def test_the_health_of_the_api_is_a_route_of_it():
    address = SERVICES["api"]["healthcheck"]["test"][-1]
    compile(address, "healthcheck", "exec")
    path = re.search(r"127\.0\.0\.1:8000(/[\w/]+)", address)
    assert path is not None
    files = (ROOT / "fingerprintdb" / "api").glob("*.py")
    assert any(f'@router.get("{path[1]}"' in one.read_text("utf-8") for one in files)
    assert SERVICES["api"]["command"][-2:] == ["--port", "8000"]


def test_everything_waits_for_the_schema_and_the_schema_for_the_database():
    assert SERVICES["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    for name in OURS.keys() - {"migrate"}:
        assert OURS[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }


def test_what_lasts_is_checked_restarted_and_given_time_to_end():
    for service in LASTING.values():
        assert service["healthcheck"]["timeout"]
        assert service["restart"] == "unless-stopped"
        assert service["stop_grace_period"]
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    (device,) = SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_settings_are_the_programs_own_and_none_is_a_password():
    for name in OURS:
        for variable in OURS[name]["environment"]:
            assert variable.removeprefix("FPDB_").lower() in Settings.model_fields, variable
        assert OURS[name]["secrets"] == ["fpdb_database_url"]
        assert "fpdb_database_url".removeprefix("fpdb_") in Settings.model_fields
    for service in SERVICES.values():
        for variable, value in service["environment"].items():
            assert "PASSWORD" not in variable or variable.endswith("_FILE")
            assert "://" not in str(value)


def test_containers_of_ours_may_do_little():
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        mounted = [re.findall(r":(/\w+)", volume) for volume in service["volumes"]]
        assert mounted == [["/music"], ["/models"], ["/scratch"]]
    for target in ("cpu", "gpu"):
        assert "USER 10001:10001" in stage(target)
        assert "STOPSIGNAL SIGTERM" in stage(target)


def test_images_are_pinned_and_dependencies_come_before_the_source():
    assert SERVICES["database"]["image"].startswith("pgvector/pgvector:0.")
    assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert {OURS[name]["build"]["target"] for name in OURS} == {"cpu", "gpu"}
    for kind in ("cpu", "gpu"):
        assert f"FROM pinned AS dependencies-{kind}" in DOCKERFILE
        assert "fingerprintdb fingerprintdb" not in stage(f"dependencies-{kind}")
        assert f"COPY --from=dependencies-{kind} /opt/venv /opt/venv" in stage(kind)
        used = {f"TORCH_{kind.upper()}_INDEX"}
        assert used <= set(re.findall(r"ARG (\w+)", stage(f"dependencies-{kind}")))
    arguments = {one for service in OURS.values() for one in service["build"]["args"]}
    assert arguments <= set(re.findall(r"ARG (\w+)", DOCKERFILE))


def test_the_image_copies_what_there_is_and_the_ignore_file_lets_it_through():
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, flags=re.MULTILINE)
    assert copied
    for line in copied:
        for name in line.split():
            assert (ROOT / name).exists(), name
            assert f"!{name}" in ignored, name
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
