"""Selection of the number of CPU threads by timing, while a training or a measurement runs.

More threads are not always faster: a small network leaves them little work, and on a machine with
other load the threads of OpenMP wait for each other (benchmarks/threads.md).
"""

import statistics
import time
from collections import deque
from collections.abc import Callable

_MIN_STEPS = 3  # timed steps with each number of threads
_MIN_SECONDS = 0.1  # and at least their total duration
_MAX_SECONDS = 2.0  # total duration for which fewer steps are enough
_SLOWER = 1.1  # the search in a direction ends at a number that is slower than the best by this
_MUCH_SLOWER = 2.0  # one step that is slower than the best by this ends the timing of a number
_WATCHED_STEPS = 10  # steps whose median shows whether the speed has dropped
_SPEED_DROP = 1.4  # step time, as a multiple of that at the selection
_FIRST_INTERVAL, _MAX_INTERVAL = 30.0, 600.0  # seconds between selections without a speed drop


def thread_counts(max_threads: int) -> tuple[int, ...]:
    """Return the numbers of threads to compare: 1, 2, 4, ... and `max_threads`."""
    powers = (2**exponent for exponent in range(max_threads.bit_length()))
    return (*(count for count in powers if count < max_threads), max_threads)


class _Selection:
    """One comparison of numbers of threads: from a first one upwards, or else downwards, as long as
    the steps get faster. So a number that is far too small or too large is seldom timed.

    Args:
        counts: the numbers of threads, rising.
        first: the one that is timed first.
    """

    def __init__(self, counts: tuple[int, ...], first: int) -> None:
        position = counts.index(first)
        self._above = list(counts[position + 1 :])
        self._below = list(counts[:position])[::-1]
        self._first = first
        self._current: int | None = first
        self._medians: dict[int, float] = {}
        self._timings: list[float] = []
        self._is_warm_up = True

    @property
    def threads(self) -> int:
        """The number of threads to time now, or at the end the fastest one."""
        return self.fastest if self._current is None else self._current

    @property
    def is_complete(self) -> bool:
        return self._current is None

    @property
    def fastest(self) -> int:
        return min(self._medians, key=self._medians.__getitem__)

    @property
    def seconds(self) -> float:
        """The median step time of the fastest number, in seconds."""
        return min(self._medians.values(), default=float("inf"))

    def add(self, step_seconds: float) -> None:
        """Add the time of a step with the current number of threads."""
        much_slower = step_seconds > _MUCH_SLOWER * self.seconds
        if self._is_warm_up and not much_slower:
            self._is_warm_up = False  # the first step also starts the threads
            return
        self._timings.append(step_seconds)
        total = sum(self._timings)
        enough = total >= (_MIN_SECONDS if len(self._timings) >= _MIN_STEPS else _MAX_SECONDS)
        if enough or much_slower:
            self._finish_count(statistics.median(self._timings))

    def _finish_count(self, median: float) -> None:
        is_slower = median > _SLOWER * self.seconds
        assert self._current is not None
        self._medians[self._current] = median
        if is_slower:
            # after a slower number above the first one, those below it are next
            self._above = []
            self._below = self._below if self._current > self._first else []
        if self.fastest > self._first:
            self._below = []
        remaining = self._above or self._below
        self._current = remaining.pop(0) if remaining else None
        self._timings, self._is_warm_up = [], True


def select_threads(
    run: Callable[[], object], max_threads: int, *, set_threads: Callable[[int], None]
) -> int:
    """Return the number of CPU threads with which a function is fastest.

    Args:
        run: function to time, such as one inference.
        max_threads: largest number of threads, such as the number of available CPUs.
        set_threads: sets the number of threads. It is set to the returned number.
    """
    tuner = ThreadTuner(max_threads, set_threads=set_threads)
    tuner.end_step()
    while tuner.is_selecting:
        run()
        tuner.end_step()
    return tuner.threads


class ThreadTuner:
    """Selects the number of CPU threads with which the steps of a training are fastest.

    The steps of the training itself are timed, so no work is done twice. The selection is repeated
    when the speed drops, and in growing intervals, since other processes may have ended.

    The results of a training with different numbers of threads differ in their last bits.

    Args:
        max_threads: largest number of threads, such as the number of available CPUs.
        set_threads: sets the number of threads, such as `torch.set_num_threads`.
        clock: time in seconds.
    """

    def __init__(
        self,
        max_threads: int,
        *,
        set_threads: Callable[[int], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._counts = thread_counts(max_threads)
        self._set_threads, self._clock = set_threads, clock
        self._selection = _Selection(self._counts, self._counts[(len(self._counts) - 1) // 2])
        self._interval, self._selection_time = _FIRST_INTERVAL, 0.0
        self._recent_seconds: deque[float] = deque(maxlen=_WATCHED_STEPS)
        self._step_start: float | None = None
        self._set_threads(self.threads)

    @property
    def threads(self) -> int:
        """The current number of threads."""
        return self._selection.threads

    @property
    def is_selecting(self) -> bool:
        """Whether numbers of threads are being compared."""
        return not self._selection.is_complete

    def end_step(self) -> None:
        """Time the step that ends now, and set the number of threads of the next one."""
        start, now = self._step_start, self._clock()
        self._step_start = now
        if start is None:
            return
        threads = self.threads
        if self.is_selecting:
            self._selection.add(now - start)
            if self._selection.is_complete:
                self._selection_time = now
        else:
            self._watch(now - start, now)
        if self.threads != threads:
            self._set_threads(self.threads)

    def skip_step(self) -> None:
        """Do not time the current step, because it includes other work."""
        self._step_start = None

    def _watch(self, step_seconds: float, now: float) -> None:
        self._recent_seconds.append(step_seconds)
        dropped = (
            len(self._recent_seconds) == _WATCHED_STEPS
            and statistics.median(self._recent_seconds) > _SPEED_DROP * self._selection.seconds
        )
        if dropped or now >= self._selection_time + self._interval:
            self._interval = _FIRST_INTERVAL if dropped else min(2 * self._interval, _MAX_INTERVAL)
            self._selection = _Selection(self._counts, self.threads)
            self._recent_seconds.clear()
