"""Progress of a run: a bar on a terminal, or else a line every ten seconds.

Progress goes to standard error, because standard output is for results.
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

# Called with the number of finished steps, the total number of steps and a text.
ProgressCallback = Callable[[int, int, str], None]
_SECONDS_BETWEEN_LINES = 10.0


class Display:
    """Shows the progress of stages, one after another.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)

    def print(self, text: str) -> None:
        """Print a line on standard error."""
        self._console.print(text, markup=False)

    @property
    def is_terminal(self) -> bool:
        """Whether standard error is a terminal, which can show every step."""
        return self._console.is_terminal

    @contextmanager
    def stage(
        self,
        title: str,
        *,
        unit: str = "",
        interval_seconds: float = _SECONDS_BETWEEN_LINES,
        text_is_result: bool = True,
    ) -> Iterator[ProgressCallback]:
        """Show the progress of a stage, and its duration at the end.

        Args:
            title: The name of the stage.
            unit: What its steps are, such as "trials".
            interval_seconds: Minimum time between two lines if standard error is not a terminal.
            text_is_result: Whether the last text describes the result of the stage, so that the
                last line has it.

        Yields:
            The callback that shows the progress.
        """
        start = time.monotonic()
        last_text = ""
        display = (
            self._bar(title)
            if self.is_terminal
            else self._lines(title, f" {unit}" if unit else "", interval_seconds)
        )
        with display as report:

            def report_and_remember(done: int, total: int, text: str) -> None:
                nonlocal last_text
                last_text = text
                report(done, total, text)

            yield report_and_remember
        self.print(
            f"{title}: done in {_format_duration(time.monotonic() - start)}"
            + (f", {last_text}" if last_text and text_is_result else "")
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
    def _lines(self, title: str, unit: str, interval_seconds: float) -> Iterator[ProgressCallback]:
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
            self.print(
                f"{title}: {done} of {total}{unit}{remaining}" + (f", {text}" if text else "")
            )

        yield report


def _format_duration(seconds: float) -> str:
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"
