"""The way of MnasNet (arXiv:1807.11626, section 3.3): a recurrent controller proposes, and is
trained on the rewards by PPO.

The controller has no state of its own: it is what the history makes of it (`controller.learned`).
`batch` finished trials after another are learned at a time; before the first of them choices are
drawn uniformly. Of what the controller draws, the first that is fresh and that the gate admits is
proposed.
"""

from optuna.trial import FrozenTrial

from phinas.nas.problem import Problem
from phinas.nas.strategies.base import WholeSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_DRAWS = 64  # a controller that has converged draws what is known however often it is asked


class PPOSampler(WholeSampler):
    """batch: chosen by measurement, as the constants of `controller` (4 and 16 were no better)."""

    def __init__(self, problem: Problem, seed: int, *, batch: int = 8) -> None:
        super().__init__(problem, seed)
        self._batch = batch

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        ends = range(self._batch, len(finished) + 1, self._batch)
        if not ends:
            return self.draw()
        from phinas.nas.strategies.ppo_policy import Batch, learned  # torch takes seconds to import

        told = [tuple(row) for row in rows.tolist()]
        rewards = [trial.value or 0.0 for trial in finished]
        parts = [slice(end - self._batch, end) for end in ends]
        batches = [Batch(tuple(told[part]), tuple(rewards[part])) for part in parts]
        policy = learned(
            [len(decision.values) for decision in self.problem.space.decisions], batches
        )
        drawn = policy.sample(_DRAWS, seed=self.generator.getrandbits(63))
        return self.first_fresh(drawn) or self.problem.space.choices(drawn[0].tolist())
