"""Searches for single strategies: a study whose accuracies are a function of choices, without
records and executors.
"""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from phinas.experiment.measurement import Measurement
from phinas.nas.cost_constraint import Gate
from phinas.nas.problem import ACCURACY, COST, Problem, distributions_of
from phinas.nas.reward import make_reward
from phinas.nas.strategies import STRATEGIES
from phinas.nas.study import Proposer
from phinas.space.cost import cost
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


class Field:
    """A problem with known accuracies and a reward that is the accuracy, and what strategies do on
    it.
    """

    def __init__(self, *, gate=None) -> None:
        self.problem = Problem(TINY, gate or Gate(), make_reward("soft", weight=0.0, target=1.0))

    def climb(self, name, accuracy, *, trials, seed=0):
        """All choices that strategy `name` proposes one after another, each told its accuracy
        before the next.
        """
        proposer = Proposer(self.problem, name, seed=seed, history=[])
        proposed = []
        for number in range(trials):
            proposed.append(proposer.ask(number, 0))
            proposer.take(number)
            value = accuracy(proposed[-1])
            measurement = Measurement(accuracy=value, split="function", seed=0, epochs=1)
            proposer.tell(number, value, measurement, self.flops(proposed[-1]))
        return proposed

    def flops(self, choices):
        return cost(TINY.decode(choices)).flops

    def study(self, members):
        """A study of choices with accuracies; a state in place of an accuracy for trials that have
        none.
        """
        study = optuna.create_study(direction="maximize")
        distributions = distributions_of(self.problem.space)
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
        trial = study.ask(distributions_of(self.problem.space))
        study.tell(trial, state=TrialState.FAIL)
        return trial.params


@pytest.fixture
def field():
    return Field
