"""What a run shows while it works: on a terminal a bar with the best so far and the time left, else
a line now and then.

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

Notify = Callable[[int, int, str], None]
_LINE_EVERY_SECONDS = 10.0


class Display:
    """Shows stages in turn; `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False)

    @property
    def live(self) -> bool:
        """Whether there is a terminal, so that it costs nothing to tell every step."""
        return self._console.is_terminal

    @contextmanager
    def stage(self, title: str, *, every_seconds: float = _LINE_EVERY_SECONDS) -> Iterator[Notify]:
        """A stage of known length: call what this gives with (done, total, text). every_seconds:
        between two lines, where there is no terminal."""
        began = time.monotonic()
        last = ""
        shown = self._bar(title) if self.live else self._lines(title, every_seconds)
        with shown as notify:

            def remember(done: int, total: int, text: str) -> None:
                nonlocal last
                last = text
                notify(done, total, text)

            yield remember
        self.say(
            f"{title}: done in {_clock(time.monotonic() - began)}" + (f", {last}" if last else "")
        )

    @contextmanager
    def _bar(self, title: str) -> Iterator[Notify]:
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

            def notify(done: int, total: int, text: str) -> None:
                progress.update(task, completed=done, total=total, text=text)

            yield notify

    @contextmanager
    def _lines(self, title: str, every_seconds: float) -> Iterator[Notify]:
        began = time.monotonic()
        first: int | None = None
        shown = -every_seconds

        def notify(done: int, total: int, text: str) -> None:
            nonlocal first, shown
            now = time.monotonic() - began
            first = done if first is None else first
            if now - shown < every_seconds and done < total:
                return
            shown = now
            left = (
                f", {_clock(now / (done - first) * (total - done))} left"
                if first < done < total
                else ""
            )
            self.say(f"{title}: {done} of {total}{left}" + (f", {text}" if text else ""))

        yield notify


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
