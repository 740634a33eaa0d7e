"""Tests of classification metrics and of their bootstrap replicates: pairing and coverage."""

from typing import NamedTuple

import numpy as np
import pytest

from phinas.experiment.statistics.classification_metrics import (
    METRICS,
    NUM_RESAMPLES,
    ClassCounts,
    resample_scores,
)
from phinas.experiment.statistics.intervals import bootstrap_interval
from phinas.experiment.statistics.paired_scores import NetworkScore, difference_standard_error

CLASSES = 5
FREQUENCIES = np.array([0.5, 0.25, 0.15, 0.07, 0.03])
# recall of each class by two networks, and the common fraction of the variance that decides whether
# an image is classified correctly
SCENARIOS = {
    "moderate": ([0.90, 0.84, 0.79, 0.69, 0.66], [0.92, 0.86, 0.82, 0.79, 0.76], 0.6),
    "moderate, mostly shared": (
        [0.90, 0.84, 0.79, 0.69, 0.66],
        [0.92, 0.86, 0.82, 0.79, 0.76],
        0.9,
    ),
    "near 1": ([0.98, 0.96, 0.95, 0.90, 0.88], [0.99, 0.98, 0.97, 0.96, 0.95], 0.6),
    "near 1, mostly shared": ([0.98, 0.96, 0.95, 0.90, 0.88], [0.99, 0.98, 0.97, 0.96, 0.95], 0.9),
}


class Coverage(NamedTuple):
    """Coverage of 95% intervals of differences and scores, and the median width for differences."""

    difference: float
    score: float
    width: float


def draw_split(generator, images, scenario):
    """Draw labels, and the predictions of two networks."""
    from scipy.stats import norm

    *recalls, shared = SCENARIOS[scenario]
    labels = generator.choice(CLASSES, images, p=FREQUENCIES)
    difficulty = generator.standard_normal(images)
    # misclassified images are mostly predicted as frequent classes, and with probability 0.5 both
    # networks predict the same class
    confusion = np.sqrt(FREQUENCIES) / np.sqrt(FREQUENCIES).sum()
    common = generator.choice(CLASSES, images, p=confusion)
    predictions = []
    for recall in recalls:
        noise = generator.standard_normal(images)
        value = np.sqrt(shared) * difficulty + np.sqrt(1 - shared) * noise
        wrong = np.where(
            generator.random(images) < 0.5, common, generator.choice(CLASSES, images, p=confusion)
        )
        wrong = np.where(wrong == labels, (wrong + 1) % CLASSES, wrong)
        predictions.append(np.where(value < norm.ppf(recall)[labels], labels, wrong))
    return labels, predictions


def score_of(metric, labels, predictions):
    return float(ClassCounts.count(labels, predictions, classes=CLASSES).score(metric))


def simulate(metric, images, scenario, *, splits, seed=0):
    """Measure the coverage of 95% intervals over simulated test splits."""
    generator = np.random.default_rng(seed)
    labels, predictions = draw_split(generator, 2_000_000, scenario)
    truth = [score_of(metric, labels, each) for each in predictions]
    covered_differences, covered_scores, widths = [], [], []
    for _ in range(splits):
        labels, predictions = draw_split(generator, images, scenario)
        networks = []
        for each, true in zip(predictions, truth, strict=True):
            score = score_of(metric, labels, each)
            resamples = resample_scores(metric, labels, each, classes=CLASSES)
            low, high = bootstrap_interval(score, resamples)
            covered_scores.append(low <= true <= high)
            networks.append(NetworkScore(1, {0: score}, images, resamples_by_seed={0: resamples}))
        error = difference_standard_error([networks[1]], networks[0], [0])
        difference = networks[1].score - networks[0].score
        covered_differences.append(abs(difference - (truth[1] - truth[0])) <= 1.96 * error)
        widths.append(2 * 1.96 * error)
    return Coverage(
        float(np.mean(covered_differences)),
        float(np.mean(covered_scores)),
        float(np.median(widths)),
    )


@pytest.fixture
def split():
    return draw_split(np.random.default_rng(0), 1000, "moderate")


@pytest.mark.parametrize("metric", METRICS)
def test_replicates_are_distributed_around_the_score(metric, split):
    labels, (predictions, _) = split
    resamples = resample_scores(metric, labels, predictions, classes=CLASSES)
    assert resamples.shape == (NUM_RESAMPLES,)
    assert resamples.mean() == pytest.approx(score_of(metric, labels, predictions), abs=0.02)
    assert 0.005 < resamples.std() < 0.05


def test_replicates_of_the_accuracy_have_the_binomial_standard_error(split):
    labels, (predictions, _) = split
    accuracy = score_of("accuracy", labels, predictions)
    resamples = resample_scores("accuracy", labels, predictions, classes=CLASSES)
    assert resamples.std() == pytest.approx((accuracy * (1 - accuracy) / 1000) ** 0.5, rel=0.15)


@pytest.mark.parametrize("metric", METRICS)
def test_replicates_are_reproducible_and_paired_between_networks(metric, split):
    labels, (first, second) = split
    resamples = [
        resample_scores(metric, labels, each, classes=CLASSES) for each in (first, second, first)
    ]
    assert np.array_equal(resamples[0], resamples[2])
    differences = resamples[1] - resamples[0]
    assert differences.std() < 0.9 * np.hypot(resamples[0].std(), resamples[1].std())


def test_a_rare_class_that_is_always_predicted_correctly_has_an_uncertainty():
    labels = np.repeat([0, 1], [500, 4])
    resamples = resample_scores("balanced_accuracy", labels, labels, classes=2)
    assert resamples.std() > 0.03
    other = np.where(np.arange(504) == 0, 1, labels)
    assert (resample_scores("balanced_accuracy", labels, other, classes=2) - resamples).std() > 0.03


def test_a_class_without_images_does_not_change_the_balanced_accuracy():
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    counts = ClassCounts.count(labels, predictions, classes=4)
    assert counts.score("balanced_accuracy") == 0.75
    assert counts.score("macro_f1") == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert counts.recall.tolist() == [0.5, 1.0, 0.0, 0.0]


def test_classes_without_images_do_not_change_the_replicates_of_a_balanced_accuracy(split):
    labels, (predictions, _) = split
    resamples = resample_scores("balanced_accuracy", labels, predictions, classes=50)
    score = score_of("balanced_accuracy", labels, predictions)
    assert resamples.mean() == pytest.approx(score, abs=0.02)


def test_an_unknown_metric_is_refused():
    counts = ClassCounts.count(np.zeros(1, int), np.zeros(1, int), classes=2)
    with pytest.raises(ValueError, match="metric: 'auc' is not one of accuracy, balanced_accuracy"):
        counts.score("auc")


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["balanced_accuracy", "macro_f1"])
@pytest.mark.parametrize("images", [200, 1000])
def test_intervals_have_about_their_nominal_coverage(metric, images):
    """The tolerance is 2 points plus three standard errors of the simulation (3.3 points)."""
    coverage = simulate(metric, images, "moderate", splits=400)
    assert 0.95 - 0.02 - 0.033 <= coverage.difference <= 0.95 + 0.02 + 0.033
    assert coverage.score >= 0.89
