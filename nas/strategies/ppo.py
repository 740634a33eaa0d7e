"""The way of MnasNet (arXiv:1807.11626, section 3.3): a recurrent controller proposes, and is
trained on the rewards by PPO.

The controller has no state of its own: it is what the history makes of it
(`ppo_policy.train_policy`). `batch_size` finished trials after another are learned at a time;
before the first of them choices are drawn uniformly. Of what the controller draws, the first that
is fresh and that the cost constraint admits is proposed.
"""

from optuna.trial import FrozenTrial

from phinas.nas.problem import Problem
from phinas.nas.strategies.base import JointSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

_NUM_SAMPLES = 64  # a controller that has converged draws what is known however often it is asked


class PPOSampler(JointSampler):
    """batch_size: chosen by measurement, as the constants of `ppo_policy` (4 and 16 were no
    better).
    """

    def __init__(self, problem: Problem, seed: int, *, batch_size: int = 8) -> None:
        super().__init__(problem, seed)
        self._batch_size = batch_size

    def propose(self, finished: list[FrozenTrial], rows: Indices) -> Choices:
        ends = range(self._batch_size, len(finished) + 1, self._batch_size)
        if not ends:
            return self.sample_random()
        from phinas.nas.strategies.ppo_policy import (  # torch takes seconds to import
            Batch,
            train_policy,
        )

        index_tuples = [tuple(row) for row in rows.tolist()]
        rewards = [trial.value or 0.0 for trial in finished]
        batch_slices = [slice(end - self._batch_size, end) for end in ends]
        batches = [
            Batch(tuple(index_tuples[batch_slice]), tuple(rewards[batch_slice]))
            for batch_slice in batch_slices
        ]
        policy = train_policy(
            [len(decision.values) for decision in self.problem.space.decisions], batches
        )
        samples = policy.sample(_NUM_SAMPLES, seed=self.rng.getrandbits(63))
        return self.first_new_feasible(samples) or self.problem.space.from_indices(
            samples[0].tolist()
        )
