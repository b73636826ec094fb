"""A command's page: what `--help` prints, the same on a terminal, in a pipe and in a pager."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Function = TypeVar("Function", bound=Callable[..., Any])

Section = tuple[str, Sequence[tuple[str, str]]]
"""A heading, and terms with what is said of each."""

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_EXAMPLES: dict[Callable[..., Any], tuple[tuple[str, str], ...]] = {}


def examples(*shown: tuple[str, str]) -> Callable[[Function], Function]:
    """Keep examples with a command: each a line of the shell, and what it is for."""

    def keep(function: Function) -> Function:
        _EXAMPLES[function] = shown
        return function

    return keep


def examples_of(callback: Callable[..., Any] | None) -> tuple[tuple[str, str], ...]:
    """Return what `examples` kept with the function that a command calls."""
    return () if callback is None else _EXAMPLES.get(inspect.unwrap(callback), ())


class Page(TyperCommand):
    """A command whose page ends with examples."""

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the examples, each as it is typed, with its meaning below."""
        shown = examples_of(self.callback)
        if not shown:
            return
        with formatter.section("Examples"):
            for number, (line, meaning) in enumerate(shown):
                if number:
                    formatter.write_paragraph()
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")
                formatter.indent()
                formatter.write_text(meaning)
                formatter.dedent()


class Contents(TyperGroup):
    """A group whose page lists commands by panel, in the order in which they were added."""

    sections: Sequence[Section] = ()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section a panel, with the whole summary of each command."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                summary = inspect.cleandoc(command.help or "").partition("\n\n")[0]
                panel = getattr(command, "rich_help_panel", None) or "Commands"
                panels.setdefault(str(panel), []).append((name, " ".join(summary.split())))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)

    def format_epilog(self, _ctx: Any, formatter: Any) -> None:
        """Write the sections that follow the commands."""
        for heading, rows in self.sections:
            with formatter.section(heading):
                formatter.write_dl(rows)


class Commands(typer.Typer):
    """A Typer application whose commands print pages."""

    def __init__(self, **options: Any) -> None:
        """Make an application, or a group of one; options are Typer's."""
        options.setdefault("cls", Contents)
        # No boxes, which only a terminal shows well, and help is there without loading rich.
        options.setdefault("rich_markup_mode", None)
        super().__init__(no_args_is_help=True, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Add a function as a command."""
        options.setdefault("cls", Page)
        return super().command(name, **options)
