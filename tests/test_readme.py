"""Runs the README's SQL cookbook on the demo's database: each block gives what the page shows."""

import os
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

BORDER = "-- the next --"
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


def results(folder: Path, statements: list[str]) -> list[str]:
    """Return what `fpdb sql` prints of each statement, in one session: a process takes a second."""
    arguments = [part for sql in statements for part in ("-c", sql, "-c", f"\\echo {BORDER}")]
    run = fpdb(folder, "sql", "-v", "ON_ERROR_STOP=1", *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout.split(BORDER)[:-1]


def test_the_cookbook_gives_what_it_shows(demo: Path) -> None:
    steps = STEP.findall(README.read_text("utf-8"))
    assert len(steps) >= 15
    for command, group in groupby(steps, lambda step: step[2]):
        if command:
            assert fpdb(demo, *command.split()[1:]).returncode == 0
            continue
        blocks = list(group)
        printed = results(demo, [sql for sql, _, _ in blocks])
        for (sql, shown, _), output in zip(blocks, printed, strict=True):
            assert shape(output) == shape(shown), sql


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
