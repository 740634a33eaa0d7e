"""Tests of the rule that a network has learned little, and how often it names a good network."""

import numpy as np
import pytest

from phinas.experiment.learning_check import find_learning_problem

EVEN = {count: (np.full(count, 1 / count)) for count in (2, 3, 10)}
SKIN_LESIONS = [0.67, 0.11, 0.11, 0.05, 0.03, 0.02, 0.01]
# fraction of the images of each class, and of those that are classified correctly
GOOD_NETWORKS = {
    "2 classes, 75%": (EVEN[2], [0.75] * 2),
    "3 classes, 60%": (EVEN[3], [0.6] * 3),
    "10 classes, 40%": (EVEN[10], [0.4] * 10),
    "95% in one class, 93 and 80%": ([0.95, 0.05], [0.93, 0.8]),
    "99% in one class, 98 and 70%": ([0.99, 0.01], [0.98, 0.7]),
    "67% in one of 7 classes": (SKIN_LESIONS, [0.85, 0.4, 0.5, 0.4, 0.3, 0.5, 0.3]),
}
POOR_NETWORKS = {
    "2 classes, 50%": (EVEN[2], [0.5] * 2),
    "10 classes, 10%": (EVEN[10], [0.1] * 10),
    "95% in one class, always that one": ([0.95, 0.05], [1.0, 0.0]),
}
NUM_IMAGES = (6, 12, 30, 100, 1000)


def simulate(fractions, recalls, *, images, splits=200):
    """The fraction of test splits in which a network is named."""
    random = np.random.default_rng(images)
    count = len(fractions)
    named = 0
    for _ in range(splits):
        labels = random.choice(count, size=images, p=fractions)
        is_correct = random.random(images) < np.array(recalls)[labels]
        errors = (labels + random.integers(1, count, size=images)) % count
        predictions = np.where(is_correct, labels, errors)
        named += check(labels, predictions, count) is not None
    return named / splits


def check(labels, predictions, count):
    pairs, counts = np.unique(np.stack([labels, predictions]), axis=1, return_counts=True)
    confusion = [(*map(int, pair), int(n)) for pair, n in zip(pairs.T, counts, strict=True)]
    return find_learning_problem(confusion, [f"class {index}" for index in range(count)])


@pytest.mark.parametrize("images", NUM_IMAGES)
@pytest.mark.parametrize("name", GOOD_NETWORKS)
def test_good_networks_are_seldom_named(name, images):
    assert simulate(*GOOD_NETWORKS[name], images=images) <= (0.04 if images < 100 else 0.015)


@pytest.mark.parametrize("name", POOR_NETWORKS)
def test_poor_networks_are_named(name):
    assert simulate(*POOR_NETWORKS[name], images=300) >= 0.97


def test_network_that_predicts_one_class_is_named():
    problem = find_learning_problem([(0, 0, 79), (1, 0, 46), (1, 1, 1)], ["cat", "dog"])
    assert problem is not None
    assert (problem.case, problem.class_name) == ("one_class", "cat")
    assert problem.predicted == pytest.approx(125 / 126)
    assert problem.labeled == pytest.approx(79 / 126)
    assert problem.accuracy == pytest.approx(80 / 126)


def test_predicted_class_need_not_be_the_largest():
    problem = find_learning_problem([(0, 1, 80), (1, 1, 20)], ["cat", "dog"])
    assert problem is not None
    assert problem.class_name == "dog"


def test_images_of_one_class_say_nothing():
    assert find_learning_problem([(0, 1, 500)], ["husky", "wolf"]) is None
    confusion = [(0, 5, 100), (1, 5, 100)]
    assert find_learning_problem(confusion, [f"class {index}" for index in range(10)]) is None


def test_no_images_say_nothing():
    assert find_learning_problem([], ["cat", "dog"]) is None
