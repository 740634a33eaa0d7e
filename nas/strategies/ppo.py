"""Reinforcement learning as in MnasNet (arXiv:1807.11626, section 3.3): a recurrent controller
proposes networks and is trained on their rewards with PPO.

The controller has no state: it is trained from the history (`ppo_policy.train_policy`), on
`batch_size` complete trials at a time. Before the first batch, choices are sampled uniformly. The
first sample of the controller that is new and satisfies the cost constraint is proposed.
"""

from optuna.trial import FrozenTrial

from phinas.nas.problem import Problem
from phinas.nas.strategies.base import JointSampler
from phinas.space.search_spaces.inactive_choices import Indices
from phinas.space.search_spaces.search_space import Choices

# Bounds the time of a proposal: a converged controller samples only known networks.
_NUM_SAMPLES = 64


class PPOSampler(JointSampler):
    """Proposes networks sampled from the policy.

    Args:
        problem: The search problem.
        seed: Seed of the proposal.
        batch_size: Trials per update. Measured: 4 and 16 were no better.
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
