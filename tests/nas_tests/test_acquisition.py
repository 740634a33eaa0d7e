"""Expected improvements compared with the plain formula and with random samples. They are finite
and increasing, also far from the best value.
"""

import numpy as np
import pytest
from scipy.stats import norm

from phinas.nas.cost_constraint import CostConstraint
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.strategies.bayesian import (
    ExpectedHypervolumeImprovement,
    ExpectedImprovement,
)
from phinas.nas.strategies.local_search import optimize_acquisition
from phinas.nas.surrogate.accuracy_model import fit_accuracy_model
from phinas.nas.surrogate.score_scale import log_expected_improvement
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


def direct_improvement(mean, std, best):
    z = (mean - best) / std
    return std * (norm.pdf(z) + z * norm.cdf(z))


def test_it_is_the_logarithm_of_the_closed_formula_where_that_is_accurate():
    mean = np.linspace(-3, 3, 25)
    for std in (0.6, 1.0, 3.0):
        log_improvements = log_expected_improvement(mean, np.full(25, std), 0.2)
        expected = direct_improvement(mean, std, 0.2)
        np.testing.assert_allclose(np.exp(log_improvements), expected, rtol=1e-7)


def test_it_is_the_mean_improvement_of_many_samples():
    samples = np.random.default_rng(0).normal(0.5, 0.2, size=400_000)
    expected = np.maximum(samples - 0.6, 0).mean()
    assert np.exp(log_expected_improvement(np.array([0.5]), np.array([0.2]), 0.6))[
        0
    ] == pytest.approx(expected, rel=0.01)


def test_it_rises_with_the_mean_up_to_1e8_standard_deviations():
    offsets = np.geomspace(1e-3, 1e8, 400)
    mean = np.concatenate([-offsets[::-1], [0.0], offsets])
    log_improvements = log_expected_improvement(mean, np.ones_like(mean), 0.0)
    assert np.all(np.isfinite(log_improvements))
    assert np.all(np.diff(log_improvements) > 0)
    assert log_improvements[0] == pytest.approx(-(1e8**2) / 2, rel=1e-6)
    assert log_improvements[-1] == pytest.approx(np.log(1e8))


def test_it_is_continuous_where_the_formula_changes():
    for threshold in (-1.0, -1e3):
        below, above = log_expected_improvement(
            np.array([threshold - 1e-9, threshold + 1e-9]), np.ones(2), 0.0
        )
        assert below == pytest.approx(above, abs=1e-4)


def test_below_the_best_value_the_improvement_rises_with_the_uncertainty():
    std = np.geomspace(1e-6, 10, 50)
    assert np.all(np.diff(log_expected_improvement(np.zeros(50), std, 0.5)) > 0)


def test_without_uncertainty_the_improvement_is_the_difference_or_zero():
    better, worse = log_expected_improvement(np.array([0.7, 0.5]), np.full(2, 1e-12), 0.6)
    assert np.exp(better) == pytest.approx(0.1)
    assert np.isfinite(worse)
    assert worse < -1e15


class FakeModel:
    """A model that predicts an accuracy and a deviation for each row of features."""

    def __init__(self, problem, *, std):
        self._slope = (
            np.random.default_rng(3).normal(
                size=problem.features(sample_rows(problem, 1, 0)).shape[1]
            )
            * 0.02
        )
        self._std = std

    def mean(self, features):
        return 0.6 + features @ self._slope

    def predict(self, features):
        return self.mean(features), np.full(len(features), self._std)


def problem_of(kind="soft", exponent=-0.07, **options):
    return Problem(
        TINY, CostConstraint(), make_reward(kind, exponent=exponent, target=5e5), **options
    )


def sample_rows(problem, count, seed):
    return problem.sample(count, np.random.default_rng(seed))


def flops_of(problem):
    return lambda rows: problem.costs(rows)[:, METRICS.index("flops")].astype(float)


def make_acquisition(acquisition_class, problem, model, measured_rows):
    means = model.mean(problem.features(measured_rows))
    return acquisition_class(problem, model, flops_of(problem), measured_rows, means)


@pytest.mark.parametrize(
    ("kind", "exponent"), [("soft", -0.07), ("hard", -1.0), ("absolute", -0.3), ("soft", 0.0)]
)
def test_the_expected_improvement_of_a_reward_is_the_mean_over_samples(kind, exponent):
    problem = problem_of(kind, exponent)
    model, measured_rows, rows = (
        FakeModel(problem, std=0.03),
        sample_rows(problem, 12, 0),
        sample_rows(problem, 20, 1),
    )
    acquisition_values = np.exp(
        make_acquisition(ExpectedImprovement, problem, model, measured_rows)(rows)
    )

    def rewards(indices, scores):
        return [
            problem.reward(a, c) for a, c in zip(scores, flops_of(problem)(indices), strict=True)
        ]

    best = max(rewards(measured_rows, model.mean(problem.features(measured_rows))))
    mean, noise = (
        model.mean(problem.features(rows)),
        np.random.default_rng(2).normal(size=(40_000, 1)) * 0.03,
    )
    slope, intercept = problem.reward.linear_coefficients(flops_of(problem)(rows))
    sampled_gains = np.maximum(slope * (mean + noise) + intercept - best, 0).mean(0)
    np.testing.assert_allclose(acquisition_values, sampled_gains, rtol=0.05, atol=2e-4)


