"""Uniform samples of a search space among the choices whose networks' costs lie in a window.

A network that several choices mean is as many times as likely. A space of up to a million choices
is looked through whole, so its samples are exact and an empty window is known to be empty. A larger
one is drawn from at random, a bounded number of times, and what falls outside is thrown away.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.search_spaces.cost_tables import METRICS, CostTables, Integers
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import SpecError

Window = Mapping[str, tuple[float, float]]

ENUMERABLE = 1 << 20
DRAWS = 1 << 22
_AT_ONCE = 1 << 16


def sample_within(
    tables: CostTables,
    window: Window,
    generator: random.Random,
    *,
    count: int = 1,
    draws: int = DRAWS,
) -> list[Choices]:
    """`count` sets of choices, each uniform among those whose costs lie in `window`: metric to
    (least, most), both included.

    Raises SpecError for a metric that is none, and for a window in which no network lies or (in a
    space too large to look through) none was met in `draws` draws: it names what can be reached and
    the nearest miss.
    """
    for metric, bounds in window.items():
        if metric not in METRICS:
            raise SpecError(f"window: {metric!r} is no metric; there are {', '.join(METRICS)}")
        low, high = tables.reach(metric)
        least, most = bounds
        if not least <= most or most < low or least > high:
            raise SpecError(
                f"{_told(window)}: is empty; networks of space {tables.space.name!r} have {low:,} "
                f"to {high:,} {metric}"
            )
    numbers = np.random.default_rng(generator.getrandbits(128))
    small = tables.space.size <= ENUMERABLE
    found: list[NDArray[Any]] = []
    nearest, miss = "", np.inf
    for start in range(0, tables.space.size if small else draws, _AT_ONCE):
        size = min(_AT_ONCE, (tables.space.size if small else draws) - start)
        if small:
            drawn = np.stack(
                np.unravel_index(np.arange(start, start + size), tables.counts), axis=1
            )
        else:
            drawn = numbers.integers(0, tables.counts, size=(size, len(tables.counts)))
        costs = tables.batch(drawn)
        misses = _miss(costs, window)
        found.append(start + np.flatnonzero(misses == 0) if small else drawn[misses == 0])
        if misses.min() < miss:
            miss = misses.min()
            nearest = ", ".join(
                f"{costs[misses.argmin(), METRICS.index(metric)]:,} {metric}" for metric in window
            )
        if not small and sum(map(len, found)) >= count:
            break
    inside = np.concatenate(found)
    if len(inside) == 0 or (not small and len(inside) < count):
        tried = f"all {tables.space.size:,}" if small else f"{draws:,} drawn"
        raise SpecError(
            f"{_told(window)}: {len(inside)} of the {count} networks asked for were found among "
            f"{tried} of space "
            f"{tables.space.name!r}; the nearest has {nearest}: widen the window"
        )
    if small:  # kept as their numbers in the order of all
        inside = np.stack(
            np.unravel_index(inside[numbers.integers(len(inside), size=count)], tables.counts),
            axis=1,
        )
    return [tables.space.choices(row) for row in inside[:count].tolist()]


def _miss(costs: Integers, window: Window) -> NDArray[np.float64]:
    """How far each network lies outside, 0 inside: the sum over metrics of the logarithm of the
    factor to the nearer bound.
    """
    total = np.zeros(len(costs))
    for metric, (least, most) in window.items():
        column = costs[:, METRICS.index(metric)].astype(np.float64)
        below, above = np.maximum(least, 1.0) / column, column / np.maximum(most, 1.0)
        total += np.log(
            np.maximum(np.where(column < least, below, 1.0), np.where(column > most, above, 1.0))
        )
    return total


def _told(window: Window) -> str:
    return "window " + ", ".join(
        f"{metric} {least:,.0f} to {most:,.0f}" for metric, (least, most) in window.items()
    )
