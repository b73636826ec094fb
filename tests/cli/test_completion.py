"""Completion: scripts for bash, zsh and fish, and names out of a database that is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    """The command by its own name, as it is installed."""
    path = tmp_path_factory.mktemp("bin") / "fpdb"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{START}" "$@"\n')
    path.chmod(0o755)
    return path


START = "import sys; sys.argv[0] = 'fpdb'; from fingerprintdb.cli import main; main()"


@pytest.fixture(scope="module")
def complete(program, environment, tmp_path_factory):
    """Ask the program, as a shell's function does, what may stand at the end of a line."""
    empty = str(tmp_path_factory.mktemp("cwd"))

    def ask(line: str, **variables: str) -> list[str]:
        words = line.split(" ")
        given = {
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
            "_FPDB_COMPLETE": "complete_bash",
        }
        run = subprocess.run(
            [program],
            env=environment | given | variables,
            cwd=empty,
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stderr == ""
        return run.stdout.split()

    return ask


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_that_it_can_read(program, environment, shell):
    given = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    run = subprocess.run(
        [program, "--show-completion", shell],
        env=environment | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "_FPDB_COMPLETE" in run.stdout
    assert "fpdb" in run.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=run.stdout, text=True, check=True)


def test_commands_and_options_are_completed(complete):
    assert complete("fpdb ide") == ["identify"]
    assert complete("fpdb model c") == ["compare", "calibrate"]
    assert complete("fpdb profile build ") == ["accurate", "compact"]
    assert complete("fpdb ingest --content") == ["--content-type"]


def test_names_come_from_the_database(complete, migrated_url):
    with psycopg.connect(migrated_url, autocommit=True) as connection:
        connection.execute("INSERT INTO fpdb.collection (name) VALUES ('radio'), ('records')")
    asked = {"FPDB_DATABASE_URL": migrated_url}
    assert complete("fpdb identify --collection r", **asked) == ["radio", "records"]
    assert complete("fpdb ingest --content-type so", **asked) == ["sound_mark"]
    assert complete("fpdb model activate b", **asked) == ["builtin"]


def test_nothing_is_started_and_nothing_said_where_no_database_answers(complete, tmp_path):
    folder = tmp_path / "data"
    assert complete("fpdb list --collection ", FPDB_DATA_DIR=str(folder)) == []
    assert not folder.exists()
    gone = "postgresql://nobody@127.0.0.1:1/none"
    assert complete("fpdb list --collection ", FPDB_DATABASE_URL=gone) == []
    assert complete("fpdb list --collection ", FPDB_DATABASE_URL="nonsense") == []
