"""Tests of the posterior of final scores."""

import numpy as np
import pytest

from phinas.experiment.statistics.posterior import SeedResults, fit_posterior


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


def test_a_posterior_without_two_members_of_one_seed_is_refused():
    with pytest.raises(ValueError, match="no two members"):
        fit_posterior([SeedResults((0,), (0.7,))], 3)
