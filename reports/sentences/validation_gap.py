"""The sentence about a significant difference between validation and test accuracy."""

from phinas.experiment.measurement import Measurement
from phinas.experiment.statistics.intervals import newcombe_interval
from phinas.reports.sentences.rendering import render


def describe_validation_gap(measurement: Measurement, validation_images: int) -> str:
    """What to check if the validation accuracy is significantly different from the test accuracy.

    Args:
        measurement: A measurement on the test split, whose curve is that of the validation images.
        validation_images: Number of validation images.

    Returns:
        One or two sentences; "" if the difference is not significant, or not an accuracy.
    """
    if measurement.metric != "accuracy" or not measurement.curve or not validation_images:
        return ""
    validation_accuracy = measurement.curve[-1]
    low, high = newcombe_interval(
        measurement.score, measurement.images, validation_accuracy, validation_images
    )
    if low <= 0 <= high:
        return ""
    return render(
        "validation_gap",
        "gap",
        is_higher=low > 0,
        validation_accuracy=validation_accuracy,
        test_accuracy=measurement.score,
        difference=validation_accuracy - measurement.score,
        interval=(low, high),
    )
