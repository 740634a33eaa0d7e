"""The interface between a search and its strategy.

A strategy is either an Optuna sampler, which chooses a network that is trained to the end, or a
class with a method `propose`, which may also train a network for a few epochs and resume the
training later.

Both are made again for every proposal, from the problem and a seed of that proposal. A strategy
therefore depends on the seed and the history only, and a search that was interrupted continues with
the proposals of an uninterrupted one.

For example, this strategy trains random networks for one epoch and resumes the better half of them:

    class BetterHalf:
        pausing = "required"

        def __init__(self, problem, seed):
            self.problem, self.random = problem, random.Random(seed)

        def propose(self, history):
            ranked = sorted(history, key=lambda trial: trial.rewards.get(1, 0.0), reverse=True)
            for trial in ranked[: len(ranked) // 2]:
                if trial.status == "paused":
                    return ResumeTraining(trial.number, self.problem.epochs)
            return StartTraining(self.problem.space.sample(self.random), epochs=1)

`search.strategy: package.module:BetterHalf` uses it, and `phinas.testing` tests it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from phinas.nas.problem import Problem
from phinas.space.search_spaces.search_space import Choices

TrialStatus = Literal["running", "paused", "complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class PastTrial:
    """A trial as a strategy sees it.

    Attributes:
        number: Its number among the trials of the search, from 0.
        choices: Its choices.
        status: "paused" if its training stopped after a part of the epochs and can be resumed.
        scores: Score after each epoch that is known.
        rewards: Reward after each epoch that is known.
        cost: Cost of the network, as in the reward. None if it has not been measured.
        score: Final score of a complete trial.
        reward: Final reward of a complete trial. In a search for a Pareto front, the score.
    """

    number: int
    choices: Choices
    status: TrialStatus
    scores: Mapping[int, float] = field(default_factory=dict)
    rewards: Mapping[int, float] = field(default_factory=dict)
    cost: float | None = None
    score: float | None = None
    reward: float | None = None

    @property
    def epochs(self) -> int:
        """The last epoch with a known score. 0 if there is none."""
        return max(self.scores, default=0)


@dataclass(frozen=True, slots=True)
class StartTraining:
    """Train a network.

    Attributes:
        choices: Its choices.
        epochs: Epoch after which the training pauses. None trains to the end.
    """

    choices: Choices
    epochs: int | None = None


@dataclass(frozen=True, slots=True)
class ResumeTraining:
    """Resume a paused training.

    Attributes:
        trial: Number of the trial, as in `PastTrial.number`.
        epochs: Train up to this epoch. The trial is complete after `Problem.epochs`.
    """

    trial: int
    epochs: int


Action = StartTraining | ResumeTraining


class Strategy(Protocol):
    """A strategy that may pause and resume trainings.

    A class that does so declares `pausing = "required"`. With "if_possible" it pauses trainings
    only where `Problem.can_pause`.
    """

    def __init__(self, problem: Problem, seed: int) -> None: ...

    def propose(self, history: Sequence[PastTrial]) -> Action:
        """The next training.

        Args:
            history: All trials in the order of their numbers, running ones included.

        Returns:
            What to train. A network that violates the cost constraint or is known already is
            replaced by another one.
        """
