"""The Pareto front of accuracy against a cost: who is on it, how much it covers, and who is nearest
to it.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phinas.nas.reward import Floats
from phinas.nas.trial import Trial


def pareto_front(trials: Iterable[Trial], metric: str = "flops") -> list[Trial]:
    """The trials whose accuracy no other one reaches at the same cost or less, by rising cost (of
    equals, the first).
    """
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.cost_in(metric), -trial.accuracy)):
        if not front or trial.accuracy > front[-1].accuracy:
            front.append(trial)
    return front


def hypervolume(front: Sequence[tuple[float, float]], *, cheapest: float, dearest: float) -> float:
    """The share of the box over the costs from `cheapest` to `dearest` (on a log axis) and
    accuracies from 0 to 1 that lies under a front of (cost, accuracy) by rising cost: the accuracy
    to be had, on average over what one may spend."""
    if dearest <= cheapest:
        return max((accuracy for _, accuracy in front), default=0.0)
    steps = pairwise([*front, (dearest, 0.0)])
    covered = sum(accuracy * math.log(end / cost) for (cost, accuracy), (end, _) in steps)
    return covered / math.log(dearest / cheapest)


def ranks(losses: Floats) -> NDArray[np.intp]:
    """For each row of `losses` (all to be small) its front: 0 for what nothing beats, 1 for what
    nothing but those beats, ... (non-dominated sorting: Deb et al., "NSGA-II", IEEE Transactions on
    Evolutionary Computation 6(2), 2002)."""
    one, other = losses[:, None], losses[None]
    beats: NDArray[np.bool_] = np.logical_and.reduce(one <= other, axis=2) & np.logical_or.reduce(
        one < other, axis=2
    )
    found = np.full(len(losses), -1)
    for rank in range(len(losses)):
        left = found < 0
        if not left.any():
            break
        found[left & ~np.logical_or.reduce(beats[left], axis=0)] = rank
    return found


def best_first(losses: Floats) -> NDArray[np.intp]:
    """Rows by the crowded comparison (Deb et al.): the earlier front first, and on one front the
    less crowded.
    """
    front, alone = crowded(losses)
    return np.lexsort((-alone, front))


def crowded(losses: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Of each row its front, and its crowding on that front."""
    front = ranks(losses)
    alone = np.zeros(len(losses))
    for rank in range(front.max(initial=-1) + 1):
        alone[front == rank] = crowding(losses[front == rank])
    return front, alone


def crowding(losses: Floats) -> Floats:
    """How far the neighbours of each row are, along each loss over its range, summed; infinite at
    the ends (Deb et al.).
    """
    distances = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        span = ordered[-1] - ordered[0]
        distances[order[[0, -1]]] = math.inf
        if span > 0:
            distances[order[1:-1]] += (ordered[2:] - ordered[:-2]) / span
    return distances
