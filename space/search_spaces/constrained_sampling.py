"""Uniform samples of a search space within cost limits.

A network that k sets of choices describe is k times as likely. A space of up to a million
sets is enumerated, so that its samples are exact and impossible limits are detected. A larger one
is sampled by rejection, with a bounded number of draws.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phinas.space.search_spaces.cost_tables import METRICS, CostTables, IntArray
from phinas.space.search_spaces.search_space import Choices
from phinas.space.spec import SpecError

# metric to (minimum, maximum), both included
CostLimits = Mapping[str, tuple[float, float]]

MAX_ENUMERABLE = 1 << 20
MAX_DRAWS = 1 << 22
_BATCH_SIZE = 1 << 16


def sample_within(
    tables: CostTables,
    limits: CostLimits,
    generator: random.Random,
    *,
    count: int = 1,
    max_draws: int = MAX_DRAWS,
) -> list[Choices]:
    """Sets of choices, uniform among those whose networks cost what `limits` allow.

    Args:
        tables: the costs of the space.
        limits: metric to (minimum, maximum), both included.
        generator: the source of randomness.
        count: the number of sets, which may repeat.
        max_draws: maximum number of draws in a space that is too large to enumerate.

    Raises:
        SpecError: a metric is unknown, no network is within the limits, or `max_draws` draws found
            too few; names the possible range and the nearest network.
    """
    _check_limits(tables, limits)
    rng = np.random.default_rng(generator.getrandbits(128))
    is_enumerable = tables.space.size <= MAX_ENUMERABLE
    num_candidates = tables.space.size if is_enumerable else max_draws
    matches: list[NDArray[Any]] = []
    nearest_costs, min_distance = "", np.inf
    for start in range(0, num_candidates, _BATCH_SIZE):
        size = min(_BATCH_SIZE, num_candidates - start)
        candidates = (
            _enumerate_rows(tables, np.arange(start, start + size))
            if is_enumerable
            else rng.integers(0, tables.value_counts, size=(size, len(tables.value_counts)))
        )
        costs = tables.batch_costs(candidates)
        distances = _distance_to_limits(costs, limits)
        matches.append(
            start + np.flatnonzero(distances == 0) if is_enumerable else candidates[distances == 0]
        )
        if distances.min() < min_distance:
            min_distance = distances.min()
            nearest_costs = _format_costs(costs[distances.argmin()], limits)
        if not is_enumerable and sum(map(len, matches)) >= count:
            break
    matching = np.concatenate(matches)
    if len(matching) == 0 or (not is_enumerable and len(matching) < count):
        searched = f"all {num_candidates:,}" if is_enumerable else f"{num_candidates:,} drawn"
        raise SpecError(
            f"{_format_limits(limits)}: {len(matching)} of the {count} requested networks were "
            f"found among {searched} of space {tables.space.name!r}; the nearest has "
            f"{nearest_costs}; widen the limits"
        )
    if is_enumerable:  # positions in the enumeration
        matching = _enumerate_rows(tables, matching[rng.integers(len(matching), size=count)])
    return [tables.space.from_indices(row) for row in matching[:count].tolist()]


def _check_limits(tables: CostTables, limits: CostLimits) -> None:
    """Raises SpecError for an unknown metric, and for limits outside the range of the space."""
    for metric, (minimum, maximum) in limits.items():
        if metric not in METRICS:
            raise SpecError(f"limits: {metric!r} is not one of {', '.join(METRICS)}")
        low, high = tables.cost_range(metric)
        if not minimum <= maximum or maximum < low or minimum > high:
            raise SpecError(
                f"{_format_limits(limits)}: no network; space {tables.space.name!r} has "
                f"{low:,} to {high:,} {metric}"
            )


def _enumerate_rows(tables: CostTables, positions: NDArray[Any]) -> NDArray[Any]:
    """The sets of choices at these positions of the enumeration, as rows of indices."""
    return np.stack(np.unravel_index(positions, tables.value_counts), axis=1)


def _format_costs(costs: IntArray, limits: CostLimits) -> str:
    return ", ".join(f"{costs[METRICS.index(metric)]:,} {metric}" for metric in limits)


def _distance_to_limits(costs: IntArray, limits: CostLimits) -> NDArray[np.float64]:
    """The distance of each network from the limits, 0 inside: the sum over metrics of the logarithm
    of the factor to the nearer limit.
    """
    total = np.zeros(len(costs))
    for metric, (minimum, maximum) in limits.items():
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


def _format_limits(limits: CostLimits) -> str:
    return "limits " + ", ".join(
        f"{metric} {minimum:,.0f} to {maximum:,.0f}"
        for metric, (minimum, maximum) in limits.items()
    )
