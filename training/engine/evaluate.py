"""Evaluation of a network on validation or test images.

`evaluate_test_split` is the only function that reads the test split.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from phinas.experiment.measurement_arrays import encode_correct, encode_resamples
from phinas.experiment.statistics.classification_metrics import ClassCounts, resample_scores
from phinas.training.augmentation.transforms import normalize
from phinas.training.data.dataloader import ImageBatches
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.distributed import SINGLE_PROCESS, DistributedContext
from phinas.training.engine.train_step import OutOfMemoryError, autocast, split_batches_on_oom

# Largest batch, in images. A GPU has to be given many small images at a time to be busy.
_BATCH = {"cpu": 500, "mps": 500, "cuda": 5000}
_PIXELS = 500 * 224 * 224  # largest batch, in pixels; large images have smaller batches


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The scores of a network on the images of a split.

    Args:
        accuracy: fraction of images that are classified correctly.
        top5: fraction of images whose class is among the five highest logits (top-5 accuracy).
        loss: mean cross-entropy.
        images: number of images.
        per_class_accuracy: accuracy among the images of each class (its recall); 0 for a class
            without images.
        balanced_accuracy: mean recall of the classes that have images.
        macro_f1: mean F1 of the classes that occur in the labels or the predictions.
        resampled_scores: bootstrap replicates of the score of the training's metric, as text
            (`measurement_arrays.encode_resamples`); "" for the metric accuracy, which needs none.
        correct: which images are classified correctly, as text (`encode_correct`); "" except on the
            test split with the metric accuracy.
        confusion: label, predicted class and number of images, for each pair that occurs; () where
            it was not counted.
    """

    accuracy: float
    top5: float
    loss: float
    images: int
    per_class_accuracy: tuple[float, ...]
    balanced_accuracy: float
    macro_f1: float
    resampled_scores: str = ""
    correct: str = ""
    confusion: tuple[tuple[int, int, int], ...] = ()

    def score(self, metric: str) -> float:
        """Return the score for the metric "accuracy", "balanced_accuracy" or "macro_f1"."""
        scores = {
            "accuracy": self.accuracy,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
        }
        return scores[metric]

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as plain data."""
        lists = {
            "per_class_accuracy": list(self.per_class_accuracy),
            "confusion": [*map(list, self.confusion)],
        }
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore an evaluation from the data of `to_dict`."""
        tuples = {
            "per_class_accuracy": tuple(data["per_class_accuracy"]),
            "confusion": tuple(map(tuple, data["confusion"])),
        }
        return cls(**dict(data) | tuples)


