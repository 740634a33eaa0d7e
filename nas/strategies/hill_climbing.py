"""Hill climbing with restarts: measure a neighbour of the best network of the climb, move to it if
it is better, and begin again elsewhere when no neighbour is left (White, Nolen, Savani: Exploring
the Loss Landscape in NAS, arXiv:2005.02960; Den Ottelander et al.: Local Search is a Remarkably
Strong Baseline for NAS, EMO 2021).

The first improvement is taken: on a space of 43 neighbours the steepest way, the first paper's,
spends its first 44 trials around a random network. The climbs are found in the history: a trial
belongs to the climb at hand if it differs from a member of it in one decision, and begins the next
one otherwise.
"""

import numpy as np
from optuna.trial import FrozenTrial

from phinas.nas.strategies.base import WholeSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices


class LocalSampler(WholeSampler):
    """With several workers there may be several climbs under way; the highest that has a neighbour
    left is carried on.
    """

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        for top in sorted(
            _tops(finished, rows), key=lambda trial: trial.value or 0.0, reverse=True
        ):
            around = list(self.problem.space.neighbours(top.params))
            self.generator.shuffle(around)
            neighbour = self.first_fresh(self.problem.positions(around))
            if neighbour is not None:
                return neighbour
        return self.draw()


def _tops(finished: list[FrozenTrial], rows: Indices) -> list[FrozenTrial]:
    """The best member of each climb."""
    tops: list[FrozenTrial] = []
    begin = 0
    for index, trial in enumerate(finished):
        if (
            index > begin
            and (np.count_nonzero(rows[begin:index] != rows[index], axis=1) == 1).any()
        ):
            tops[-1] = max(tops[-1], trial, key=lambda member: member.value or 0.0)
        else:
            begin = index
            tops.append(trial)
    return tops
