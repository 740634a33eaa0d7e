"""Progress display of a run: a bar on a terminal, otherwise a line every ten seconds.

Everything goes to standard error; standard output is for results.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

ProgressCallback = Callable[[int, int, str], None]
_SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Shows stages in turn; `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)

    def print(self, text: str) -> None:
        self._console.print(text, markup=False)

    @property
    def is_terminal(self) -> bool:
        """Whether stderr is a terminal, where every step can be shown."""
        return self._console.is_terminal

    @contextmanager
    def stage(
        self, title: str, *, interval_seconds: float = _SECONDS_BETWEEN_LINES
    ) -> Iterator[ProgressCallback]:
        """Show a stage; yields the callback that reports its progress as (done, total, text).

        Args:
            interval_seconds: Time between two lines, where there is no terminal.
        """
        start = time.monotonic()
        last_text = ""
        display = self._bar(title) if self.is_terminal else self._lines(title, interval_seconds)
        with display as report:

            def report_and_remember(done: int, total: int, text: str) -> None:
                nonlocal last_text
                last_text = text
                report(done, total, text)

            yield report_and_remember
        self.print(
            f"{title}: done in {_format_duration(time.monotonic() - start)}"
            + (f", {last_text}" if last_text else "")
        )

    @contextmanager
    def _bar(self, title: str) -> Iterator[ProgressCallback]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}", markup=False),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=None, text="")

            def report(done: int, total: int, text: str) -> None:
                progress.update(task, completed=done, total=total, text=text)

            yield report

    @contextmanager
    def _lines(self, title: str, interval_seconds: float) -> Iterator[ProgressCallback]:
        start = time.monotonic()
        first_done: int | None = None
        last_line = -interval_seconds

        def report(done: int, total: int, text: str) -> None:
            nonlocal first_done, last_line
            elapsed = time.monotonic() - start
            first_done = done if first_done is None else first_done
            if elapsed - last_line < interval_seconds and done < total:
                return
            last_line = elapsed
            remaining = (
                f", {_format_duration(elapsed / (done - first_done) * (total - done))} left"
                if first_done < done < total
                else ""
            )
            self.print(f"{title}: {done} of {total}{remaining}" + (f", {text}" if text else ""))

        yield report


def _format_duration(seconds: float) -> str:
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"
