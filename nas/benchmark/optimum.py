"""The best reward of a search space, to which regret is relative."""

from collections.abc import Callable

import numpy as np

from phinas.nas.problem import Problem
from phinas.nas.row_keys import unique_row_indices
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.inactive_choices import Indices

_NUM_SAMPLES = 20_000
_NUM_CENTERS = 100
_MAX_STEPS = 60


def find_best_reward(
    problem: Problem, scores: Callable[[Indices], FloatArray], *, seed: int = 0
) -> float:
    """The highest reward that a beam search over single changes of the best random networks finds.

    It is not proven to be the optimum. On the surrogate of Accel-NASBench, ten seeds found the same
    reward.

    Args:
        problem: The search space, the cost constraint and the reward.
        scores: Computes scores, (networks, decisions) -> (networks,).
        seed: Seed of the random networks.
    """
    generator = np.random.default_rng(seed)

    def rewards(indices: Indices) -> FloatArray:
        costs = problem.costs(indices)
        slope, intercept = problem.reward.linear_coefficients(
            costs[:, METRICS.index(problem.reward.cost_metric)]
        )
        return np.where(problem.feasible_mask(costs), slope * scores(indices) + intercept, -np.inf)

    centers = problem.sample(_NUM_SAMPLES, generator)
    values, center_values = rewards(centers), np.array([])
    for _ in range(_MAX_STEPS):
        first_indices = unique_row_indices(centers)
        order = first_indices[np.argsort(-values[first_indices], kind="stable")[:_NUM_CENTERS]]
        if np.array_equal(values[order], center_values):
            break
        centers, center_values = centers[order], values[order]
        neighbors = problem.neighbors(centers, 1 << 30, generator)
        centers, values = (
            np.concatenate([centers, neighbors]),
            np.concatenate([center_values, rewards(neighbors)]),
        )
    return float(values.max())
