"""ASHA, asynchronous successive halving (Li et al., arXiv:1810.05934, algorithm 2).

Random networks are trained for a few epochs and paused. A network among the best third of a rung is
promoted: its training is resumed up to the next rung, which is three times as many epochs. Nothing
waits for a rung to fill.
"""

from collections.abc import Sequence

import numpy as np

from phinas.nas.problem import Problem
from phinas.nas.strategies.interface import Action, PastTrial, ResumeTraining, StartTraining
from phinas.nas.strategies.known_networks import KnownNetworks


class AshaStrategy:
    """Starts random networks and promotes the best ones.

    Args:
        problem: The search problem.
        seed: Seed of the proposal.
        reduction_factor: The paper's eta. A rung promotes 1 / eta of its members, and the next rung
            has eta times as many epochs.
    """

    def __init__(self, problem: Problem, seed: int, *, reduction_factor: int = 3) -> None:
        self._problem = problem
        self._generator = np.random.default_rng(seed)
        self._reduction_factor = reduction_factor
        self.rungs = make_rungs(problem.epochs, reduction_factor)

    def propose(self, history: Sequence[PastTrial]) -> Action:
        # Highest rung first, as in the paper: a promotion to the last rung completes a training.
        for index in reversed(range(len(self.rungs) - 1)):
            trial = self._find_promotable(history, self.rungs[index])
            if trial is not None:
                return ResumeTraining(trial.number, self.rungs[index + 1])
        rows = self._problem.to_indices([trial.choices for trial in history])
        new_network = KnownNetworks(self._problem, rows).sample_new(self._generator)
        return StartTraining(new_network, epochs=self.rungs[0])

    def _find_promotable(self, history: Sequence[PastTrial], rung: int) -> PastTrial | None:
        """The best trial that is paused at this rung and among its best third.

        Trials that were resumed from this rung still count as its members.
        """
        members = [trial for trial in history if rung in trial.rewards]
        members.sort(key=lambda trial: (-trial.rewards[rung], trial.number))
        best = members[: len(members) // self._reduction_factor]
        paused = (trial for trial in best if trial.status == "paused" and trial.epochs == rung)
        return next(paused, None)


def make_rungs(epochs: int, reduction_factor: int) -> list[int]:
    """The epochs at which trainings are paused, and the last epoch."""
    rungs = [epochs]
    while rungs[0] >= reduction_factor:
        rungs.insert(0, rungs[0] // reduction_factor)
    return rungs
