"""Runs the README's SQL cookbook on the demo's database: each block gives what the page shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
STEP = re.compile(r"```sql\n(.*?)\n```\n```text\n(.*?)\n```|(fpdb worker --once)`:", re.DOTALL)


def shape(output: str) -> list[str]:
    """Return what does not depend on the machine: columns, words and places, but no digits."""
    lines = [line for line in output.splitlines() if not re.match(r"(INSERT|UPDATE|DELETE) ", line)]
    return [re.sub(r"[-\d.]+|\s+|[|+]", " ", line).split() for line in lines if line.strip()]  # type: ignore[misc]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the demo has run."""
    folder = tmp_path_factory.mktemp("readme")
    assert fpdb(folder, "demo").returncode == 0
    return folder


def fpdb(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FPDB_")}
    return subprocess.run(
        [sys.executable, "-m", "fingerprintdb", *arguments],
        cwd=folder,
        env=kept | {"FPDB_DATA_DIR": ".demo", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_cookbook_gives_what_it_shows(demo: Path) -> None:
    steps = STEP.findall(README.read_text("utf-8"))
    assert len(steps) >= 15
    for sql, shown, command in steps:
        if command:
            assert fpdb(demo, *command.split()[1:]).returncode == 0
            continue
        run = fpdb(demo, "sql", "-c", sql)
        assert run.returncode == 0, f"{sql}\n{run.stderr}"
        assert shape(run.stdout) == shape(shown), sql


def test_every_command_and_option_is_in_the_readme() -> None:
    import typer

    from fingerprintdb.cli.app import app

    page = README.read_text("utf-8")
    commands = dict(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    groups = {name: command for name, command in commands.items() if hasattr(command, "commands")}
    for group, command in groups.items():
        commands |= {f"{group} {name}": one for name, one in command.commands.items()}
    for name, command in commands.items():
        assert f"fpdb {name}" in page, name
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert option in page, f"{name} {option}"
