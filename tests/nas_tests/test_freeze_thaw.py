"""Freeze-thaw: which training runs next, and up to which epoch."""

import random
from dataclasses import replace

import numpy as np
import pytest

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem, make_pool
from phinas.nas.reward import Reward
from phinas.nas.strategies.bayesian import NUM_STARTUP_TRIALS, BayesianStrategy
from phinas.nas.strategies.freeze_thaw import Training, choose_option, stop_epochs
from phinas.nas.strategies.interface import PastTrial, ResumeTraining, StartTraining
from phinas.nas.surrogate.curve_model import error_variances, measure_final_scores
from phinas.nas.surrogate.score_scale import log_expected_improvement
from phinas.space.search_spaces.loading import load_space

EPOCHS = 16
BEST = 1.0
NOISE = 0.01
UNINFORMATIVE = dict.fromkeys(range(1, EPOCHS), 10.0) | {EPOCHS: NOISE}
INFORMATIVE = dict.fromkeys(range(1, EPOCHS), 1.2 * NOISE) | {EPOCHS: NOISE}


def training(mean, *, std=1.0, trial=None, epochs=0):
    def improvement(means, stds):
        return np.exp(log_expected_improvement(means, stds, BEST))

    return Training(trial, epochs, mean, std, improvement)


@pytest.mark.parametrize(
    ("epochs", "stops"), [(1, []), (2, [1]), (10, [1, 2, 3, 5, 8]), (16, [1, 2, 4, 8, 12])]
)
def test_trainings_may_pause_after_fractions_of_the_epochs(epochs, stops):
    assert stop_epochs(epochs) == stops


def test_without_information_in_early_scores_a_training_runs_to_the_end():
    option = choose_option([training(0.5)], EPOCHS, UNINFORMATIVE)
    assert option.epochs == EPOCHS


def test_with_informative_early_scores_a_training_pauses_early():
    option = choose_option([training(0.0)], EPOCHS, INFORMATIVE)
    assert option.epochs == 1


def test_a_paused_training_that_promises_more_is_resumed():
    paused = training(2.0, std=0.1, trial=7, epochs=2)
    option = choose_option([training(0.0), paused], EPOCHS, INFORMATIVE)
    assert option.training is paused
    assert option.epochs == EPOCHS


def test_a_paused_training_that_disappoints_stays_paused():
    paused = training(-2.0, std=0.1, trial=7, epochs=2)
    new = training(0.0)
    assert choose_option([paused, new], EPOCHS, INFORMATIVE).training is new


def test_where_nothing_can_improve_the_first_training_runs_to_the_end():
    hopeless = [training(-1e6, std=1e-3), training(-2e6, std=1e-3)]
    option = choose_option(hopeless, EPOCHS, UNINFORMATIVE)
    assert option.training is hopeless[0]
    assert option.epochs == EPOCHS


def make_curves(count, generator, *, decay):
    """Final scores, and curves whose correlation between epochs e < f is (e / f)^decay."""
    epochs = np.arange(1, EPOCHS + 1)
    ratios = np.minimum.outer(epochs, epochs) / np.maximum.outer(epochs, epochs)
    return generator.multivariate_normal(np.zeros(EPOCHS), ratios**decay, size=count)


def test_error_variances_are_those_of_the_measurements():
    curves = make_curves(60, np.random.default_rng(0), decay=0.4)
    covariates = np.zeros((60, 1))
    scores = curves.copy()
    scores[40:, 8:] = np.nan
    measured = measure_final_scores(scores, covariates)
    variances = error_variances(scores, [8], covariates)
    assert variances == {8: pytest.approx(measured.variances[-1]), EPOCHS: 0.0}
    # correlation 2^-0.4 = 0.76
    assert variances[8] == pytest.approx(0.76**-2 - 1, rel=0.5)
    later = error_variances(scores, [2, 4, 8, 12], covariates)
    assert later[2] > later[4] > later[8] > later[12] > 0


TINY = load_space("tiny")
PROBLEM = Problem(TINY, CostConstraint(), Reward("soft", 0.0, 1.0), epochs=EPOCHS, can_pause=True)


