"""Shows on a terminal how far a long command is; anywhere else it shows nothing."""

import sys
from collections import Counter
from types import TracebackType
from typing import Self


class Progress:
    """A bar on stderr with counts by state and the time that is left."""

    def __init__(self, total: int | None) -> None:
        """Show nothing yet; `total` is how many there are to count, None where nobody knows."""
        self._counts: Counter[str] = Counter()
        self._bar = None
        if not sys.stderr.isatty():
            return
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("eta"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()

    def count(self, state: str) -> None:
        """Count one more in a state: ready, skipped or failed; from any thread."""
        if self._bar:
            self._counts[state] += 1
            text = " ".join(f"{number} {name}" for name, number in sorted(self._counts.items()))
            self._bar.update(self._task, advance=1, description=text)
