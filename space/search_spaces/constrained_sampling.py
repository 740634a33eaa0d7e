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

from phinas.space.search_spaces.cost_tables import METRICS, CostTables, IntArray
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import SpecError

CostWindow = Mapping[str, tuple[float, float]]

MAX_ENUMERABLE = 1 << 20
MAX_DRAWS = 1 << 22
_BATCH_SIZE = 1 << 16


def sample_within(
    tables: CostTables,
    window: CostWindow,
    generator: random.Random,
    *,
    count: int = 1,
    max_draws: int = MAX_DRAWS,
) -> list[Choices]:
    """`count` sets of choices, each uniform among those whose costs lie in `window`: metric to
    (minimum, maximum), both included.

    Raises SpecError for a metric that is none, and for a window in which no network lies or (in a
    space too large to look through) none was met in `max_draws` draws: it names what can be reached
    and the nearest miss.
    """
    for metric, metric_range in window.items():
        if metric not in METRICS:
            raise SpecError(f"window: {metric!r} is no metric; there are {', '.join(METRICS)}")
        low, high = tables.cost_range(metric)
        minimum, maximum = metric_range
        if not minimum <= maximum or maximum < low or minimum > high:
            raise SpecError(
                f"{_format_window(window)}: is empty; networks of space {tables.space.name!r} have "
                f"{low:,} to {high:,} {metric}"
            )
    rng = np.random.default_rng(generator.getrandbits(128))
    is_enumerable = tables.space.size <= MAX_ENUMERABLE
    matches: list[NDArray[Any]] = []
    nearest_costs, min_distance = "", np.inf
    for start in range(0, tables.space.size if is_enumerable else max_draws, _BATCH_SIZE):
        size = min(_BATCH_SIZE, (tables.space.size if is_enumerable else max_draws) - start)
        if is_enumerable:
            candidates = np.stack(
                np.unravel_index(np.arange(start, start + size), tables.value_counts), axis=1
            )
        else:
            candidates = rng.integers(0, tables.value_counts, size=(size, len(tables.value_counts)))
        costs = tables.batch_costs(candidates)
        distances = _distance_to_window(costs, window)
        matches.append(
            start + np.flatnonzero(distances == 0) if is_enumerable else candidates[distances == 0]
        )
        if distances.min() < min_distance:
            min_distance = distances.min()
            nearest_costs = ", ".join(
                f"{costs[distances.argmin(), METRICS.index(metric)]:,} {metric}"
                for metric in window
            )
        if not is_enumerable and sum(map(len, matches)) >= count:
            break
    matching = np.concatenate(matches)
    if len(matching) == 0 or (not is_enumerable and len(matching) < count):
        searched = f"all {tables.space.size:,}" if is_enumerable else f"{max_draws:,} drawn"
        raise SpecError(
            f"{_format_window(window)}: {len(matching)} of the {count} networks asked for were "
            "found "
            f"among {searched} of space {tables.space.name!r}; the nearest has {nearest_costs}: "
            "widen the window"
        )
    if is_enumerable:  # stored as indices into the enumeration
        matching = np.stack(
            np.unravel_index(
                matching[rng.integers(len(matching), size=count)], tables.value_counts
            ),
            axis=1,
        )
    return [tables.space.from_indices(row) for row in matching[:count].tolist()]


def _distance_to_window(costs: IntArray, window: CostWindow) -> NDArray[np.float64]:
    """How far each network lies outside, 0 inside: the sum over metrics of the logarithm of the
    factor to the nearer bound.
    """
    total = np.zeros(len(costs))
    for metric, (minimum, maximum) in window.items():
        column = costs[:, METRICS.index(metric)].astype(np.float64)
        ratio_below, ratio_above = (
            np.maximum(minimum, 1.0) / column,
            column / np.maximum(maximum, 1.0),
        )
        total += np.log(
            np.maximum(
                np.where(column < minimum, ratio_below, 1.0),
                np.where(column > maximum, ratio_above, 1.0),
            )
        )
    return total


def _format_window(window: CostWindow) -> str:
    return "window " + ", ".join(
        f"{metric} {minimum:,.0f} to {maximum:,.0f}"
        for metric, (minimum, maximum) in window.items()
    )
