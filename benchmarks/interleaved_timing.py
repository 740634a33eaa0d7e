"""Interleaved timing of functions, so that other load on the machine affects all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def time_rounds(
    functions: Mapping[str, Callable[[], object]], count: int
) -> dict[str, list[float]]:
    """Time each function once in each of `count` rounds.

    The function that runs first changes from round to round, so that none of them always follows
    the same one.

    Returns:
        Name to seconds, one value for each round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for number in range(count):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            start = time.perf_counter()
            functions[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def speedups(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> list[float]:
    """How many times as fast `fast` was as `slow`, for each round of `time_rounds`."""
    return [
        slow_seconds / fast_seconds
        for slow_seconds, fast_seconds in zip(seconds[slow], seconds[fast], strict=True)
    ]


def format_median_and_quartiles(values: Sequence[float], digits: int = 2) -> str:
    """The median, and the quartiles if there are at least four values."""
    median = f"{statistics.median(values):,.{digits}f}"
    if len(values) < 4:
        return median
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median} ({low:,.{digits}f} to {high:,.{digits}f})"
