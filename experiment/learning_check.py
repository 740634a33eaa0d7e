"""Whether predictions for labeled images show that a network has learned little.

This is the only rule for it. There are two cases, each with a margin, so that a good network is not
named, neither for few images nor for classes of very different sizes:

one class
    Most images of the other classes are classified as the most frequent prediction: the 95%
    interval of that fraction is above 0.7. Whether that class is the largest one plays no role.
no better than the largest class
    The accuracy is not significantly above that of always predicting the largest class. And the
    95% interval of the balanced accuracy ends below 0.3 of the way from chance to 1, since a useful
    network for one very large class need not have a higher accuracy than that class.

Neither holds with fewer than ten images, nor where fewer than two classes, or fewer than half of
the network's, have images: the images of one class may all look like another one.

Measured: the fraction of 2,000 test splits in which a network is named, by the number of images
(`simulate` in tests/experiment_tests/test_learning_check.py). The percentages are the images of
each class that are classified correctly.

|                                   |    12|    30|   100|   300| 1,000|
|-----------------------------------|-----:|-----:|-----:|-----:|-----:|
|2 classes, 75%                     |  0.4%|  0.1%|  0.0%|  0.0%|  0.0%|
|3 classes, 60%                     |  1.2%|  0.9%|  0.0%|  0.0%|  0.0%|
|10 classes, 40%                    |  1.8%|  1.7%|  0.0%|  0.0%|  0.0%|
|95% in one class, 93 and 80%       |  0.0%|  0.1%|  0.0%|  0.0%|  0.0%|
|99% in one class, 98 and 70%       |  0.0%|  0.0%|  0.0%|  0.0%|  0.0%|
|67% in one of 7 classes, 30 to 85% |  0.0%|  0.3%|  0.2%|  0.2%|  0.0%|
|2 classes, 50% (poor)              | 18.2%| 41.8%| 83.9%| 99.4%| 99.2%|
|10 classes, 10% (poor)             | 55.5%| 90.8%| 99.9%|100.0%| 99.9%|
|95% in one class, always it (poor) |  0.0%|  0.2%| 38.9%| 99.7%|100.0%|
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from phinas.experiment.artifacts.learning_problem import LearningProblem
from phinas.experiment.statistics.intervals import Z_95, wilson_interval

_MIN_IMAGES = 10
_MIN_COLLAPSE = 0.7
_MAX_SKILL = 0.3


def find_learning_problem(
    confusion: Iterable[tuple[int, int, int]], classes: Sequence[str]
) -> LearningProblem | None:
    """Check predictions.

    Args:
        confusion: Label, predicted class and number of images, for each pair that occurs.
        classes: Names of the classes.

    Returns:
        The problem, or None where there is none.
    """
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for label, predicted, count in confusion:
        counts[label, predicted] += count
    images = int(counts.sum())
    labels, predictions, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    if images < _MIN_IMAGES or np.count_nonzero(labels) < max(2, len(classes) / 2):
        return None

    def problem(case: str, index: int) -> LearningProblem:
        return LearningProblem.model_validate(
            {
                "case": case,
                "class_name": classes[index],
                "predicted": float(predictions[index] / images),
                "labeled": float(labels[index] / images),
                "accuracy": float(hits.sum() / images),
                "images": images,
            }
        )

    most_frequent = int(predictions.argmax())
    num_others = images - int(labels[most_frequent])
    misclassified = int(predictions[most_frequent] - hits[most_frequent])
    if wilson_interval(misclassified / num_others, num_others)[0] > _MIN_COLLAPSE:
        return problem("one_class", most_frequent)
    largest = int(labels.argmax())
    if _is_no_better(labels, hits):
        return problem("no_better_than_largest_class", largest)
    return None


def _is_no_better(labels: np.ndarray, hits: np.ndarray) -> bool:
    """Whether a network is no better than always predicting the largest class.

    Args:
        labels: (classes,): number of images of each class.
        hits: (classes,): how many of them are classified correctly.
    """
    largest_fraction = float(labels.max() / labels.sum())
    low, _ = wilson_interval(float(hits.sum() / labels.sum()), int(labels.sum()))
    counts, correct = labels[labels > 0], hits[labels > 0]
    chance = 1 / len(counts)
    # with one more success and one more failure, the variance of few images is not 0
    smoothed = (correct + 1) / (counts + 2)
    error = math.sqrt((smoothed * (1 - smoothed) / counts).sum()) / len(counts)
    highest = float((correct / counts).mean()) + Z_95 * error
    return low <= largest_fraction and (highest - chance) / (1 - chance) < _MAX_SKILL
