"""The networks that a search has proposed, and the choice of others.

A network is known if any trial has it: a complete, running, failed or rejected one.
"""

import numpy as np

from phinas.nas.problem import Problem
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_NUM_SAMPLES = 64


class KnownNetworks:
    """The networks of some trials.

    Args:
        problem: The search problem.
        rows: Indices of their choices, (networks, decisions).
    """

    def __init__(self, problem: Problem, rows: Indices) -> None:
        self._problem = problem
        self._identities = {problem.identify_row(row) for row in rows.tolist()}

    def first_new_feasible(self, rows: Indices) -> Choices | None:
        """The first network that satisfies the cost constraint and is not known. None if all fail.

        Args:
            rows: Indices of choices, (networks, decisions).
        """
        for row in rows[self._problem.feasible_mask(self._problem.costs(rows))].tolist():
            if self._problem.identify_row(row) not in self._identities:
                return self._problem.space.from_indices(row)
        return None

    def sample_new(self, generator: np.random.Generator) -> Choices:
        """A random network that is new and feasible. If no sample is, any network, which the
        search then replaces.
        """
        rows = self._problem.sample(_NUM_SAMPLES, generator)
        new_network = self.first_new_feasible(rows)
        return new_network or self._problem.space.from_indices(rows[0].tolist())
