"""Tests of the posterior of final scores."""

import numpy as np
import pytest

from phinas.experiment.statistics import posterior_fit
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


def test_scores_that_are_equal_by_chance_do_not_show_that_there_is_no_noise():
    """Networks that predict one class score the same; one of them has one image more."""
    results = [SeedResults(tuple(range(8)), (0.25,) * 7 + (0.26,))]
    results += [SeedResults(tuple(range(8)), (0.25,) * 8)]
    assert fit_posterior(results, 8).noise_std < 0.005
    posterior = fit_posterior(results, 8, min_noise_std=0.01)
    assert posterior.noise_std > 0.01
    assert posterior.probability_of_best(range(8)).max() < 0.5
    assert posterior.difference_interval(7, 0, 0.95)[0] < 0
    # noise adds up in quadrature
    noisy = cluster_results()
    assert fit_posterior(noisy, 12, min_noise_std=2e-4).noise_std == pytest.approx(
        fit_posterior(noisy, 12).noise_std, rel=0.02
    )


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


def dense_posterior(point, results, short, num_members, short_seed):
    """Means of the final scores with one set of hyperparameters, by conditioning a joint normal of
    all scores; effects of seeds and levels have a very large variance.
    """
    signal, drift, slope, shared = point
    rows = [(seed, m) for seed, result in enumerate(results) for m in result.members]
    scores = np.concatenate([result.scores for result in results] + [short])
    num_full = len(rows)
    final = signal**2 * np.eye(num_members)
    loadings = np.zeros((num_full + num_members, num_members))
    noise = np.eye(num_full + num_members)
    flat = np.zeros((num_full + num_members, len(results) + 1))
    for index, (seed, member) in enumerate(rows):
        loadings[index, member] = 1.0
        flat[index, seed] = 1.0
        if seed == short_seed:
            noise[index, num_full + member] = noise[num_full + member, index] = shared
    loadings[num_full:] = slope * np.eye(num_members)
    flat[num_full:, -1] = 1.0
    noise[num_full:, num_full:] += (signal * drift) ** 2 * np.eye(num_members)
    covariance = loadings @ final @ loadings.T + noise + 1e7 * flat @ flat.T
    means = final @ loadings.T @ np.linalg.solve(covariance, scores)
    return means - means.mean()


@pytest.mark.parametrize("shared", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("short_seed", [0, 1, None])
def test_the_shared_noise_of_a_continued_training_is_subtracted(monkeypatch, shared, short_seed):
    generator = np.random.default_rng(3)
    results = [
        SeedResults(members, tuple(generator.normal(size=len(members)).tolist()))
        for members in ((0, 2, 3), (0, 1, 3, 5))
    ]
    short = generator.normal(size=6).tolist()
    point = (1.5, 0.7, 0.9, shared)
    constant = np.ones(posterior_fit._NUM_POINTS)
    values = {"signal": 1.5, "drift": 0.7, "slope": 0.9, "surface": 0.0, "shared": shared}
    points = posterior_fit._Points(**{name: value * constant for name, value in values.items()})
    monkeypatch.setattr(posterior_fit, "_hyperparameter_points", lambda: points)
    posterior = fit_posterior(results, 6, short_scores=short, short_seed=short_seed)
    expected = dense_posterior(point, results, short, 6, short_seed)
    assert posterior.mean() == pytest.approx(expected, abs=1e-5)


def test_a_training_that_is_favored_by_noise_counts_less_if_it_is_continued():
    """The short training of member 0 is favored by noise, and the full one continues it."""
    results = [
        SeedResults((0, 1, 2, 3), (0.78, 0.75, 0.74, 0.73)),
        SeedResults((1, 2, 3), (0.751, 0.741, 0.731)),
    ]
    short = [0.70, 0.65, 0.64, 0.63]
    continued = fit_posterior(results, 4, short_scores=short, short_seed=0).mean()
    independent = fit_posterior(results, 4, short_scores=short).mean()
    assert continued[0] - continued[1] < independent[0] - independent[1]


def test_a_training_of_an_uncertain_rival_tells_most_about_the_best():
    results = [
        SeedResults((0, 1, 2, 3), (0.75, 0.748, 0.70, 0.69)),
        SeedResults((0, 1, 2, 3), (0.751, 0.749, 0.701, 0.691)),
        SeedResults((0, 2, 3), (0.749, 0.702, 0.689)),
    ]
    information = fit_posterior(results, 4).information_about_best(range(4))
    assert information.argmax() == 1
    assert information[2:].max() < 0.2 * information[1]
    assert (information >= 0).all()
