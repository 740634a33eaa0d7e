"""The model card of a fit: the network, its data and training, its scores, and what they leave out.

The text is in `templates/model_card.md.jinja`. The front matter is what the Hugging Face Hub reads:
tags, and a `model-index` with the scores on the test split. It names no license, as that is for the
owner of data and weights to choose.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from phinas.experiment.artifacts.fit import FitMeasurement, FitRecord
from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.experiment.fit_dir import FitDir
from phinas.experiment.measurement import Measurement
from phinas.experiment.run_dir import write_atomic
from phinas.experiment.schema.config import Recipe
from phinas.experiment.statistics.intervals import wilson_interval
from phinas.reports.formatting import pluralize
from phinas.reports.sentences.duplicates import describe_dropped, list_leaks
from phinas.reports.sentences.learning_problem import describe_learning_problem
from phinas.reports.sentences.pretrained import describe_pretrained
from phinas.reports.sentences.validation_gap import describe_validation_gap
from phinas.space.yaml_io import dump_yaml

if TYPE_CHECKING:
    from phinas.training.data.prepared_dataset import PreparedData

_NUM_WORST_CLASSES = 5
_MAX_MATRIX_CLASSES = 12  # with more, the most frequent errors are listed instead
_NUM_ERRORS = 10
_HUB_PREFIX = "hf:"
_OPTIMIZERS = {
    "sgd": "SGD with Nesterov momentum 0.9",
    "adamw": "AdamW",
    "rmsprop": "RMSProp as in TensorFlow",
}
_AUGMENTATIONS = {
    "min_crop_area": "random crops with a minimum area of {:g}",
    "cutout_size": "Cutout {:g}",
    "randaugment_magnitude": "RandAugment {:g}",
    "mixup": "mixup {:g}",
    "cutmix": "CutMix {:g}",
}


@dataclass(frozen=True)
class ClassScore:
    """The result of one class on the test split.

    Attributes:
        name: The name of the class.
        images: The number of its test images.
        accuracy: The fraction of them that are classified correctly.
    """

    name: str
    images: int
    accuracy: float


@dataclass(frozen=True)
class _WorstClass:
    """A row of the table of classes; `low` and `high` are its 95% interval."""

    name: str
    images: int
    accuracy: float
    low: float
    high: float


def write_card(
    fit_dir: FitDir,
    record: FitRecord,
    data: "PreparedData",
    result: FitMeasurement,
    *,
    classes: Sequence[ClassScore],
    confusion: Sequence[tuple[int, int, int]],
    preprocessing: Preprocessing,
) -> None:
    """Write the model card of a fit.

    Args:
        fit_dir: The directory of the fit.
        record: The settings and the network.
        data: The images, with the normalization that was used.
        result: The scores on the test split.
        classes: The accuracy of each class on the test split.
        confusion: The number of test images by label and prediction.
        preprocessing: How an image becomes the input.
    """
    config, measurement = record.config, result.measurement
    name = _network_name(config.spec)
    packages = result.machine.packages
    text = (
        _environment()
        .get_template("model_card.md.jinja")
        .render(
            front_matter=dump_yaml(_front_matter(name, record, data, measurement)),
            name=name,
            record=record,
            config=config,
            recipe=record.recipe,
            optimizer=_OPTIMIZERS[record.recipe.optimizer],
            augmentations=_describe_augmentations(record.recipe),
            flips_images=record.flips_images(allow_flip=data.allow_flip),
            weights_name=_weights_name(config.weights),
            spec=record.spec,
            cost=record.spec.cost(),
            data=data,
            leaks=list_leaks(data),
            dropped_copies=describe_dropped(data.duplicates),
            measurement=measurement,
            interval=measurement.interval(),
            worst_classes=_worst_classes(classes),
            confusion_matrix=_confusion_matrix(len(classes), confusion),
            frequent_errors=_frequent_errors(data.classes, confusion),
            preprocessing=preprocessing,
            reference=describe_pretrained(result.pretrained_reference)
            if result.pretrained_reference
            else "",
            learning_problem=describe_learning_problem(result.learning_problem, of_fit=True),
            validation_gap=describe_validation_gap(measurement, result.validation_images),
            machine=result.machine,
            versions=", ".join(f"{name} {packages[name]}" for name in ("phinas", "torch", "numpy")),
        )
    )
    write_atomic(fit_dir.model_card, text)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("phinas.fit_pipeline", "templates"),
        autoescape=jinja2.select_autoescape(["html"]),  # Markdown is escaped by `line`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "line": _escape_line,
        "count": lambda value: f"{value:,}",
        "percent": lambda value, digits=1: f"{value:.{digits}%}",
        "numbers": lambda values: ", ".join(f"{value:.4f}" for value in values),
        "plural": pluralize,
    }
    return environment


def _escape_line(text: str) -> str:
    """Text of a user on one line, also as a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _network_name(source: str) -> str:
    """The name of a network: of a spec file its name without the ending."""
    return Path(source).stem if source.endswith((".yaml", ".yml")) else source.rpartition(":")[2]


