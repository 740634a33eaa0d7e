"""Tests of the sampling error of differences between networks on the same test images."""

import math
from dataclasses import replace

import numpy as np
import pytest

from phinas.experiment.statistics.paired_scores import (
    NetworkScore,
    difference_standard_error,
    paired_standard_error,
)


def network_of(flops, correct, recorded):
    """Make a network from a mask of correct images, (seeds, images), which is recorded or not."""
    scores = {seed: float(row.mean()) for seed, row in enumerate(correct)}
    return NetworkScore(
        flops, scores, correct.shape[1], dict(enumerate(correct)) if recorded else {}
    )


def test_the_standard_error_of_a_paired_difference_is_that_of_agresti_and_min():
    # Agresti, "Categorical Data Analysis" (2002), table 10.1: of 1,600 people surveyed twice, 150
    # changed from approval to disapproval and 86 the other way. The standard error of the
    # difference is 0.0095. The formula is that of Agresti's function `diffpropci`
    # (users.stat.ufl.edu/~aa/cda/R/matched).
    differences = np.array([1.0] * 150 + [-1.0] * 86 + [0.0] * (794 + 570))
    expected = math.sqrt(150.5 + 86.5 - (150.5 - 86.5) ** 2 / 1602) / 1602
    assert paired_standard_error(differences) == pytest.approx(expected)
    assert expected == pytest.approx(0.0095, abs=1e-4)


@pytest.mark.parametrize("images", [1, 10, 1000])
def test_networks_that_agree_on_every_image_have_a_standard_error_above_zero(images):
    assert paired_standard_error(np.zeros(images)) == pytest.approx(1 / (images + 2))
    assert 0 < paired_standard_error(np.ones(images)) < 1


def test_images_are_paired_only_if_they_are_recorded_for_all_common_seeds():
    correct = np.random.default_rng(0).random((2, 500)) < 0.8
    first, second = network_of(1, correct, True), network_of(1, correct, True)
    unpaired = math.hypot(first.sampling_error, second.sampling_error)
    assert difference_standard_error([first], second, [0, 1]) == pytest.approx(1 / 502)
    for unrecorded in (
        network_of(1, correct, False),
        replace(second, correct_by_seed={0: correct[0]}),
    ):
        assert (
            difference_standard_error([first], unrecorded, [0, 1])
            == difference_standard_error([unrecorded], first, [0, 1])
            == unpaired
        )
    assert (
        difference_standard_error([first], replace(second, correct_by_seed={0: correct[0]}), [0])
        < unpaired
    )


def network_with_replicates(scores, *, images=100):
    """Make a network from the bootstrap replicates of its score, (seeds, 200)."""
    means = {seed: float(row.mean()) for seed, row in enumerate(scores)}
    return NetworkScore(
        1, means, images, resamples_by_seed=dict(enumerate(scores)), standard_error=0.4
    )


def test_replicates_of_other_scores_are_paired():
    generator = np.random.default_rng(0)
    common = generator.normal(0.8, 0.02, (2, 200))
    noise = generator.normal(0.0, 0.001, (2, 200))
    first, second = network_with_replicates(common), network_with_replicates(common + noise)
    expected = noise.mean(axis=0).std(ddof=1)
    assert difference_standard_error([first], second, [0, 1]) == pytest.approx(expected)
    assert difference_standard_error([first], second, [0]) == pytest.approx(noise[0].std(ddof=1))
    assert first.sampling_error == pytest.approx(common.mean(axis=0).std(ddof=1))


def test_networks_without_replicates_or_with_other_images_are_not_paired():
    common = np.random.default_rng(0).normal(0.8, 0.02, (1, 200))
    first = network_with_replicates(common)
    others = network_with_replicates(common, images=101)
    unrecorded = replace(first, resamples_by_seed={})
    unpaired = math.hypot(first.sampling_error, first.sampling_error)
    assert difference_standard_error([first], others, [0]) == pytest.approx(unpaired)
    assert difference_standard_error([first], unrecorded, [0]) == pytest.approx(
        math.hypot(first.sampling_error, 0.4)
    )
