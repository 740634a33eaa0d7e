"""Expected improvements against the plain formula and against dice; finite and rising however far
out.
"""

import numpy as np
import pytest
from scipy.stats import norm

from phinas.nas.cost_constraint import Gate
from phinas.nas.problem import Problem
from phinas.nas.reward import make_reward
from phinas.nas.strategies.bayesian import Hypervolume, Improvement
from phinas.nas.surrogate.acquisition import log_expected_improvement
from phinas.space.search_spaces.cost_tables import METRICS
from phinas.space.search_spaces.loading import load_space

TINY = load_space("tiny")


def plain(mean, deviation, best):
    z = (mean - best) / deviation
    return deviation * (norm.pdf(z) + z * norm.cdf(z))


def test_where_the_plain_formula_holds_its_logarithm_is_had():
    mean = np.linspace(-3, 3, 25)
    for deviation in (0.6, 1.0, 3.0):
        found = log_expected_improvement(mean, np.full(25, deviation), 0.2)
        np.testing.assert_allclose(np.exp(found), plain(mean, deviation, 0.2), rtol=1e-7)


def test_it_is_the_mean_improvement_of_many_draws():
    draws = np.random.default_rng(0).normal(0.5, 0.2, size=400_000)
    expected = np.maximum(draws - 0.6, 0).mean()
    assert np.exp(log_expected_improvement(np.array([0.5]), np.array([0.2]), 0.6))[
        0
    ] == pytest.approx(expected, rel=0.01)


def test_it_rises_with_the_mean_out_to_a_hundred_million_deviations():
    far = np.geomspace(1e-3, 1e8, 400)
    mean = np.concatenate([-far[::-1], [0.0], far])
    found = log_expected_improvement(mean, np.ones_like(mean), 0.0)
    assert np.all(np.isfinite(found))
    assert np.all(np.diff(found) > 0)
    assert found[0] == pytest.approx(-(1e8**2) / 2, rel=1e-6)
    assert found[-1] == pytest.approx(np.log(1e8))


def test_it_is_continuous_where_one_form_gives_way_to_another():
    for place in (-1.0, -1e3):
        below, above = log_expected_improvement(
            np.array([place - 1e-9, place + 1e-9]), np.ones(2), 0.0
        )
        assert below == pytest.approx(above, abs=1e-4)


def test_of_networks_below_the_best_the_more_uncertain_promise_more():
    deviation = np.geomspace(1e-6, 10, 50)
    assert np.all(np.diff(log_expected_improvement(np.zeros(50), deviation, 0.5)) > 0)


def test_a_network_that_is_known_promises_what_it_is_or_nothing():
    better, worse = log_expected_improvement(np.array([0.7, 0.5]), np.full(2, 1e-12), 0.6)
    assert np.exp(better) == pytest.approx(0.1)
    assert np.isfinite(worse)
    assert worse < -1e15


class Believed:
    """What a model would say: an accuracy and a deviation for each row of features."""

    def __init__(self, problem, *, deviation):
        self._slope = (
            np.random.default_rng(3).normal(size=problem.features(drawn(problem, 1, 0)).shape[1])
            * 0.02
        )
        self._deviation = deviation

    def mean(self, features):
        return 0.6 + features @ self._slope

    def predict(self, features):
        return self.mean(features), np.full(len(features), self._deviation)


def problem_of(kind="soft", weight=-0.07, **options):
    return Problem(TINY, Gate(), make_reward(kind, weight=weight, target=5e5), **options)


def drawn(problem, count, seed):
    return problem.draw(count, np.random.default_rng(seed))


def flops(problem):
    return lambda rows: problem.costs(rows)[:, METRICS.index("flops")].astype(float)


@pytest.mark.parametrize(
    ("kind", "weight"), [("soft", -0.07), ("hard", -1.0), ("absolute", -0.3), ("soft", 0.0)]
)
def test_a_reward_improves_as_draws_of_it_do(kind, weight):
    problem = problem_of(kind, weight)
    model, measured, rows = (
        Believed(problem, deviation=0.03),
        drawn(problem, 12, 0),
        drawn(problem, 20, 1),
    )
    promised = np.exp(Improvement(problem, model, flops(problem), measured)(rows))

    def rewards(indices, accuracies):
        return [
            problem.reward(a, c) for a, c in zip(accuracies, flops(problem)(indices), strict=True)
        ]

    best = max(rewards(measured, model.mean(problem.features(measured))))
    mean, luck = (
        model.mean(problem.features(rows)),
        np.random.default_rng(2).normal(size=(40_000, 1)) * 0.03,
    )
    slope, intercept = problem.reward.line(flops(problem)(rows))
    drawn_gains = np.maximum(slope * (mean + luck) + intercept - best, 0).mean(0)
    np.testing.assert_allclose(promised, drawn_gains, rtol=0.05, atol=2e-4)


def area(costs, accuracies, *, floor, end):
    """Under the front of accuracy over the logarithm of cost, from the cheapest up to `end`, above
    `floor`.
    """
    order = np.argsort(costs)
    best, total = floor, 0.0
    for place, index in enumerate(order):
        best = max(best, accuracies[index])
        until = costs[order[place + 1]] if place + 1 < len(order) else end
        total += max(until - costs[index], 0.0) * (best - floor)
    return total


def test_a_front_grows_as_draws_of_it_do():
    problem = problem_of(pareto=True)
    model, measured, rows = (
        Believed(problem, deviation=0.04),
        drawn(problem, 9, 0),
        drawn(problem, 25, 1),
    )
    promised = np.exp(Hypervolume(problem, model, flops(problem), measured)(rows))
    costs, accuracies = np.log(flops(problem)(measured)), model.mean(problem.features(measured))
    floor, end = accuracies.min(), costs.max() + 0.1
    before = area(costs, accuracies, floor=floor, end=end)
    luck = np.random.default_rng(2).normal(size=1500) * 0.04
    for row, told in zip(rows, promised, strict=True):
        price, mean = (
            float(np.log(flops(problem)(row[None]))[0]),
            float(model.mean(problem.features(row[None]))[0]),
        )
        grown = [
            area(
                np.append(costs, min(price, end)),
                np.append(accuracies, mean + each),
                floor=floor,
                end=end,
            )
            - before
            for each in luck
        ]
        assert told == pytest.approx(np.mean(grown), rel=0.15, abs=5e-4)
    assert promised.max() > 20 * promised.min()


def test_what_is_dearer_than_all_by_more_than_a_little_grows_no_front_and_says_so_finitely():
    problem = problem_of(pareto=True)
    order = np.argsort(flops(problem)(rows := drawn(problem, 60, 0)))
    cheap, dear = rows[order[:5]], rows[order[-5:]]
    promised = Hypervolume(problem, Believed(problem, deviation=0.04), flops(problem), cheap)(dear)
    assert np.all(promised == -np.inf)


@pytest.mark.parametrize("weight", [-1e3, -1e5])
@pytest.mark.parametrize("kind", ["soft", "hard", "absolute"])
def test_a_weight_that_makes_rewards_too_large_or_small_for_numbers_leaves_no_network_without_a_number(
    kind, weight
):
    problem = problem_of(kind, weight)
    improvement = Improvement(
        problem, Believed(problem, deviation=0.03), flops(problem), drawn(problem, 12, 0)
    )
    assert not np.isnan(improvement(drawn(problem, 200, 1))).any()
