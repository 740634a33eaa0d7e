"""Hill climbing with restarts: train a neighbor of the best network of the climb, move to it if it
is better, and restart at a random network when no neighbor is left (White, Nolen, Savani: Exploring
the Loss Landscape in NAS, arXiv:2005.02960; Den Ottelander et al.: Local Search is a Remarkably
Strong Baseline for NAS, EMO 2021).

It moves at the first improvement. With 43 neighbors, steepest ascent (the first paper's variant)
spends its first 44 trials around a random network. The climbs are read from the history: a trial
that differs from a member of the current climb in one decision belongs to it, and any other trial
starts the next climb.
"""

import numpy as np
from optuna.trial import FrozenTrial

from phinas.nas.strategies.base import JointSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices


class HillClimbingSampler(JointSampler):
    """Proposes a neighbor of the best climb that has one left. With several workers there may be
    several climbs at a time.
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
    """The best trial of each climb."""
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
