"""The TPE strategy proposes what Optuna's sampler does, in less time."""

import random

import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.trial import TrialState, create_trial

from phinas.nas.problem import make_distributions
from phinas.nas.strategies.tpe import JointTPESampler
from phinas.space.search_spaces.loading import load_space
from phinas.space.search_spaces.search_space import Decision, SearchSpace

TINY = load_space("tiny")
SPACES = {
    "tiny": TINY,
    "with a decision of one choice": SearchSpace(
        "some", TINY.base, (*TINY.decisions[:5], Decision("stages.2.depth", (2,)))
    ),
}


@pytest.mark.parametrize("trials", [0, 9, 10, 60])
@pytest.mark.parametrize("name", SPACES)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_it_makes_the_proposals_of_optunas_sampler(name, trials, directions):
    space, generator = SPACES[name], random.Random(trials)
    distributions = make_distributions(space)
    study = optuna.create_study(directions=directions)
    for number in range(trials):
        state = TrialState.FAIL if number % 7 == 6 else TrialState.COMPLETE
        values = None if state == TrialState.FAIL else [generator.random() for _ in directions]
        study.add_trial(
            create_trial(
                state=state,
                params=space.sample(generator),
                distributions=distributions,
                values=values,
            )
        )
    for seed in range(5):
        proposals = []
        for make in (
            JointTPESampler,
            lambda seed: TPESampler(seed=seed, multivariate=True, constant_liar=True),
        ):
            study.sampler = make(seed=seed)
            trial = study.ask(distributions)
            study.tell(trial, state=TrialState.FAIL)
            proposals.append(trial.params)
        assert proposals[0] == proposals[1]
