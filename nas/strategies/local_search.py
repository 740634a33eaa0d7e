"""Local search for the network with the largest acquisition value, over single changes."""

from typing import Protocol

import numpy as np

from phinas.nas.problem import Problem
from phinas.nas.row_keys import row_keys
from phinas.nas.surrogate.gaussian_process import FloatArray
from phinas.space.search_spaces.inactive_choices import Indices

_NUM_CENTERS = 10
_MAX_NEIGHBORS = 600  # in one step
_MAX_STEPS = 12
# In one step. Enough for the ten centers of the next one, if the approximation ranks well.
_MAX_EXACT_VALUES = 64


class Acquisition(Protocol):
    """How promising networks are as the next proposal."""

    def __call__(self, indices: Indices) -> FloatArray:
        """The acquisition value of each network, (networks, decisions) -> (networks,)."""

    def approximate(self, indices: Indices) -> FloatArray:
        """Approximate values, which take a small part of the time."""


def optimize_acquisition(
    problem: Problem,
    acquisition: Acquisition,
    starts: Indices,
    random_rows: Indices,
    generator: np.random.Generator,
) -> Indices:
    """Local search from the best of the given networks to their best neighbors, until the best
    networks have no new neighbors.

    Args:
        problem: The search problem.
        acquisition: The function to maximize.
        starts: Networks that are probably good, (networks, decisions).
        random_rows: Other networks, (networks, decisions).
        generator: Selects neighbors if there are too many.

    Returns:
        All networks that were found, (networks, decisions): first those whose acquisition value was
        computed, then the others, each in falling order of their (approximate) values.
    """
    evaluation = _Evaluation(problem, acquisition)
    evaluation.add(starts)
    evaluation.add(random_rows)
    expanded: set[bytes] = set()
    for _ in range(_MAX_STEPS):
        centers = evaluation.centers()
        keys = row_keys(centers)
        new_centers = centers[[key not in expanded for key in keys]]
        if len(new_centers) == 0:
            break
        expanded.update(keys)
        evaluation.add(problem.neighbors(new_centers, _MAX_NEIGHBORS, generator))
    return evaluation.ranking()


class _Evaluation:
    """Networks and their values, each evaluated once."""

    def __init__(self, problem: Problem, acquisition: Acquisition) -> None:
        self._problem, self._acquisition = problem, acquisition
        no_rows = np.empty((0, len(problem.num_choices)), dtype=np.int64)
        self._exact, self._approximate = _Ranking(no_rows), _Ranking(no_rows)
        self._known: set[bytes] = set()

    def add(self, indices: Indices) -> None:
        """Evaluate those networks that are new and feasible."""
        new_positions = {
            key: position
            for position, key in enumerate(row_keys(indices))
            if key not in self._known
        }
        self._known |= new_positions.keys()
        rows = indices[list(new_positions.values())]
        rows = rows[self._problem.feasible_mask(self._problem.costs(rows))]
        if len(rows) > _MAX_EXACT_VALUES:
            approximate_values = self._acquisition.approximate(rows)
            order = np.argsort(-approximate_values, kind="stable")
            others = order[_MAX_EXACT_VALUES:]
            self._approximate.add(rows[others], approximate_values[others])
            rows = rows[order[:_MAX_EXACT_VALUES]]
        if len(rows):
            self._exact.add(rows, self._acquisition(rows))

    def centers(self) -> Indices:
        """The networks with the best values."""
        return self._exact.best()[:_NUM_CENTERS]

    def ranking(self) -> Indices:
        """All networks in the order of `optimize_acquisition`."""
        return np.concatenate([self._exact.best(), self._approximate.best()])


class _Ranking:
    """Networks and their values."""

    def __init__(self, no_rows: Indices) -> None:
        self._rows, self._values = [no_rows], [np.empty(0)]

    def add(self, rows: Indices, values: FloatArray) -> None:
        self._rows.append(rows)
        self._values.append(values)

    def best(self) -> Indices:
        """The networks in falling order of their values."""
        order = np.argsort(-np.concatenate(self._values), kind="stable")
        return np.concatenate(self._rows)[order]
