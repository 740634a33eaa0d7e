"""Classification metrics from labels and predictions, and bootstrap replicates of them.

Definitions are scikit-learn's. The balanced accuracy is the mean recall of the classes that have
images. Macro F1 is the mean F1 of the classes that occur in the labels or the predictions
(`f1_score(average="macro", zero_division=0)`).

A replicate is the score on a resample of the images (Efron, "Bootstrap methods", 1979). The
resamples depend on the number of images only, so networks that are scored on the same images have
the same resamples. The difference of two networks then has a replicate for each resample, and its
standard error is the standard deviation of these replicates.

The plain bootstrap underestimates the variance if a class has few images: a network that classifies
all six of them correctly does so in every resample. So each class that has images gets
pseudo-images with a total weight of 0.75 on average. For each network, resample and class it is
random whether they are classified correctly. (For proportions, Agresti and Min add one image in
total: "Simple improved confidence intervals for comparing matched proportions", Statistics in
Medicine, 2005.)

Measured: coverage of 95% intervals, 1,000 test splits each (`simulate` in
tests/experiment_tests/test_classification_metrics.py). There are five classes with 50, 25, 15, 7
and 3% of the images. Two networks classify 66 to 90% and 76 to 92% of the images of a class
correctly ("moderate"), or 88 to 98% and 95 to 99% ("near 1"). Of the variance that decides whether
an image is classified correctly, 60% is common to both networks, or 90% ("shared"). Differences
have a normal interval, scores `bootstrap_interval`. The width is that of the interval of the
difference, in points.

|                      |balanced accuracy        |macro F1                 |
|networks, images      |difference| score | width|difference| score | width|
|----------------------|---------:|------:|-----:|---------:|------:|-----:|
|moderate, 200         |     96.5%|  93.5%|  21.9|     96.1%|  92.6%|  20.4|
|moderate, 1,000       |     96.0%|  94.3%|   9.4|     95.7%|  93.5%|   8.7|
|moderate, shared, 200 |     97.7%|  92.0%|  17.8|     97.2%|  91.5%|  16.8|
|moderate, shared, 1,000|    95.4%|  93.8%|   7.0|     96.2%|  93.3%|   6.7|
|near 1, 200           |     99.3%|  96.1%|  16.1|     99.5%|  96.2%|  15.3|
|near 1, 1,000         |     94.7%|  94.7%|   6.1|     95.7%|  94.7%|   5.6|
|near 1, shared, 200   |     99.5%|  95.8%|  14.4|     99.4%|  96.5%|  13.9|
|near 1, shared, 1,000 |     93.6%|  93.9%|   5.1|     96.1%|  94.7%|   4.8|

Without pseudo-images the coverage was 80 to 94% for differences of balanced accuracies, and 73% for
scores near 1 with percentile intervals (200 images). With a weight of 0.5 it was 91.9 to 97.9% for
differences.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 200
_PSEUDO_IMAGES = 0.75  # mean weight of the pseudo-images of a class in a resample
METRICS = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Number of images of each class, weighted or not, as arrays of shape (..., classes).

    Args:
        labels: images whose label is the class.
        predictions: images that are predicted as the class.
        hits: images of the class that are predicted correctly.
    """

    labels: NDArray[np.float64]
    predictions: NDArray[np.float64]
    hits: NDArray[np.float64]

    @classmethod
    def count(
        cls, labels: NDArray[np.int64], predictions: NDArray[np.int64], *, classes: int
    ) -> "ClassCounts":
        """Count labels and predictions, both of shape (N,), from 0 to classes - 1."""
        return cls(
            *(
                np.bincount(values, minlength=classes).astype(np.float64)
                for values in (labels, predictions, labels[labels == predictions])
            )
        )

    @property
    def recall(self) -> NDArray[np.float64]:
        """(..., classes): fraction of the images of a class that are predicted correctly; 0 for a
        class without images.
        """
        return self.hits / np.where(self.labels > 0, self.labels, 1.0)

    def score(self, metric: str) -> NDArray[np.float64]:
        """Return the score for a metric, of shape (...).

        Args:
            metric: "accuracy", "balanced_accuracy" or "macro_f1".

        Raises:
            ValueError: the metric is unknown.
        """
        if metric == "accuracy":
            return self.hits.sum(-1) / self.labels.sum(-1)
        if metric == "balanced_accuracy":
            return self.recall.sum(-1) / (self.labels > 0).sum(-1)
        if metric == "macro_f1":
            total = self.labels + self.predictions
            f1 = 2 * self.hits / np.where(total > 0, total, 1.0)
            return f1.sum(-1) / (total > 0).sum(-1)
        raise ValueError(f"metric: {metric!r} is not one of {', '.join(METRICS)}")


def resample_scores(
    metric: str, labels: NDArray[np.int64], predictions: NDArray[np.int64], *, classes: int
) -> NDArray[np.float32]:
    """Compute bootstrap replicates of a score.

    Args:
        metric: "accuracy", "balanced_accuracy" or "macro_f1".
        labels, predictions: (N,), from 0 to classes - 1.
        classes: number of classes.

    Returns:
        (NUM_RESAMPLES,). For two networks that are scored on the same images, replicates with the
        same index are of the same resample.
    """
    images = len(labels)
    resamples = np.random.default_rng(images)
    has_images = np.bincount(labels, minlength=classes) > 0
    coins = np.random.default_rng(zlib.crc32(predictions.astype("<i8").tobytes()))
    scores = np.empty(NUM_RESAMPLES, dtype=np.float32)
    for number in range(NUM_RESAMPLES):
        positions = resamples.integers(0, images, images)
        counts = ClassCounts.count(labels[positions], predictions[positions], classes=classes)
        pseudo_images = _PSEUDO_IMAGES * has_images * resamples.poisson(1.0, classes)
        pseudo_hits = pseudo_images * coins.integers(0, 2, classes)
        # an incorrect pseudo-image is predicted as the next class
        pseudo_predictions = pseudo_hits + np.roll(pseudo_images - pseudo_hits, 1)
        scores[number] = ClassCounts(
            counts.labels + pseudo_images,
            counts.predictions + pseudo_predictions,
            counts.hits + pseudo_hits,
        ).score(metric)
    return scores
