"""Tests of the evaluator that looks scores up in recorded learning curves."""

import random

import numpy as np
import pytest

from phinas.experiment.artifacts.bench import BenchRun
from phinas.experiment.artifacts.learning_curves import LearningCurve, LearningCurves
from phinas.experiment.errors import InputError
from phinas.experiment.measurement import Measurement
from phinas.experiment.schema.config import Recipe, SearchSection
from phinas.nas.benchmark.runner import BENCHMARK_STRATEGIES, default_strategies, run_strategy
from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.evaluators import make_evaluator
from phinas.nas.evaluators.curves import CurvesEvaluator, look_up_curve
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.strategies import STRATEGIES
from phinas.space.search_spaces.inactive_choices import InactiveChoices
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")
NAMES = tuple(decision.name for decision in TINY.decisions)
EPOCHS, NETWORKS = 4, 24


def sample_networks():
    generator = random.Random(0)
    inactive_choices = InactiveChoices(TINY)
    samples = [inactive_choices.canonical_choices(TINY.sample(generator)) for _ in range(NETWORKS)]
    return [tuple(choices[name] for name in NAMES) for choices in samples]


def make_file(**changes):
    """Curves that rise by one point an epoch from 0.01 times the number of the network."""
    networks = sample_networks()
    curves = [
        LearningCurve(
            network=number,
            seed=0,
            accuracies=tuple(round(0.01 * number + 0.01 * epoch, 4) for epoch in range(EPOCHS)),
        )
        for number in range(NETWORKS)
    ]
    values = {
        "description": "test",
        "space": "tiny",
        "epochs": EPOCHS,
        "decisions": NAMES,
        "networks": tuple(networks),
        "curves": tuple(curves),
    }
    return LearningCurves(**values | changes)


@pytest.fixture
def path(tmp_path):
    make_file().write(tmp_path / "curves.json")
    return tmp_path / "curves.json"


def evaluate(path, number, **options):
    evaluator = CurvesEvaluator(str(path), limit_seconds=10.0)
    choices = evaluator.pool[number]
    job = evaluator.make_job(
        TINY.decode(choices), Recipe(epochs=EPOCHS), 5, choices=choices, **options
    )
    return Measurement.from_dict(look_up_curve(**job.payload))


def test_the_score_is_that_of_the_last_epoch_or_of_the_epoch_of_a_pause(path):
    assert evaluate(path, 7).score == 0.1
    paused = evaluate(path, 7, stop_epoch=2)
    assert (paused.score, paused.epochs, paused.curve) == (0.08, 2, (0.07, 0.08))
    assert paused.stop_reason == "paused"


def test_a_report_can_stop_the_curve(path):
    evaluator = CurvesEvaluator(str(path), limit_seconds=10.0)
    job = evaluator.make_job(TINY.base, Recipe(epochs=EPOCHS), 5, choices=evaluator.pool[3])
    value = look_up_curve(**job.payload, report=lambda epoch, _score: epoch < 3)
    assert (value["epochs"], value["score"]) == (3, 0.05)


def run_bench(path, strategy, **options):
    section = SearchSection(
        evaluator=f"curves:{path}",
        recipe={"epochs": EPOCHS},
        reward="accuracy",
        **{"trials": 10} | options,
    )
    value = run_strategy(strategy=strategy, space="tiny", section=section.model_dump(), seed=1)
    return BenchRun.from_dict(value, source="job")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_searches_the_networks_of_the_file_only(path, strategy):
    run = run_bench(path, strategy)
    assert run.spent[-1] <= 10
    assert set(run.choices) <= set(sample_networks())
    assert len(set(run.choices)) == len(run.choices)


def test_a_search_with_a_budget_for_all_networks_measures_each_once(path):
    run = run_bench(path, "bayesian", trials=40)
    assert sorted(run.rewards) == pytest.approx(
        sorted(0.01 * number + 0.03 for number in range(len(set(sample_networks()))))
    )


def test_pruned_trainings_count_by_their_epochs(path):
    run = run_bench(path, "random", trials=20, pruner="median")
    assert len(run.rewards) < 20
    assert run.spent[-1] < 20
    assert all(number % (1 / EPOCHS) == 0 for number in run.spent)


def test_the_optimum_is_the_best_network_of_the_file(path):
    evaluator = CurvesEvaluator(str(path), limit_seconds=10.0)
    rows = np.array([TINY.to_indices(choices) for choices in evaluator.pool])
    assert evaluator.batch_score_fn(TINY)(rows).max() == pytest.approx(0.01 * NETWORKS + 0.02)


def test_strategies_of_other_libraries_are_left_out_because_they_propose_any_network(path):
    evaluator = CurvesEvaluator(str(path), limit_seconds=10.0)
    assert set(default_strategies(evaluator, pruner="none")) == set(STRATEGIES)
    assert set(STRATEGIES) < set(BENCHMARK_STRATEGIES)


def test_another_number_of_epochs_is_refused(path):
    evaluator = CurvesEvaluator(str(path), limit_seconds=10.0)
    with pytest.raises(InputError, match=r"search.recipe.epochs: 10 .* set search.recipe.epochs=4"):
        evaluator.make_job(TINY.base, Recipe(epochs=10), 0, choices=evaluator.pool[0])


def test_another_space_is_refused(path):
    evaluator = make_evaluator(SearchSection(evaluator=f"curves:{path}"), None, limit_seconds=10.0)
    with pytest.raises(InputError, match="use --space tiny"):
        evaluator.require_space(load_space("mnasnet"))
    evaluator.require_space(TINY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 5}, "curve 0 has 4 accuracies and not 5"),
        ({"networks": ((1,),)}, "the choices of network 0 are 1"),
        ({"curves": ()}, "there is none of network 0"),
    ],
)
def test_an_inconsistent_file_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_file(**changes)


def test_a_pool_limits_samples_and_neighbors_to_its_networks():
    rows = tuple(
        tuple(TINY.to_indices(dict(zip(NAMES, row, strict=True)))) for row in sample_networks()
    )
    max_flops = TINY.base.cost().flops
    problem = Problem(
        TINY,
        CostConstraint(max_flops=max_flops),
        make_reward("accuracy", exponent=0.0, target=1.0),
        pool=rows,
    )
    generator = np.random.default_rng(0)
    sampled = {tuple(row) for row in problem.sample(100, generator).tolist()}
    assert sampled < set(rows)
    neighbors = problem.neighbors(np.array(rows[:1]), 100, generator)
    assert {tuple(row) for row in neighbors.tolist()} == sampled
    assert all(TINY.decode(TINY.from_indices(row)).cost().flops <= max_flops for row in sampled)
