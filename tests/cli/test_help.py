"""Pages: every command says what it does, what it leaves alone, and shows examples that parse."""

import re
import shlex
import subprocess
import sys

import pytest
import typer

from fingerprintdb.cli.app import app
from fingerprintdb.cli.page import examples_of


def commands() -> dict[str, typer.core.TyperCommand]:
    """Every command by what is typed."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            found[f"fpdb {name}"] = command
        else:
            found |= {f"fpdb {name} {one}": leaf for one, leaf in inner.items()}
    return found


@pytest.mark.parametrize("name", commands())
def test_every_command_says_what_it_does_and_shows_how(name):
    command = commands()[name]
    summary, *description = (command.help or "").split("\n\n")
    assert re.fullmatch(r"[A-Z].*[.]", " ".join(summary.split()))
    assert len(summary.splitlines()) == 1
    assert description, f"{name} does not say what it leaves alone"
    shown = examples_of(command.callback)
    assert shown, f"{name} has no example"
    for line, meaning in shown:
        assert name in line
        assert meaning.endswith(".")


def test_every_example_parses():
    tree = typer.main.get_command(app)
    tree.callback = None
    asked = []
    for name, command in commands().items():
        asked += [line for line, _ in examples_of(command.callback)]
        for part in name.split()[1:-1]:
            tree.commands[part].commands[name.split()[-1]].callback = None
        if len(name.split()) == 2:
            tree.commands[name.split()[1]].callback = None
    assert len(asked) > 50
    for line in asked:
        words = next(part for part in line.split("|") if part.strip().startswith("fpdb"))
        # Nothing runs: what remains of a command without its function is the parsing.
        assert tree.main(shlex.split(words)[1:], standalone_mode=False) is None, line


def test_an_example_that_does_not_parse_would_be_noticed():
    tree = typer.main.get_command(app)
    tree.callback = None
    with pytest.raises(Exception, match="No such option"):
        tree.main(["list", "--colection", "x"], standalone_mode=False)


def test_pages_are_plain_in_a_pipe_and_fit():
    for arguments in ((), ("ingest",), ("index", "recall"), ("model",)):
        page = page_of(*arguments)
        assert not re.search(r"[\x1b╭│\[]/?(bold|dim|red)?\]?m", page)
        assert not set("╭│╰") & set(page)
        assert max(map(len, page.splitlines())) <= 88
    assert page_of("index", "recall").splitlines()[-2:] == [
        "  fpdb index recall --ef-search 100,200 --samples 500 --k 20",
        "    At yours.",
    ]


def test_the_first_page_lists_commands_in_the_order_of_use():
    page = page_of()
    headings = [line[:-1] for line in page.splitlines() if re.fullmatch(r"[A-Z][\w ]+:", line)]
    assert headings[:4] == ["Options", "Start", "Bring recordings in", "Ask"]
    assert headings[-4:] == ["Environment", "Exit status", "Files", "More"]
    assert page.index("  init ") < page.index("  ingest ") < page.index("  identify ")
    assert "FPDB_DATABASE_URL  The Postgres to use; none: the embedded one." in page


def page_of(*arguments: str) -> str:
    from typer.testing import CliRunner

    run = CliRunner().invoke(app, [*arguments, "--help"], prog_name="fpdb")
    assert run.exit_code == 0
    return run.output


def test_help_loads_nothing_heavy():
    heavy = ("rich", "numpy", "scipy", "sqlalchemy", "alembic", "av", "procrastinate", "fastapi")
    script = (
        "import sys; sys.argv = ['fpdb', '--help']\n"
        "from fingerprintdb.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([name for name in {heavy} if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
