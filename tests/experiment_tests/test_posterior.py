"""Tests of the posterior of final scores."""

import numpy as np
import pytest

from phinas.experiment.statistics.posterior_fit import SeedResults, fit_posterior


def test_a_smooth_surface_predicts_members_that_were_not_trained():
    coordinates = np.linspace(-1, 1, 12)[:, None]
    truth = 0.75 - 0.05 * (coordinates[:, 0] - 0.3) ** 2
    noise = np.random.default_rng(0).normal(size=(12, 2)) * 0.001
    observed = [m for m in range(12) if m not in (2, 9)]
    seed_results = [
        SeedResults(tuple(observed), tuple(truth[observed] + noise[observed, seed]))
        for seed in (0, 1)
    ]
    smooth = fit_posterior(seed_results, 12, coordinates=coordinates).mean()
    assert np.abs(smooth - (truth - truth.mean())).max() < 0.002
    rough = fit_posterior(seed_results, 12).mean()
    assert abs(rough[2] - (truth - truth.mean())[2]) > 0.01


def test_the_noise_of_a_training_is_estimated():
    generator = np.random.default_rng(1)
    table = generator.normal(size=(10, 1)) * 0.01 + generator.normal(size=(10, 5)) * 0.003
    posterior = fit_posterior(
        [SeedResults(tuple(range(10)), tuple(scores)) for scores in table.T], 10
    )
    assert posterior.noise_std == pytest.approx(0.003, rel=0.2)
    assert posterior.probability_above(3)[3] == pytest.approx(0.5)


def cluster_results(num_seeds=2):
    """Four nearly equal members, and eight that are far below."""
    generator = np.random.default_rng(2)
    truth = np.array([0.75, 0.751, 0.749, 0.752] + [0.70] * 8)
    table = truth[:, None] + 0.003 * generator.normal(size=(12, num_seeds))
    return [SeedResults(tuple(range(12)), tuple(scores)) for scores in table.T]


def test_the_spread_of_a_group_shrinks_its_members_more_than_that_of_all_members():
    results = cluster_results()
    of_all = fit_posterior(results, 12)
    of_group = fit_posterior(results, 12, group=range(4))
    assert np.ptp(of_group.mean()[:4]) < 0.8 * np.ptp(of_all.mean()[:4])
    # without shrinkage, the others are where their trainings are
    means = np.mean([result.scores for result in results], axis=0)
    gaps = of_group.mean()[4:] - of_group.mean()[4:].mean()
    assert gaps == pytest.approx(means[4:] - means[4:].mean(), abs=1e-5)


def test_a_member_without_a_short_score_is_as_uncertain_as_the_prior():
    results = [SeedResults((0, 1), (0.75, 0.74)), SeedResults((0, 1), (0.752, 0.741))]
    short = [0.6, 0.59, 0.58, 0.61, 0.57, None]
    posterior = fit_posterior(results, 6, short_scores=short)
    low, high = posterior.difference_interval(0, 5, 0.95)
    known_low, known_high = posterior.difference_interval(0, 2, 0.95)
    assert high - low > known_high - known_low
    assert np.isfinite(posterior.mean()).all()


def test_the_probability_of_the_best_is_that_of_the_pair_for_two_members():
    posterior = fit_posterior(cluster_results(), 12)
    best = posterior.probability_of_best([0, 3])
    assert best.sum() == pytest.approx(1)
    assert best[1] == pytest.approx(posterior.probability_above(0)[3], abs=0.02)
    assert posterior.probability_of_best(range(12))[4:].max() < 0.01


def test_half_of_an_interval_is_below_the_median():
    posterior = fit_posterior(cluster_results(), 12)
    low, high = posterior.difference_interval(3, 5, 0.5)
    shifted = posterior.means[:, 3] - posterior.means[:, 5]
    assert low < posterior.weights @ shifted < high
    wide_low, wide_high = posterior.difference_interval(3, 5, 0.99)
    assert wide_low < low < high < wide_high


def test_a_posterior_without_two_members_of_one_seed_is_refused():
    with pytest.raises(ValueError, match="no two members"):
        fit_posterior([SeedResults((0,), (0.7,))], 3)
