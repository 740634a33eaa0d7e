"""Several networks timed in turns on one device, so that what the machine does besides hits all of
them alike.

A turn is some tenths of a second of one network; in a round each has one, in an order that is
turned about from round to round (A B, B A), so that a steady drift favours none. The first run of a
turn does not count: it finds the caches full of another network. Networks are then compared within
rounds. The interval of a ratio is that of the median of the rounds' ratios, by the
sign test: it takes no shape of the scatter for granted, and counts rounds and not runs, since
neighbouring runs are alike.

On a CUDA device there is also the time between events around each run, which leaves out what only
the caller waits for, and the peak of allocated memory. That (`_between_events`, `_watch_peak`) has
not been run on a GPU yet.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from phinas.experiment.manifest import describe_machine
from phinas.space.cost import cost
from phinas.space.spec import ArchSpec
from phinas.training.timing.latency import (
    MOST_SECONDS,
    Precision,
    Series,
    inference,
    timed_runs,
    until_done,
    warm_up,
)

if TYPE_CHECKING:
    import torch

LEAST_ROUNDS = 10
_TURN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long as another: the median over rounds, and its 95% interval (None: of
    fewer than six rounds).
    """

    median: float
    interval: tuple[float, float] | None
    rounds: int


@dataclass
class Entrant:
    """One of the networks that take turns. failed: why it is no longer timed; turns: the median
    (ms) of each turn; spent: the seconds of all runs. device_ms, peak_bytes: what the device says
    of runs and of memory, if it does."""

    failed: str | None = None
    series: Series = field(default_factory=Series)
    turns: list[float] = field(default_factory=list)
    spent: float = 0.0
    device_ms: list[float] = field(default_factory=list)
    peak_bytes: int | None = None

    def add_turn(self, runs: list[tuple[float, bool]]) -> None:
        """The first of the runs counts only where it is the only one."""
        self.spent += sum(milliseconds for milliseconds, _ in runs) / 1e3
        counted = runs[1:] or runs
        for milliseconds, disturbed in counted:
            self.series.add(milliseconds, disturbed=disturbed)
        quiet = [milliseconds for milliseconds, disturbed in counted if not disturbed]
        self.turns.append(statistics.median(quiet or [milliseconds for milliseconds, _ in counted]))

    def over(self, other: "Entrant") -> Ratio | None:
        """Its time over that of one that took turns with it; None where one of them failed."""
        from scipy.stats import quantile_test

        if self.failed or other.failed:
            return None
        ratios = [mine / its for mine, its in zip(self.turns, other.turns, strict=True)]
        low, high = map(float, quantile_test(ratios, p=0.5).confidence_interval(0.95))
        return Ratio(statistics.median(ratios), (low, high) if low == low else None, len(ratios))


def take_turns(
    specs: Sequence[ArchSpec], where: "torch.device", *, batch: int, precision: Precision = "fp32"
) -> list[Entrant]:
    """Time inferences of `specs` in turns: at least ten rounds, and of each network what
    `phinas.training.timing.latency.repeat` asks for.

    Twenty seconds of one network end it in any case. One that the memory can't hold has failed; the
    others go on.
    """
    import torch

    entrants = [Entrant() for _ in specs]
    going: list[tuple[Entrant, _Runner]] = []
    # of all alike, so that a quick network among slow ones is not run once in a while only
    turn_seconds = _TURN_SECONDS
    with torch.inference_mode():
        for spec, entrant in zip(specs, entrants, strict=True):
            with _failing_where_too_large(entrant):
                _check_room(spec, where, batch)
                runner, seconds = _enter(entrant, spec, where, batch=batch, precision=precision)
                turn_seconds = max(turn_seconds, seconds)
                going.append((entrant, runner))
        while going and not _done([entrant for entrant, _ in going]):
            for entrant, runner in going:
                with _failing_where_too_large(entrant):
                    entrant.add_turn(runner.turn(turn_seconds, entrant.device_ms))
            going = [(entrant, runner) for entrant, runner in reversed(going) if not entrant.failed]
    return entrants


def _enter(
    entrant: Entrant, spec: ArchSpec, where: "torch.device", *, batch: int, precision: Precision
) -> tuple["_Runner", float]:
    """Make the network and run it warm; the seconds of a run at best. One that fails here leaves
    nothing in memory.
    """
    peak = _watch_peak(where)
    runner = _Runner(inference(spec, where, batch=batch, precision=precision), where)
    seconds = warm_up(runner.run, runner.wait) / 1e3
    entrant.peak_bytes = peak()
    return runner, seconds


def _done(entrants: Sequence[Entrant]) -> bool:
    if any(entrant.spent >= MOST_SECONDS for entrant in entrants):
        return True
    return all(entrant.series.enough and len(entrant.turns) >= LEAST_ROUNDS for entrant in entrants)


class _Runner:
    """What runs a network on a device and waits for it."""

    def __init__(self, run: Callable[[], object], where: "torch.device") -> None:
        self.run, self.wait = run, until_done(where)
        self._device_ms: Callable[[], float] | None = None
        if where.type == "cuda":
            self.run, self._device_ms = _between_events(run, where)

    def turn(self, seconds: float, device_ms: list[float]) -> list[tuple[float, bool]]:
        """Runs of about so many seconds, and at least one. device_ms: takes what the device says of
        those that count.
        """
        runs: list[tuple[float, bool]] = []
        told: list[float] = []
        spent = 0.0
        for milliseconds, disturbed in timed_runs(self.run, self.wait):
            runs.append((milliseconds, disturbed))
            if self._device_ms is not None:
                told.append(self._device_ms())
            spent += milliseconds / 1e3
            if spent + milliseconds / 2e3 >= seconds:
                break
        device_ms += told[1:] or told
        return runs


def _between_events(
    run: Callable[[], object], where: "torch.device"
) -> tuple[Callable[[], None], Callable[[], float]]:
    """The run between two CUDA events, and what tells the milliseconds between them once it is
    done.
    """
    import torch

    stream = torch.cuda.current_stream(where)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]

    def marked() -> None:
        before.record(stream)
        run()
        after.record(stream)

    return marked, lambda: before.elapsed_time(after)


def _watch_peak(where: "torch.device") -> Callable[[], int | None]:
    """Tells, later, the most bytes that were allocated on a CUDA device from now on beside what is
    there already.
    """
    import torch

    if where.type != "cuda":
        return lambda: None
    torch.cuda.reset_peak_memory_stats(where)
    there = torch.cuda.memory_allocated(where)
    return lambda: torch.cuda.max_memory_allocated(where) - there


class _TooLargeError(RuntimeError):
    """It can't fit, and was not tried."""


def _check_room(spec: ArchSpec, where: "torch.device", batch: int) -> None:
    """A CPU's allocator promises more than there is, and the system then kills the process: what
    can't fit is not tried.
    """
    price = cost(spec)
    needed, memory = (
        4 * (price.params + batch * price.peak_activations),
        describe_machine()["memory_bytes"],
    )
    if where.type == "cpu" and 0 < memory < needed:
        raise _TooLargeError(
            f"needs {needed / 1e9:,.1f} GB at least, of {memory / 1e9:,.1f} GB that there are"
        )


@contextmanager
def _failing_where_too_large(entrant: Entrant) -> Iterator[None]:
    import torch

    from phinas.training.engine.device import is_out_of_memory

    try:
        yield
    except _TooLargeError as error:
        entrant.failed = str(error)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        entrant.failed = "out of memory"
    if entrant.failed and torch.cuda.is_available():
        torch.cuda.empty_cache()
