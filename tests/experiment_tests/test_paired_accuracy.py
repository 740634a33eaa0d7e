"""Test-set sampling errors of differences between networks on the same test images."""

import math
from dataclasses import replace

import numpy as np
import pytest

from phinas.experiment.statistics.paired_accuracy import (
    NetworkAccuracy,
    difference_standard_error,
    paired_standard_error,
)


def network_of(flops, correct, recorded):
    """correct: (seeds, images)."""
    accuracies = {seed: float(row.mean()) for seed, row in enumerate(correct)}
    return NetworkAccuracy(
        flops, accuracies, correct.shape[1], dict(enumerate(correct)) if recorded else {}
    )


def test_the_error_of_a_paired_difference_is_agresti_and_mins():
    # Agresti, "Categorical Data Analysis" (2002), table 10.1: of 1,600 asked twice, 150 and 86
    # changed their minds, one way and the other; the standard error of the difference is 0.0095.
    # The formula is that of Agresti's own function `diffpropci`
    # (users.stat.ufl.edu/~aa/cda/R/matched).
    differences = np.array([1.0] * 150 + [-1.0] * 86 + [0.0] * (794 + 570))
    expected = math.sqrt(150.5 + 86.5 - (150.5 - 86.5) ** 2 / 1602) / 1602
    assert paired_standard_error(differences) == pytest.approx(expected)
    assert expected == pytest.approx(0.0095, abs=1e-4)


@pytest.mark.parametrize("images", [1, 10, 1000])
def test_networks_that_are_alike_on_every_image_are_not_known_to_be_alike(images):
    assert paired_standard_error(np.zeros(images)) == pytest.approx(1 / (images + 2))
    assert 0 < paired_standard_error(np.ones(images)) < 1


def test_images_are_paired_only_where_they_are_recorded_for_all_shared_seeds():
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
