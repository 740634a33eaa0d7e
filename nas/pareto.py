"""The Pareto front of score and cost: its members, its hypervolume, and NSGA-II's sorting."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phinas.nas.reward import FloatArray
from phinas.nas.trial import Trial


def pareto_front(trials: Iterable[Trial], cost_metric: str = "flops") -> list[Trial]:
    """The trials that no other trial dominates in cost and score, by rising cost.

    Of several trials with the same cost and score, the front has the first one.
    """
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.get_cost(cost_metric), -trial.score)):
        if not front or trial.score > front[-1].score:
            front.append(trial)
    return front


def hypervolume(front: Sequence[tuple[float, float]], *, min_cost: float, max_cost: float) -> float:
    """The normalized area under a front: the best score at a cost, averaged over the logarithm of
    the cost.

    Args:
        front: (cost, score) by rising cost.
        min_cost: Lower limit of the cost.
        max_cost: Upper limit of the cost.
    """
    if max_cost <= min_cost:
        return max((score for _, score in front), default=0.0)
    segments = pairwise([*front, (max_cost, 0.0)])
    area = sum(score * math.log(end / cost) for (cost, score), (end, _) in segments)
    return area / math.log(max_cost / min_cost)


def nondominated_ranks(losses: FloatArray) -> NDArray[np.intp]:
    """Non-dominated sorting (Deb et al., NSGA-II, IEEE Transactions on Evolutionary Computation
    6(2), 2002).

    Args:
        losses: Objectives to minimize, (rows, objectives).

    Returns:
        The front of each row: 0 for rows that no other row dominates, 1 for rows that only rows of
        front 0 dominate, and so on.
    """
    left_rows, right_rows = losses[:, None], losses[None]
    dominates: NDArray[np.bool_] = np.logical_and.reduce(
        left_rows <= right_rows, axis=2
    ) & np.logical_or.reduce(left_rows < right_rows, axis=2)
    ranks = np.full(len(losses), -1)
    for rank in range(len(losses)):
        is_unranked = ranks < 0
        if not is_unranked.any():
            break
        ranks[is_unranked & ~np.logical_or.reduce(dominates[is_unranked], axis=0)] = rank
    return ranks


def crowded_comparison_order(losses: FloatArray) -> NDArray[np.intp]:
    """Sort rows by the crowded comparison (Deb et al.): by front, and on one front the less crowded
    rows first.

    Args:
        losses: Objectives to minimize, (rows, objectives).

    Returns:
        Indices of the rows in this order.
    """
    ranks, crowding = ranks_and_crowding(losses)
    return np.lexsort((-crowding, ranks))


def ranks_and_crowding(losses: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """The front of each row, and its crowding distance on that front."""
    ranks = nondominated_ranks(losses)
    crowding = np.zeros(len(losses))
    for rank in range(ranks.max(initial=-1) + 1):
        crowding[ranks == rank] = crowding_distances(losses[ranks == rank])
    return ranks, crowding


def crowding_distances(losses: FloatArray) -> FloatArray:
    """The crowding distance of each row on one front (Deb et al.).

    It is the distance between the two neighbors of a row, relative to the range, summed over the
    objectives. It is infinite for rows at the ends.
    """
    distances = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        value_range = ordered[-1] - ordered[0]
        distances[order[[0, -1]]] = math.inf
        if value_range > 0:
            distances[order[1:-1]] += (ordered[2:] - ordered[:-2]) / value_range
    return distances
