"""Estimate of the remaining time of a stage and of a run, which changes slowly.

The time of a step is the mean over the stage, to which the expectation before the stage counts as a
few more steps. One unusual step cannot change the estimate by more than a third. So it neither
jumps with the start of the workers nor when several of them finish at the same time.
"""

import time
from collections.abc import Mapping

# Steps that the expectation counts as. Without one, nothing is shown before this many steps.
_PRIOR_STEPS = 3
_MAX_CHANGE = 4 / 3


class StageClock:
    """The remaining time of one stage.

    Args:
        expected_seconds: The expected duration of the stage; None where it is not known.
    """

    def __init__(self, expected_seconds: float | None = None) -> None:
        self._expected = expected_seconds
        self._start = time.monotonic()
        self._first: int | None = None
        self._done = self._total = 0
        self._step_seconds: float | None = None
        self._updated = self._start

    def update(self, done: int, total: int) -> None:
        """Note how many steps are done. Those of the first call were done before the stage."""
        if self._first is None:
            self._first = done
        is_new = done > self._done or total != self._total
        self._done, self._total = done, total
        if not is_new:
            return
        self._updated = time.monotonic()
        estimate = self._estimate_step_seconds()
        previous = self._step_seconds
        if estimate is not None and previous:
            estimate = min(max(estimate, previous / _MAX_CHANGE), previous * _MAX_CHANGE)
        self._step_seconds = estimate

    @property
    def num_steps(self) -> int:
        """The number of steps that this process has done."""
        return self._done - (self._first or 0)

    @property
    def seconds(self) -> float:
        """Seconds since the beginning of the stage."""
        return time.monotonic() - self._start

    @property
    def finished_fraction(self) -> float:
        """Fraction of the stage that this process has done."""
        return self.num_steps / self._total if self._total else 0.0

    def seconds_left(self) -> float | None:
        """Remaining seconds of the stage; None where too little is known, or it is at its end."""
        if self._step_seconds is None or self._done >= self._total:
            return None
        since_update = time.monotonic() - self._updated
        steps = self._total - self._done
        # A step may take longer than expected, but those after it remain.
        return max(steps * self._step_seconds - since_update, (steps - 1) * self._step_seconds, 0.0)

    def _estimate_step_seconds(self) -> float | None:
        if self._expected is not None and self._total:
            prior = self._expected / self._total
            return (_PRIOR_STEPS * prior + self.seconds) / (_PRIOR_STEPS + self.num_steps)
        if self.num_steps < min(_PRIOR_STEPS, self._total - (self._first or 0)):
            return None
        return self.seconds / self.num_steps if self.num_steps else None


class RunClock:
    """The remaining time of a run, from the expected work of its stages.

    Args:
        work: Expected work of each stage, in any unit.
    """

    def __init__(self, work: Mapping[str, float]) -> None:
        self._work = dict(work)
        self._waiting = list(work)
        self._seconds = self._finished_work = 0.0
        self._stage = ""
        self._clock = StageClock()

    def begin_stage(self, stage: str) -> StageClock:
        """The clock of a stage that begins."""
        self.end_stage()
        if stage in self._waiting:
            self._waiting = self._waiting[self._waiting.index(stage) + 1 :]
        speed = self._seconds_per_work()
        expected = self._work[stage] * speed if speed and stage in self._work else None
        self._stage, self._clock = stage, StageClock(expected)
        return self._clock

    def end_stage(self) -> None:
        """Note how long the current stage took."""
        work = self._work.get(self._stage, 0.0) * self._clock.finished_fraction
        if work:
            self._seconds += self._clock.seconds
            self._finished_work += work
        self._stage = ""

    def seconds_left(self) -> float | None:
        """Remaining seconds of the run; None in its last stage and where too little is known."""
        stage_left = self._clock.seconds_left()
        if not self._waiting or stage_left is None:
            return None
        step_work = self._work.get(self._stage, 0.0)
        total = self._clock.seconds + stage_left
        seconds, work = self._seconds + total, self._finished_work + step_work
        if not step_work:
            return None
        return stage_left + seconds / work * sum(self._work[name] for name in self._waiting)

    def _seconds_per_work(self) -> float:
        return self._seconds / self._finished_work if self._finished_work else 0.0


def format_about(seconds: float) -> str:
    """A duration in round numbers, such as "about 25 min"."""
    minutes = seconds / 60
    if minutes < 1:
        return f"about {max(10, round(seconds, -1)):.0f} s"
    if minutes < 10:
        return f"about {minutes:.0f} min"
    if minutes < 60:
        return f"about {5 * round(minutes / 5)} min"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    if hours >= 10 or not rest:
        return f"about {round(minutes / 60)} h"
    return f"about {hours} h {rest} min"