def _weights_name(weights: str | None) -> str:
    """The file of the initial weights without its directory; "" for random weights."""
    if not weights:
        return ""
    return weights if weights.startswith(_HUB_PREFIX) else Path(weights).name


def _front_matter(
    name: str, record: FitRecord, data: "PreparedData", measurement: Measurement
) -> dict[str, Any]:
    source, weights = record.config.data.source, record.config.weights or ""
    is_hub_dataset = source.startswith(_HUB_PREFIX)
    dataset_id = (
        source.removeprefix(_HUB_PREFIX) if is_hub_dataset else re.sub(r"[^\w.-]+", "-", data.name)
    )
    metrics = {
        "accuracy": measurement.score,
        "balanced accuracy": measurement.balanced_accuracy,
    }
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": data.name, "type": dataset_id, "split": "test"},
        "metrics": [
            {"type": "accuracy", "value": round(value, 6), "name": metric}
            for metric, value in metrics.items()
        ],
    }
    front_matter: dict[str, Any] = {
        "library_name": "phinas",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "pytorch"],
    }
    if is_hub_dataset:
        front_matter["datasets"] = [dataset_id]
    if weights.startswith(_HUB_PREFIX):
        front_matter["base_model"] = re.split("[@:]", weights.removeprefix(_HUB_PREFIX))[0]
    return front_matter | {
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [result]}],
    }


def _describe_augmentations(recipe: Recipe) -> list[str]:
    """The augmentations that the recipe uses, each with its strength."""
    return [
        text.format(getattr(recipe, name))
        for name, text in _AUGMENTATIONS.items()
        if getattr(recipe, name)
    ]


def _worst_classes(classes: Sequence[ClassScore]) -> list[_WorstClass]:
    """The classes with the lowest accuracy, with 95% intervals."""
    worst = sorted(classes, key=lambda row: row.accuracy)[:_NUM_WORST_CLASSES]
    return [
        _WorstClass(row.name, row.images, row.accuracy, *wilson_interval(row.accuracy, row.images))
        for row in worst
    ]


def _confusion_matrix(
    num_classes: int, confusion: Sequence[tuple[int, int, int]]
) -> list[list[int]]:
    """The number of images by label (row) and prediction; nothing for many classes."""
    if num_classes > _MAX_MATRIX_CLASSES:
        return []
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for label, predicted, count in confusion:
        matrix[label][predicted] = count
    return matrix


def _frequent_errors(
    classes: Sequence[str], confusion: Sequence[tuple[int, int, int]]
) -> list[tuple[str, str, int]]:
    """The most frequent errors: label, prediction and number of images."""
    errors = [row for row in confusion if row[0] != row[1]]
    errors.sort(key=lambda row: (-row[2], row))
    return [
        (classes[label], classes[predicted], count)
        for label, predicted, count in errors[:_NUM_ERRORS]
    ]
