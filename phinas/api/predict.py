"""`phinas predict`: the classes of image files, and their accuracy where folders say the labels."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phinas.experiment.artifacts.trained_weights import TrainedWeights
from phinas.experiment.csv_text import make_csv_text
from phinas.experiment.errors import InputError
from phinas.reports.formatting import pluralize
from phinas.reports.sentences.learning_problem import describe_learning_problem
from phinas.terminal.text_table import Column, format_table

if TYPE_CHECKING:
    from phinas.deployment.classify import Prediction
    from phinas.deployment.label_scores import ClassScores, LabelScores

_MAX_MATRIX_CLASSES = 12
_MAX_CONFUSIONS = 10


@dataclass(frozen=True)
class PredictResult:
    """The predictions of a model for images.

    Attributes:
        model: The name of the model, as it was passed.
        network_id: The identifier of the network.
        predictions: One for each image that could be read.
        bad_images: The images that could not be read, each with its reason.
        scores: The comparison with the labels; None where no folder has the name of a class.
        weights: The training that the weights are from, and its score; None where it is unknown.
        skipped: A line about files that are not images, or nothing.
    """

    model: str
    network_id: str
    predictions: tuple["Prediction", ...]
    bad_images: tuple[str, ...]
    scores: "LabelScores | None"
    weights: TrainedWeights | None = None
    skipped: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """What a reader of the scores must know."""
        problem = self.scores.learning_problem if self.scores else None
        remark = describe_learning_problem(problem, of_fit=False)
        return [remark] if remark else []

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "network_id": self.network_id,
            "weights": self.weights.to_dict() if self.weights else None,
            "predictions": [row.to_dict() for row in self.predictions],
            "bad_images": list(self.bad_images),
            "scores": None if self.scores is None else self.scores.to_dict(),
            "remarks": self.remarks,
        }

    def to_csv(self) -> str:
        """A CSV table with a row for each image: its path, its label, and the classes."""
        top = max((len(row.classes) for row in self.predictions), default=0)
        names = [
            name for rank in range(1, top + 1) for name in (f"class_{rank}", f"probability_{rank}")
        ]
        rows = []
        for row in self.predictions:
            values = (value for each in row.classes for value in (each.name, each.probability))
            rows.append([str(row.path), row.label or "", *values])
        return make_csv_text(["path", "label", *names], rows)


def predict(
    model: str | Path,
    *images: str | Path,
    top: int = 3,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> PredictResult:
    """Classify images with a trained network, and measure its accuracy where labels are known.

    Labels are known where images are in folders with the names of the classes.

    Args:
        model: The directory of a fit, RUN:NAME for a trained member of a run's family (such as
            "runs/photos:b1"), or an exported ONNX file.
        images: Image files, and folders of them.
        top: The number of most probable classes for each image.
        on_progress: Called with the number of classified images, of all, and a text.

    Returns:
        The predictions, the images that could not be read, and the scores.

    Raises:
        InputError: There is no trained network of this name, a path does not exist, or no image
            could be read.

    Examples:
        >>> result = phinas.predict("runs/b0", "photos/test")
        >>> result.scores.accuracy
        0.914
    """
    if top < 1:
        raise InputError(f"top: {top} is less than 1; use 1 or more")
    from phinas.api.load_model import load_model
    from phinas.deployment.image_paths import list_images, require_paths

    require_paths(images)
    loaded = load_model(model)
    from phinas.deployment.classify import classify_images
    from phinas.deployment.label_scores import score_labels

    paths, skipped = list_images(images, loaded.classes)
    result = classify_images(loaded, paths, top=top, on_progress=on_progress)
    if not result.predictions:
        raise InputError(
            f"images: none of {pluralize(len(paths), 'image')} can be read: {result.bad_images[0]}"
        )
    labeled = [
        (label, predicted)
        for label, predicted in zip(result.labels, result.predicted, strict=True)
        if label is not None
    ]
    scores = None
    if labeled:
        labels, predicted = zip(*labeled, strict=True)
        scores = score_labels(labels, predicted, loaded.classes)
    return PredictResult(
        str(model),
        loaded.network_id,
        result.predictions,
        result.bad_images,
        scores,
        weights=loaded.origin,
        skipped=skipped,
    )


def prediction_lines(result: PredictResult) -> list[str]:
    """The predictions as text, a line for each image."""
    return [_describe_prediction(row) for row in result.predictions]


def _describe_prediction(row: "Prediction") -> str:
    classes = ", ".join(f"{each.name} {each.probability:.1%}" for each in row.classes)
    is_wrong = row.label is not None and row.label != row.name
    return f"{row.path}: {classes}" + (f" (label: {row.label})" if is_wrong else "")


def score_lines(result: PredictResult, *, width: int | None = None) -> list[str]:
    """The comparison with the labels as text; nothing where there are no labels.

    Args:
        width: Characters of a line of the tables; None: unlimited.
    """
    scores = result.scores
    if scores is None:
        return []
    low, high = scores.interval
    num_unlabeled = len(result.predictions) - scores.images
    unlabeled = f"; {pluralize(num_unlabeled, 'image')} without a label" if num_unlabeled else ""
    columns = [Column("class", "left"), *map(Column, ("images", "recall", "precision", "F1"))]
    rows = [
        [row.name, f"{row.images:,}", *map(_percent, (row.recall, row.precision, row.f1))]
        for row in scores.classes
        if row.images or row.precision is not None
    ]
    return [
        f"accuracy {scores.accuracy:.1%} on {pluralize(scores.images, 'labeled image')} (95% "
        f"interval {low:.1%} to {high:.1%}), balanced accuracy {scores.balanced_accuracy:.1%}, "
        f"macro F1 {scores.macro_f1:.1%}{unlabeled}",
        *result.remarks,
        "",
        *format_table(columns, rows, width=width),
        "",
        *_confusion_lines(scores, width),
    ]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _confusion_lines(scores: "LabelScores", width: int | None) -> list[str]:
    """The confusion matrix; of more than twelve classes the most frequent errors."""
    occurring = [
        index for index, row in enumerate(scores.classes) if row.images or row.precision is not None
    ]
    if len(occurring) > _MAX_MATRIX_CLASSES:
        return _frequent_errors(scores.confusion, scores.classes)
    columns = [Column("label \\ prediction", "left")]
    columns += [Column(scores.classes[index].name) for index in occurring]
    rows = [
        [
            scores.classes[label].name,
            *(f"{scores.confusion[label][index]:,}" for index in occurring),
        ]
        for label in occurring
    ]
    return ["confusion matrix (images)", *format_table(columns, rows, width=width)]


def _frequent_errors(
    confusion: tuple[tuple[int, ...], ...], classes: tuple["ClassScores", ...]
) -> list[str]:
    errors = sorted(
        (-count, label, predicted)
        for label, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if count and label != predicted
    )
    lines = [
        f"  {classes[label].name} predicted as {classes[predicted].name}: "
        f"{pluralize(-count, 'image')}"
        for count, label, predicted in errors[:_MAX_CONFUSIONS]
    ]
    return ["most frequent errors", *lines] if lines else ["no errors"]
