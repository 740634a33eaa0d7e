"""The best network of a space under an evaluator that answers for batches: the level that regret is
measured from.
"""

from collections.abc import Callable

import numpy as np

from phinas.nas.problem import Problem, distinct
from phinas.nas.surrogate.gaussian_process import Floats
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.inactive_choices import Indices

_DRAWS = 20_000
_CENTRES = 100
_STEPS = 60


def best_reward(
    problem: Problem, accuracies: Callable[[Indices], Floats], *, seed: int = 0
) -> float:
    """The highest reward met on a beam search over single changes from the best of many random
    networks. Not proven to be the optimum; on Accel-NASBench's surrogate ten seeds found the same.
    """
    generator = np.random.default_rng(seed)

    def rewards(indices: Indices) -> Floats:
        costs = problem.costs(indices)
        slope, intercept = problem.reward.line(costs[:, METRICS.index(problem.reward.metric)])
        return np.where(problem.admits(costs), slope * accuracies(indices) + intercept, -np.inf)

    centres = problem.draw(_DRAWS, generator)
    values, reached = rewards(centres), np.array([])
    for _ in range(_STEPS):
        first = distinct(centres)
        order = first[np.argsort(-values[first], kind="stable")[:_CENTRES]]
        if np.array_equal(values[order], reached):
            break
        centres, reached = centres[order], values[order]
        around = problem.neighbours(centres, 1 << 30, generator)
        centres, values = (
            np.concatenate([centres, around]),
            np.concatenate([reached, rewards(around)]),
        )
    return float(values.max())