def run_search(decay, *, budget=30, seed=0):
    """The history of a search in memory. The score after epoch e has the correlation
    (e / EPOCHS)^decay with the final one.
    """
    generator = np.random.default_rng(seed)
    history, curves, spent, proposals = [], {}, 0, 0
    while spent < budget * EPOCHS:
        action = BayesianStrategy(PROBLEM, 1000 * seed + proposals).propose(history)
        proposals += 1
        if isinstance(action, ResumeTraining):
            number, stop = action.trial, action.epochs
            spent -= history[number].epochs
        else:
            number, stop = len(history), action.epochs or EPOCHS
            flops = TINY.decode(action.choices).cost().flops
            final = 0.6 + 0.05 * np.log(flops / 2e5) + 0.02 * generator.normal()
            progress = np.arange(1, EPOCHS + 1) / EPOCHS
            correlation = progress**decay
            lag = 0.04 * np.sqrt(1 - correlation**2) * generator.normal(size=EPOCHS)
            curves[number] = 0.4 + 0.2 * progress + correlation * (final - 0.6) + lag
            history.append(PastTrial(number, action.choices, "running"))
        spent += stop
        scores = {epoch: float(curves[number][epoch - 1]) for epoch in range(1, stop + 1)}
        is_complete = stop == EPOCHS
        score = scores[stop] if is_complete else None
        cost = float(TINY.decode(history[number].choices).cost().flops)
        history[number] = PastTrial(
            number,
            history[number].choices,
            "complete" if is_complete else "paused",
            scores=scores,
            rewards=scores,
            cost=cost,
            score=score,
            reward=score,
        )
    return history


def test_the_first_networks_are_trained_to_the_end():
    history = []
    for number in range(NUM_STARTUP_TRIALS):
        action = BayesianStrategy(PROBLEM, number).propose(history)
        assert isinstance(action, StartTraining)
        assert action.epochs is None
        scores = {EPOCHS: 0.5 + 0.01 * number}
        history.append(
            PastTrial(number, action.choices, "complete", scores, scores, 1e6, scores[EPOCHS], 0.5)
        )


@pytest.mark.slow
def test_a_search_pauses_trainings_where_early_scores_are_informative():
    history = run_search(0.002)
    statuses = [trial.status for trial in history]
    assert statuses.count("paused") >= 5
    assert len(history) >= 36  # networks for 30 full trainings
    resumed = [trial for trial in history[NUM_STARTUP_TRIALS:] if trial.status == "complete"]
    assert resumed


def test_a_search_pauses_hardly_any_training_where_early_scores_are_noise():
    history = run_search(3.0)
    assert [trial.status for trial in history].count("paused") <= 2
    assert len(history) <= 32


@pytest.mark.parametrize("score", [0.5, 0.0, 1.0])
def test_equal_scores_are_no_error(score):
    history = []
    for number in range(NUM_STARTUP_TRIALS + 2):
        action = BayesianStrategy(PROBLEM, number).propose(history)
        assert isinstance(action, StartTraining)
        epochs = range(1, EPOCHS + 1)
        scores = dict.fromkeys(epochs, score)
        history.append(
            PastTrial(number, action.choices, "complete", scores, scores, 1e6, score, score)
        )


def test_paused_trainings_are_resumed_when_all_networks_of_a_pool_are_known():
    choices = [TINY.sample(random.Random(seed)) for seed in range(NUM_STARTUP_TRIALS + 1)]
    problem = replace(PROBLEM, pool=make_pool(TINY, choices))
    history = []
    for number, item in enumerate(choices):
        is_last = number == len(choices) - 1
        scores = {
            epoch: 0.5 + 0.01 * number + 0.01 * epoch for epoch in range(1, 3 if is_last else 17)
        }
        final = None if is_last else scores[EPOCHS]
        status = "paused" if is_last else "complete"
        cost = float(TINY.decode(item).cost().flops)
        history.append(PastTrial(number, item, status, scores, scores, cost, final, final))
    action = BayesianStrategy(problem, 0).propose(history)
    assert isinstance(action, ResumeTraining)
    assert action.trial == len(choices) - 1
