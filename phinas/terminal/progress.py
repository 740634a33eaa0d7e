"""Progress of a run: a bar on a terminal, or else a line for each tenth of a stage.

Progress goes to standard error, because standard output is for results.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from phinas.terminal.remaining_time import RunClock, StageClock, format_about
from phinas.terminal.text_table import format_minutes

# Called with the number of finished steps, the total number of steps and a text.
ProgressCallback = Callable[[int, int, str], None]
_SECONDS_BETWEEN_LINES = 10.0
# Without a terminal a new line needs this fraction of the stage, or this time.
_FRACTION_BETWEEN_LINES = 0.1
_MAX_SECONDS_BETWEEN_LINES = 30.0
# Of a time budget, before which too little is known to say that it is too short.
_MIN_BUDGET_FRACTION = 0.2


class Display:
    """Shows the progress of stages, one after another.

    Args:
        quiet: Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)
        self._stages: tuple[str, ...] = ()
        self._run_clock = RunClock({})
        self._start = time.monotonic()
        self._budget_seconds: float | None = None

    def set_time_budget(self, minutes: float) -> None:
        """Say once if the run is expected to take longer than this, from now on."""
        self._start, self._budget_seconds = time.monotonic(), 60 * minutes

    def number_stages(self, titles: Sequence[str]) -> None:
        """Show the number of each of these stages, such as "stage 3 of 5"."""
        self._stages = tuple(titles)

    def weigh_stages(self, work: Mapping[str, float]) -> None:
        """Show the remaining time of the run, from the expected work of each stage in any unit."""
        self._run_clock = RunClock(work)

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
            interval_seconds: Minimum time between two lines if standard error is not a terminal. A
                line is also not printed before a tenth of the steps or 30 seconds have passed.
            text_is_result: Whether the last text describes the result of the stage, so that the
                last line has it.

        Yields:
            The callback that shows the progress.
        """
        start = time.monotonic()
        last_done, last_text = -1, ""
        clock = self._run_clock.begin_stage(title)
        if title in self._stages:
            number = f"stage {self._stages.index(title) + 1} of {len(self._stages)}"
            title = f"{number}, {title}"
        display = (
            self._bar(title, clock)
            if self.is_terminal
            else self._lines(title, f" {unit}" if unit else "", interval_seconds, clock)
        )
        with display as report:

            def report_and_remember(done: int, total: int, text: str) -> None:
                nonlocal last_done, last_text
                if done < last_done:
                    return  # a list of jobs that has grown reports its recorded jobs again
                last_done, last_text = done, text
                clock.update(done, total)
                self._check_time_budget(clock)
                report(done, total, text)

            yield report_and_remember
        self._run_clock.end_stage()
        self.print(
            f"{title}: done in {_format_duration(time.monotonic() - start)}"
            + (f", {last_text}" if last_text and text_is_result else "")
        )

    def _check_time_budget(self, clock: StageClock) -> None:
        budget, elapsed = self._budget_seconds, time.monotonic() - self._start
        if budget is None or elapsed < _MIN_BUDGET_FRACTION * budget:
            return
        left = self._run_clock.seconds_left()
        expected = elapsed + (clock.seconds_left() or 0.0 if left is None else left)
        if expected <= budget:
            return
        self._budget_seconds = None
        self.print(
            f"note: the run is expected to take {format_about(expected)}, longer than its time "
            f"budget of {format_minutes(budget / 60)}; it is not stopped"
        )

    def _describe_run(self) -> str:
        """The remaining time of the run, or "" in its last stage and where it is not known."""
        seconds = self._run_clock.seconds_left()
        return "" if seconds is None else f"run: {format_about(seconds)} left"

    @contextmanager
    def _bar(self, title: str, clock: StageClock) -> Iterator[ProgressCallback]:
        """A bar, and the text on a line of its own, so that both fit 80 columns."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            _RemainingColumn(clock),
        )
        progress = Progress(*columns, console=self._console)
        task = progress.add_task(title, total=None)
        text = Text("", no_wrap=True, overflow="ellipsis")
        with Live(
            Group(progress, text), console=self._console, transient=True, refresh_per_second=10
        ):

            def report(done: int, total: int, message: str) -> None:
                progress.update(task, completed=done, total=total)
                parts = [part for part in (self._describe_run(), message) if part]
                text.plain = f"  {', '.join(parts)}" if parts else ""

            yield report

    @contextmanager
    def _lines(
        self, title: str, unit: str, interval_seconds: float, clock: StageClock
    ) -> Iterator[ProgressCallback]:
        start = time.monotonic()
        line_done, line_seconds = -1, -interval_seconds

        def report(done: int, total: int, text: str) -> None:
            nonlocal line_done, line_seconds
            elapsed = time.monotonic() - start
            is_first = line_done < 0
            if done == line_done or not (
                is_first or done == total or is_due(elapsed - line_seconds, done - line_done, total)
            ):
                return
            line_done, line_seconds = done, elapsed
            left = clock.seconds_left()
            remaining = "" if left is None else f"{format_about(left)} left"
            parts = (f"{done} of {total}{unit}", remaining, self._describe_run(), text)
            self.print(f"{title}: {', '.join(part for part in parts if part)}")

        def is_due(seconds: float, steps: int, total: int) -> bool:
            if seconds >= _MAX_SECONDS_BETWEEN_LINES:
                return True
            return seconds >= interval_seconds and steps >= _FRACTION_BETWEEN_LINES * total

        yield report


class _RemainingColumn(ProgressColumn):
    """The remaining time of the stage."""

    def __init__(self, clock: StageClock) -> None:
        super().__init__()
        self._clock = clock

    def render(self, task: Task) -> Text:  # noqa: ARG002  # the clock knows the task
        seconds = self._clock.seconds_left()
        return Text("" if seconds is None else f"{format_about(seconds)} left")


def _format_duration(seconds: float) -> str:
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"
