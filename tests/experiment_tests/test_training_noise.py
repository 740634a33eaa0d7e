"""Tests of the training noise, pooled over networks and seeds."""

import math

import numpy as np
import pytest

from phinas.experiment.statistics.training_noise import estimate_noise


def by_seed(*scores, seeds=None):
    return dict(zip(seeds or range(len(scores)), scores, strict=True))


def test_the_noise_excludes_effects_of_networks_and_seeds():
    noise = estimate_noise([by_seed(0.5, 0.6), by_seed(0.7, 0.8), by_seed(0.6, 0.73)])
    assert noise.degrees_of_freedom == 2
    residuals = np.array([[0.5, 0.6], [0.7, 0.8], [0.6, 0.73]])
    residuals = residuals - residuals.mean(1, keepdims=True) - residuals.mean(0) + residuals.mean()
    assert noise.std == pytest.approx(math.sqrt((residuals**2).sum() / 2))


def test_a_failed_training_reduces_the_degrees_of_freedom_by_one():
    rows = [by_seed(0.5, 0.6), by_seed(0.7, 0.81), by_seed(0.6, 0.73)]
    complete, incomplete = estimate_noise(rows), estimate_noise([*rows, by_seed(0.9, seeds=[1])])
    assert (incomplete.degrees_of_freedom, incomplete.std) == (2, pytest.approx(complete.std))
    assert estimate_noise([*rows[:2], by_seed(0.6, seeds=[1])]).degrees_of_freedom == 1


@pytest.mark.parametrize("rows", [[], [by_seed(0.5, 0.6)], [by_seed(0.5), by_seed(0.6)]])
def test_one_network_or_one_seed_gives_no_noise_estimate(rows):
    assert estimate_noise(rows) is None
