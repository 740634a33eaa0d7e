"""Classification of image files with a loaded model."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from phinas.deployment.image_paths import ImagePath
from phinas.deployment.loaded_model import LoadedModel
from phinas.experiment.cpu_threads import count_available_cpus
from phinas.training.data.decoding import BadImage, Pixels

_BATCH = 64  # largest batch, in images
_PIXELS = 64 * 224 * 224  # largest batch, in pixels


@dataclass(frozen=True)
class ClassProbability:
    """A class and its probability, 0 to 1."""

    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The classes of one image.

    Attributes:
        path: The file.
        label: The name of its class, where a folder says it; otherwise None.
        classes: The most probable classes, the most probable one first.
    """

    path: Path
    label: str | None
    classes: tuple[ClassProbability, ...]

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.classes[0].name

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": str(self.path),
            "label": self.label,
            "classes": [{"name": row.name, "probability": row.probability} for row in self.classes],
        }


@dataclass(frozen=True)
class Classification:
    """The predictions for images.

    Attributes:
        predictions: In the order of the images, without bad ones.
        labels: The index of the class of each prediction's image; None where unknown.
        predicted: The index of the most probable class of each.
        bad_images: The images that could not be read, each with its reason.
    """

    predictions: tuple[Prediction, ...]
    labels: tuple[int | None, ...]
    predicted: tuple[int, ...]
    bad_images: tuple[str, ...]


def classify_images(
    model: LoadedModel,
    images: Sequence[ImagePath],
    *,
    top: int,
    on_progress: Callable[[int, int, str], None],
) -> Classification:
    """Classify images. Those that cannot be read are collected.

    Args:
        model: The model.
        images: The images.
        top: The number of classes of a prediction.
        on_progress: Called with the number of classified images, of all, and "".
    """
    size = model.preprocessing.image_size
    batch = max(1, min(_BATCH, _PIXELS // size**2))
    predictions: list[Prediction] = []
    labels: list[int | None] = []
    predicted: list[int] = []
    bad_images: list[str] = []
    done = 0
    for part in _decode_batches(model, images, batch):
        bad_images += [f"{image.path} {pixels}" for image, pixels in part if _is_bad(pixels)]
        good = [(image, pixels) for image, pixels in part if not isinstance(pixels, BadImage)]
        if good:
            inputs = model.transform.make_batch(np.stack([pixels for _, pixels in good]))
            probabilities = model.probabilities(inputs)
            values, indices = probabilities.topk(min(top, len(model.classes)), dim=1)
            for (image, _), row, columns in zip(
                good, values.tolist(), indices.tolist(), strict=True
            ):
                names = [model.classes[column] for column in columns]
                label = None if image.label is None else model.classes[image.label]
                classes = tuple(map(ClassProbability, names, row))
                predictions.append(Prediction(image.path, label, classes))
                labels.append(image.label)
                predicted.append(columns[0])
        done += len(part)
        on_progress(done, len(images), "")
    return Classification(tuple(predictions), tuple(labels), tuple(predicted), tuple(bad_images))


def _is_bad(pixels: "Pixels | BadImage") -> bool:
    return isinstance(pixels, BadImage)


def _decode_batches(
    model: LoadedModel, images: Sequence[ImagePath], batch: int
) -> "Iterator[list[tuple[ImagePath, Pixels | BadImage]]]":
    """The images in batches, each with its pixels or the reason why it has none."""

    def decode(image: ImagePath) -> "Pixels | BadImage":
        try:
            return model.transform.decode(image.path)
        except BadImage as reason:
            return reason

    with warnings.catch_warnings(), ThreadPoolExecutor(min(4, count_available_cpus())) as pool:
        warnings.simplefilter("ignore")  # Pillow's, on unusual files
        remaining = iter(images)
        while part := list(islice(remaining, batch)):
            yield list(zip(part, pool.map(decode, part), strict=True))
