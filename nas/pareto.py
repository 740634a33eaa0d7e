"""The Pareto front of accuracy against a cost: who is on it, how much it covers, and who is nearest
to it.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phinas.nas.reward import FloatArray
from phinas.nas.trial import Trial


def pareto_front(trials: Iterable[Trial], metric: str = "flops") -> list[Trial]:
    """The trials whose accuracy no other one reaches at the same cost or less, by rising cost (of
    equals, the first).
    """
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.get_cost(metric), -trial.accuracy)):
        if not front or trial.accuracy > front[-1].accuracy:
            front.append(trial)
    return front


def hypervolume(front: Sequence[tuple[float, float]], *, min_cost: float, max_cost: float) -> float:
    """The share of the box over the costs from `min_cost` to `max_cost` (on a log axis) and
    accuracies from 0 to 1 that lies under a front of (cost, accuracy) by rising cost: the accuracy
    to be had, on average over what one may spend."""
    if max_cost <= min_cost:
        return max((accuracy for _, accuracy in front), default=0.0)
    segments = pairwise([*front, (max_cost, 0.0)])
    area = sum(accuracy * math.log(end / cost) for (cost, accuracy), (end, _) in segments)
    return area / math.log(max_cost / min_cost)


def nondominated_ranks(losses: FloatArray) -> NDArray[np.intp]:
    """For each row of `losses` (all to be small) its front: 0 for what nothing beats, 1 for what
    nothing but those beats, ... (non-dominated sorting: Deb et al., "NSGA-II", IEEE Transactions on
    Evolutionary Computation 6(2), 2002)."""
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
    """Rows by the crowded comparison (Deb et al.): the earlier front first, and on one front the
    less crowded.
    """
    ranks, crowding = ranks_and_crowding(losses)
    return np.lexsort((-crowding, ranks))


def ranks_and_crowding(losses: FloatArray) -> tuple[NDArray[np.intp], FloatArray]:
    """Of each row its front, and its crowding on that front."""
    ranks = nondominated_ranks(losses)
    crowding = np.zeros(len(losses))
    for rank in range(ranks.max(initial=-1) + 1):
        crowding[ranks == rank] = crowding_distances(losses[ranks == rank])
    return ranks, crowding


def crowding_distances(losses: FloatArray) -> FloatArray:
    """How far the neighbors of each row are, along each loss over its range, summed; infinite at
    the ends (Deb et al.).
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
