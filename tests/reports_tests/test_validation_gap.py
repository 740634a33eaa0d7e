"""Tests of the sentence about a difference between validation and test accuracy."""

import pytest

from phinas.experiment.measurement import Measurement
from phinas.reports.sentences.validation_gap import describe_validation_gap


def measure(test_accuracy, validation_accuracy, *, images=400, **fields):
    curve = (0.1, validation_accuracy)
    return Measurement(test_accuracy, split="test", images=images, curve=curve, **fields)


def test_higher_validation_accuracy_names_groups_copies_and_selection():
    text = describe_validation_gap(measure(0.80, 0.92), 400)
    assert text.startswith(
        "The validation accuracy (92.0%) is significantly higher than the test accuracy (80.0%): "
        "+12.0 points (95% CI +7.2 to +16.8)."
    )
    assert "--group-by" in text
    assert "selected on the validation images" in text


def test_higher_test_accuracy_names_leaks():
    text = describe_validation_gap(measure(0.95, 0.80), 400)
    assert "is significantly lower than the test accuracy" in text
    assert "test images that are also in the training images" in text


@pytest.mark.parametrize(
    ("measurement", "validation_images"),
    [
        (measure(0.80, 0.92, images=30), 30),
        (measure(0.80, 0.81), 400),
        (measure(0.80, 0.92, metric="macro_f1"), 400),
        (Measurement(0.8, split="test", images=400), 400),
    ],
    ids=["few images", "small difference", "another metric", "no curve"],
)
def test_difference_that_is_not_significant_or_not_known_has_no_sentence(
    measurement, validation_images
):
    assert describe_validation_gap(measurement, validation_images) == ""
