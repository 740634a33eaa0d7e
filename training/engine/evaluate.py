"""Accuracy on held-out images. `evaluate_test_split` is the one place that opens the test split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from phinas.experiment.measurement import encode_correct
from phinas.training.augmentation.transforms import normalize
from phinas.training.data.dataloader import ImageBatches
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.distributed import SINGLE_PROCESS, DistributedContext
from phinas.training.engine.train_step import OutOfMemoryError, split_batches_on_oom

# images at a time, fewer where they are large: no more pixels than these
_BATCH, _PIXELS = (
    500,
    500 * 224 * 224,
)


@dataclass(frozen=True, slots=True)
class Score:
    """accuracy, top5: fractions; loss: mean cross-entropy; images: how many; per_class_accuracy:
    accuracy among the images of each class;
    correct: which of them are right, of the test split only (`phinas.experiment.measurement`)."""

    accuracy: float
    top5: float
    loss: float
    images: int
    per_class_accuracy: tuple[float, ...] = ()
    correct: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"per_class_accuracy": list(self.per_class_accuracy)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(**dict(data) | {"per_class_accuracy": tuple(data["per_class_accuracy"])})


def evaluate(
    model: nn.Module,
    batches: ImageBatches,
    *,
    classes: int,
    mean: Tensor,
    std: Tensor,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> Score:
    """Score `model` in eval mode, which is how it is left. batches: images at the network's
    resolution, on its device; several processes take the batches by turns, and all get the same
    score."""
    return _score_images(
        model, batches, classes=classes, mean=mean, std=std, distributed=distributed
    )[0]


@torch.inference_mode()
def _score_images(
    model: nn.Module,
    batches: ImageBatches,
    *,
    classes: int,
    mean: Tensor,
    std: Tensor,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> tuple[Score, Tensor]:
    """The score, and of each image whether its class is the best of the logits."""
    model.eval()
    # of each image: top-1 correct, top-5 correct, loss
    per_image = torch.zeros(3, batches.count, device=mean.device)
    batch = max(1, min(_BATCH, _PIXELS // batches.resolution**2))
    for part in torch.split(torch.arange(batches.count), batch)[
        distributed.rank :: distributed.world_size
    ]:
        rows = slice(int(part[0]), int(part[-1]) + 1)
        labels = batches.labels[rows]
        images = normalize(
            batches.take(part.to(labels.device) if batches.resident else part), mean, std
        )
        try:
            logits = split_batches_on_oom(partial(_logits, model, images), len(images), len(images))
        except OutOfMemoryError:
            raise OutOfMemoryError(
                f"out of memory when it scores images of {batches.resolution} pixels; lower the "
                "resolution"
            ) from None
        top_classes = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        per_image[:, rows] = torch.stack(
            [
                top_classes[:, 0],
                top_classes.any(1),
                F.cross_entropy(logits, labels, reduction="none"),
            ]
        )
    correct, top5, loss = distributed.all_reduce_sum(per_image).cpu().double()
    all_labels = batches.labels.cpu()
    counts = torch.bincount(all_labels, minlength=classes).clamp(min=1)
    class_accuracies = torch.bincount(all_labels, weights=correct, minlength=classes) / counts
    score = Score(
        float(correct.mean()),
        float(top5.mean()),
        float(loss.mean()),
        batches.count,
        tuple(class_accuracies.tolist()),
    )
    return score, correct.bool()


def _logits(model: nn.Module, images: Tensor, micro_batch_size: int) -> Tensor:
    return torch.cat([model(part).float() for part in torch.split(images, micro_batch_size)])


def evaluate_test_split(
    model: nn.Module, data: PreparedData, *, resolution: int, mean: Tensor, std: Tensor
) -> Score:
    """Score `model` on the test split, with which images are right: for numbers that are reported,
    never for a choice.
    """
    images, labels = data.test_arrays()
    batches = ImageBatches(images, labels, resolution=resolution, device=mean.device)
    score, correct = _score_images(model, batches, classes=len(data.classes), mean=mean, std=std)
    return replace(score, correct=encode_correct(correct.numpy()))