def evaluate(
    model: nn.Module,
    batches: ImageBatches,
    *,
    classes: int,
    mean: Tensor,
    std: Tensor,
    metric: str = "accuracy",
    dtype: torch.dtype = torch.float32,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> Evaluation:
    """Evaluate `model` in eval mode, and leave it in eval mode.

    Args:
        model: the model, on the device of `mean`.
        batches: images at the network's resolution, for the same device.
        classes: number of classes.
        mean, std: (1, channels, 1, 1), for normalizing the images.
        metric: the metric of the bootstrap replicates; accuracy has none.
        dtype: data type of the activations.
        distributed: rank and world size of this process. Each process evaluates a part of the
            batches, and all return the same result.
    """
    per_image = _evaluate_images(
        model, batches, mean=mean, std=std, dtype=dtype, distributed=distributed
    )
    return _summarize(per_image, batches.labels, classes=classes, metric=metric)


def _summarize(per_image: Tensor, labels: Tensor, *, classes: int, metric: str) -> Evaluation:
    """Compute the scores from the results of `_evaluate_images`."""
    correct, top5, loss, predictions = per_image
    label_array, prediction_array = labels.cpu().numpy(), predictions.long().numpy()
    counts = ClassCounts.count(label_array, prediction_array, classes=classes)
    resampled_scores = ""
    if metric != "accuracy":
        resampled_scores = encode_resamples(
            resample_scores(metric, label_array, prediction_array, classes=classes)
        )
    return Evaluation(
        accuracy=float(correct.mean()),
        top5=float(top5.mean()),
        loss=float(loss.mean()),
        images=len(label_array),
        per_class_accuracy=tuple(counts.recall.tolist()),
        balanced_accuracy=float(counts.score("balanced_accuracy")),
        macro_f1=float(counts.score("macro_f1")),
        resampled_scores=resampled_scores,
    )


@torch.inference_mode()
def _evaluate_images(
    model: nn.Module,
    batches: ImageBatches,
    *,
    mean: Tensor,
    std: Tensor,
    dtype: torch.dtype = torch.float32,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> Tensor:
    """Evaluate a model on each image.

    Returns:
        Float64 (4, images) on the CPU. Rows: top-1 correct, top-5 correct, cross-entropy, predicted
        class.
    """
    model.eval()
    per_image = torch.zeros(4, batches.count, device=mean.device)
    batch = max(1, min(_BATCH[mean.device.type], _PIXELS // batches.resolution**2))
    for start in range(0, batches.count, batch)[distributed.rank :: distributed.world_size]:
        rows = slice(start, min(start + batch, batches.count))
        labels = batches.labels[rows]
        # the indices of a streamed set are read on the host
        device = labels.device if batches.resident else None
        images = normalize(
            batches.take(torch.arange(rows.start, rows.stop, device=device)), mean, std
        )
        try:
            logits = split_batches_on_oom(
                partial(_logits, model, images, dtype), len(images), len(images)
            )
        except OutOfMemoryError:
            raise OutOfMemoryError(
                "out of memory with the smallest batch in the evaluation of images of "
                f"{batches.resolution} px; lower the resolution"
            ) from None
        top_classes = logits.topk(min(5, logits.shape[1]), dim=1).indices
        is_label = top_classes == labels[:, None]
        per_image[:, rows] = torch.stack(
            [
                is_label[:, 0],
                is_label.any(1),
                F.cross_entropy(logits, labels, reduction="none"),
                top_classes[:, 0],
            ]
        )
    return distributed.all_reduce_sum(per_image).cpu().double()


def _logits(model: nn.Module, images: Tensor, dtype: torch.dtype, micro_batch_size: int) -> Tensor:
    with autocast(images.device, dtype):
        parts = [model(part) for part in torch.split(images, micro_batch_size)]
    return torch.cat(parts).float()


def evaluate_test_split(
    model: nn.Module,
    data: PreparedData,
    *,
    resolution: int,
    mean: Tensor,
    std: Tensor,
    metric: str = "accuracy",
    count_errors: bool = False,
) -> Evaluation:
    """Evaluate `model` on the test split, in float32 as it is used later. The scores are only
    reported, and never used for training or model selection.

    Args:
        model: the model, on the device of `mean`.
        data: the prepared images.
        resolution: resolution of the network, in px.
        mean, std: (1, channels, 1, 1), for normalizing the images.
        metric: the metric of the bootstrap replicates; accuracy has none.
        count_errors: whether the result has the confusion matrix.
    """
    images, labels = data.test_arrays()
    batches = ImageBatches(images, labels, resolution=resolution, device=mean.device)
    per_image = _evaluate_images(model, batches, mean=mean, std=std)
    evaluation = _summarize(per_image, batches.labels, classes=len(data.classes), metric=metric)
    if count_errors:
        predictions = per_image[3].long().numpy()
        evaluation = replace(evaluation, confusion=_confusion(np.asarray(labels), predictions))
    if metric != "accuracy":
        return evaluation
    return replace(evaluation, correct=encode_correct(per_image[0].bool().numpy()))


def _confusion(labels: np.ndarray, predictions: np.ndarray) -> tuple[tuple[int, int, int], ...]:
    """Label, predicted class and number of images, for each pair that occurs."""
    pairs, counts = np.unique(np.stack([labels, predictions]), axis=1, return_counts=True)
    return tuple(zip(*pairs.tolist(), counts.tolist(), strict=True))
