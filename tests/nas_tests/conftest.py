"""Searches for single strategies: a study whose accuracies are a function of choices, without
records and executors.
"""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from phinas.experiment.measurement import Measurement
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import ACCURACY, COST, Problem, make_distributions
from phinas.nas.reward import make_reward
from phinas.nas.strategies import STRATEGIES
from phinas.nas.study import InMemoryStudy
from phinas.space.cost import network_cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


class StrategyHarness:
    """A problem with known accuracies and a reward that is the accuracy, and what strategies do on
    it.
    """

    def __init__(self, *, cost_constraint=None) -> None:
        self.problem = Problem(
            TINY, cost_constraint or CostConstraint(), make_reward("soft", exponent=0.0, target=1.0)
        )

    def climb(self, name, accuracy, *, trials, seed=0):
        """All choices that strategy `name` proposes one after another, each told its accuracy
        before the next.
        """
        study = InMemoryStudy(self.problem, name, seed=seed, history=[])
        proposals = []
        for number in range(trials):
            proposals.append(study.ask(number, 0))
            study.accept(number)
            value = accuracy(proposals[-1])
            measurement = Measurement(accuracy=value, split="function", seed=0, epochs=1)
            study.tell(number, value, measurement, self.flops(proposals[-1]))
        return proposals

    def flops(self, choices):
        return network_cost(TINY.decode(choices)).flops

    def study(self, members):
        """A study of choices with accuracies; a state in place of an accuracy for trials that have
        none.
        """
        study = optuna.create_study(direction="maximize")
        distributions = make_distributions(self.problem.space)
        for choices, value in members:
            state, value = (
                (value, None) if isinstance(value, TrialState) else (TrialState.COMPLETE, value)
            )
            attributes = {} if value is None else {ACCURACY: value, COST: self.flops(choices)}
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
        study.sampler = STRATEGIES[name](self.problem, seed)
        trial = study.ask(make_distributions(self.problem.space))
        study.tell(trial, state=TrialState.FAIL)
        return trial.params


@pytest.fixture
def harness():
    return StrategyHarness
