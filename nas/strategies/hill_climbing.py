"""Hill climbing with restarts: measure a neighbor of the best network of the climb, move to it if
it is better, and begin again elsewhere when no neighbor is left (White, Nolen, Savani: Exploring
the Loss Landscape in NAS, arXiv:2005.02960; Den Ottelander et al.: Local Search is a Remarkably
Strong Baseline for NAS, EMO 2021).

The first improvement is taken: on a space of 43 neighbors the steepest way, the first paper's,
spends its first 44 trials around a random network. The climbs are found in the history: a trial
belongs to the climb at hand if it differs from a member of it in one decision, and begins the next
one otherwise.
"""

import numpy as np
from optuna.trial import FrozenTrial

from phinas.nas.strategies.base import JointSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices


class HillClimbingSampler(JointSampler):
    """With several workers there may be several climbs under way; the highest that has a neighbor
    left is carried on.
    """

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        for center in sorted(
            _best_trial_per_climb(finished, rows),
            key=lambda trial: trial.value or 0.0,
            reverse=True,
        ):
            neighbors = list(self.problem.space.neighbors(center.params))
            self.rng.shuffle(neighbors)
            neighbor = self.first_new_feasible(self.problem.to_indices(neighbors))
            if neighbor is not None:
                return neighbor
        return self.sample_random()


def _best_trial_per_climb(finished: list[FrozenTrial], rows: Indices) -> list[FrozenTrial]:
    """The best member of each climb."""
    best_trials: list[FrozenTrial] = []
    climb_start = 0
    for index, trial in enumerate(finished):
        if (
            index > climb_start
            and (np.count_nonzero(rows[climb_start:index] != rows[index], axis=1) == 1).any()
        ):
            best_trials[-1] = max(best_trials[-1], trial, key=lambda member: member.value or 0.0)
        else:
            climb_start = index
            best_trials.append(trial)
    return best_trials
