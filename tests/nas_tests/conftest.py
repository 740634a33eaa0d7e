"""A harness for tests of one strategy: scores are a function of the choices, and there is neither a
record nor an executor.
"""

from dataclasses import replace

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import COST, SCORE, Problem, make_distributions
from phinas.nas.reward import make_reward
from phinas.nas.search_state.proposer import SamplerProposer
from phinas.nas.strategies.interface import PastTrial
from phinas.nas.strategies.loading import load_strategy
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


class StrategyHarness:
    """Runs strategies on the space `tiny` with known scores. The reward is the score."""

    def __init__(self, *, cost_constraint=None) -> None:
        self.problem = Problem(
            TINY, cost_constraint or CostConstraint(), make_reward("soft", exponent=0.0, target=1.0)
        )

    def climb(self, name, score, *, trials, seed=0):
        """The choices that a strategy proposes, when each trial completes before the next proposal.

        Args:
            name: The strategy.
            score: Computes the score of choices.
            trials: Number of proposals.
            seed: Seed of the search.
        """
        proposer = SamplerProposer(self.problem, load_strategy(name), seed=seed)
        proposals = []
        for number in range(trials):
            choices = proposer.ask(number, 0).choices
            trial = PastTrial(number, choices, "running", cost=self.flops(choices))
            proposer.accept(trial)
            value = score(choices)
            proposer.update(replace(trial, status="complete", score=value, reward=value))
            proposals.append(choices)
        return proposals

    def flops(self, choices):
        return TINY.decode(choices).cost().flops

    def study(self, members):
        """An Optuna study with the given trials.

        Args:
            members: Pairs of choices and score. A trial without a score has its state in place of
                the score.
        """
        study = optuna.create_study(direction="maximize")
        distributions = make_distributions(self.problem.space)
        for choices, value in members:
            state, value = (
                (value, None) if isinstance(value, TrialState) else (TrialState.COMPLETE, value)
            )
            attributes = {} if value is None else {SCORE: value, COST: self.flops(choices)}
            trial = create_trial(
                state=state,
                params=choices,
                distributions=distributions,
                value=value,
                user_attrs=attributes,
            )
            study.add_trial(trial)
        return study

    def next(self, name, study, *, seed):
        study.sampler = load_strategy(name).make(self.problem, seed)
        trial = study.ask(make_distributions(self.problem.space))
        study.tell(trial, state=TrialState.FAIL)
        return trial.params


@pytest.fixture
def harness():
    return StrategyHarness
