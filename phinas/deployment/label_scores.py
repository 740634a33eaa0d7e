"""Scores of predictions for images with labels: accuracy, each class, and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phinas.experiment.artifacts.learning_problem import LearningProblem
from phinas.experiment.learning_check import find_learning_problem
from phinas.experiment.statistics.classification_metrics import ClassCounts
from phinas.experiment.statistics.intervals import wilson_interval


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class.

    Attributes:
        name: The name of the class.
        images: The number of images with this label.
        recall: The fraction of them that are predicted as this class; None without images.
        precision: The fraction of the images predicted as this class that have this label; None
            without such predictions.
        f1: The harmonic mean of recall and precision; None where neither is known.
    """

    name: str
    images: int
    recall: float | None
    precision: float | None
    f1: float | None


@dataclass(frozen=True)
class LabelScores:
    """The scores of predictions for images with labels.

    Attributes:
        images: The number of images with a label.
        accuracy: The fraction of them that are classified correctly.
        interval: Its 95% interval, given the number of images.
        balanced_accuracy: The mean recall of the classes that have images.
        macro_f1: The mean F1 of the classes that occur in the labels or the predictions.
        classes: The scores of each class.
        confusion: The number of images by label (first index) and prediction (second index).
        learning_problem: What shows that the network has learned little; None where nothing does.
    """

    images: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    learning_problem: LearningProblem | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "images": self.images,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "classes": [
                {
                    "name": row.name,
                    "images": row.images,
                    "recall": row.recall,
                    "precision": row.precision,
                    "f1": row.f1,
                }
                for row in self.classes
            ],
            "confusion": [list(row) for row in self.confusion],
            "learning_problem": self.learning_problem.to_dict() if self.learning_problem else None,
        }


def score_labels(
    labels: Sequence[int], predictions: Sequence[int], classes: Sequence[str]
) -> LabelScores:
    """Compare predictions with labels.

    Args:
        labels: The index of the class of each image; at least one.
        predictions: The index of the predicted class of each image.
        classes: Names of the classes.
    """
    label_array, prediction_array = (
        np.asarray(values, dtype=np.int64) for values in (labels, predictions)
    )
    size = len(classes)
    counts = ClassCounts.count(label_array, prediction_array, classes=size)
    confusion = np.bincount(label_array * size + prediction_array, minlength=size * size)
    confusion = confusion.reshape(size, size)
    pairs = np.argwhere(confusion)
    accuracy = float(counts.score("accuracy"))
    rows = zip(classes, counts.labels, counts.predictions, counts.hits, strict=True)
    return LabelScores(
        images=len(label_array),
        accuracy=accuracy,
        interval=wilson_interval(accuracy, len(label_array)),
        balanced_accuracy=float(counts.score("balanced_accuracy")),
        macro_f1=float(counts.score("macro_f1")),
        classes=tuple(
            ClassScores(
                name,
                int(images),
                _fraction(hits, images),
                _fraction(hits, predicted),
                _fraction(2 * hits, images + predicted),
            )
            for name, images, predicted, hits in rows
        ),
        confusion=tuple(map(tuple, confusion.tolist())),
        learning_problem=find_learning_problem(
            [(int(row), int(column), int(confusion[row, column])) for row, column in pairs], classes
        ),
    )


def _fraction(part: float, total: float) -> float | None:
    return float(part / total) if total else None
