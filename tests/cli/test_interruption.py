"""Ctrl-C ends a command quietly, with status 130, also while its modules are imported."""

import signal
import subprocess
import sys

import pytest

from fingerprintdb.cli.interruption import INTERRUPTED

# Stands in for a slow import: the program interrupts itself in the middle of one.
AT = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.argv = ['fpdb', 'config']
from fingerprintdb.cli import main
main()
"""


@pytest.mark.parametrize("module", ["typer", "pydantic_settings", "psycopg"])
def test_during_an_import(environment, module, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", AT.format(module=module)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (INTERRUPTED, "", "")


def test_a_process_that_ignores_it_goes_on(environment, tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", AT.format(module="typer")],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN) and None,
    )
    assert run.returncode == 0
    assert "FPDB_DATABASE_URL" in run.stdout