def front_area(costs, scores, *, floor, end):
    """Area under the front of accuracy over log cost, from the smallest cost up to `end`, above
    `floor`.
    """
    order = np.argsort(costs)
    best, total = floor, 0.0
    for position, index in enumerate(order):
        best = max(best, scores[index])
        segment_end = costs[order[position + 1]] if position + 1 < len(order) else end
        total += max(segment_end - costs[index], 0.0) * (best - floor)
    return total


def test_the_expected_hypervolume_improvement_is_the_mean_over_samples():
    problem = problem_of(pareto=True)
    model, measured_rows, rows = (
        FakeModel(problem, std=0.04),
        sample_rows(problem, 9, 0),
        sample_rows(problem, 25, 1),
    )
    acquisition_values = np.exp(
        make_acquisition(ExpectedHypervolumeImprovement, problem, model, measured_rows)(rows)
    )
    costs, scores = (
        np.log(flops_of(problem)(measured_rows)),
        model.mean(problem.features(measured_rows)),
    )
    floor, end = scores.min(), costs.max() + 0.1
    area_before = front_area(costs, scores, floor=floor, end=end)
    noise = np.random.default_rng(2).normal(size=1500) * 0.04
    for row, acquisition_value in zip(rows, acquisition_values, strict=True):
        log_cost, mean = (
            float(np.log(flops_of(problem)(row[None]))[0]),
            float(model.mean(problem.features(row[None]))[0]),
        )
        growths = [
            front_area(
                np.append(costs, min(log_cost, end)),
                np.append(scores, mean + offset),
                floor=floor,
                end=end,
            )
            - area_before
            for offset in noise
        ]
        assert acquisition_value == pytest.approx(np.mean(growths), rel=0.15, abs=5e-4)
    assert acquisition_values.max() > 20 * acquisition_values.min()


def test_a_network_far_beyond_the_largest_measured_cost_has_no_expected_improvement():
    problem = problem_of(pareto=True)
    order = np.argsort(flops_of(problem)(rows := sample_rows(problem, 60, 0)))
    small_rows, large_rows = rows[order[:5]], rows[order[-5:]]
    acquisition_values = make_acquisition(
        ExpectedHypervolumeImprovement, problem, FakeModel(problem, std=0.04), small_rows
    )(large_rows)
    assert np.all(acquisition_values == -np.inf)


@pytest.mark.parametrize("exponent", [-1e3, -1e5])
@pytest.mark.parametrize("kind", ["soft", "hard", "absolute"])
def test_no_acquisition_value_is_nan_under_extreme_exponents(kind, exponent):
    problem = problem_of(kind, exponent)
    improvement = make_acquisition(
        ExpectedImprovement, problem, FakeModel(problem, std=0.03), sample_rows(problem, 12, 0)
    )
    assert not np.isnan(improvement(sample_rows(problem, 200, 1))).any()


def fit_model_of_flops(problem, rows):
    scores = 0.3 + 0.05 * np.log(flops_of(problem)(rows) / 1e5)
    return fit_accuracy_model(problem.features, rows, scores[:, None]).process


@pytest.mark.parametrize("acquisition_class", [ExpectedImprovement, ExpectedHypervolumeImprovement])
def test_the_best_networks_are_among_the_best_approximations(acquisition_class):
    problem = problem_of(pareto=acquisition_class is ExpectedHypervolumeImprovement)
    measured_rows, rows = sample_rows(problem, 100, 0), sample_rows(problem, 600, 1)
    acquisition = make_acquisition(
        acquisition_class, problem, fit_model_of_flops(problem, measured_rows), measured_rows
    )
    best = np.argsort(-acquisition(rows))[:10]
    best_approximations = np.argsort(-acquisition.approximate(rows))[:64]
    assert set(best.tolist()) <= set(best_approximations.tolist())


class NumberOfDifferences:
    """The value of a network is minus the number of its differences from a target."""

    def __init__(self, target):
        self.target, self.exact_rows = target, []

    def __call__(self, rows):
        self.exact_rows += rows.tolist()
        return self.approximate(rows)

    def approximate(self, rows):
        return -(rows != self.target).sum(1).astype(float)


def test_the_local_search_finds_the_best_network_and_evaluates_none_twice():
    problem = problem_of()
    target = problem.canonicalize(sample_rows(problem, 1, 5))[0]
    acquisition = NumberOfDifferences(target)
    starts, random_rows = sample_rows(problem, 5, 0), sample_rows(problem, 200, 1)
    ranking = optimize_acquisition(
        problem, acquisition, starts, random_rows, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(ranking[0], target)
    assert len({tuple(row) for row in acquisition.exact_rows}) == len(acquisition.exact_rows)
    assert len({tuple(row) for row in ranking.tolist()}) == len(ranking)
    assert {tuple(row) for row in random_rows.tolist()} <= {tuple(row) for row in ranking.tolist()}


def test_the_local_search_returns_no_infeasible_network():
    problem = Problem(TINY, CostConstraint(0, 4e5), make_reward("soft", exponent=-0.07, target=5e5))
    rows = np.random.default_rng(0).integers(0, problem.num_choices, size=(200, 15))
    ranking = optimize_acquisition(
        problem, NumberOfDifferences(rows[0]), rows[:5], rows, np.random.default_rng(0)
    )
    assert len(ranking)
    assert flops_of(problem)(ranking).max() <= 4e5
