"""Accuracy on held-out images. `evaluate_final` is the one place that opens the test split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from phinas.experiment.measurement import encode_correct
from phinas.training.augmentation.transforms import normalise
from phinas.training.data.dataloader import Batches
from phinas.training.data.prepared_dataset import PreparedData
from phinas.training.engine.distributed import ALONE, Ranks
from phinas.training.engine.train_step import OutOfMemory, in_parts

_BATCH, _PIXELS = (
    500,
    500 * 224 * 224,
)  # images at a time, fewer where they are large: no more pixels than these


@dataclass(frozen=True, slots=True)
class Score:
    """accuracy, top5: fractions; loss: mean cross-entropy; images: how many; by_class: accuracy
    among the images of each class;
    correct: which of them are right, of the test split only (`phinas.experiment.measurement`)."""

    accuracy: float
    top5: float
    loss: float
    images: int
    by_class: tuple[float, ...] = ()
    correct: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"by_class": list(self.by_class)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(**dict(data) | {"by_class": tuple(data["by_class"])})


def evaluate(
    model: nn.Module,
    held: Batches,
    *,
    classes: int,
    mean: Tensor,
    std: Tensor,
    ranks: Ranks = ALONE,
) -> Score:
    """Score `model` in eval mode, which is how it is left. held: images at the network's
    resolution, on its device; several processes take the batches by turns, and all get the same
    score."""
    return _score(model, held, classes=classes, mean=mean, std=std, ranks=ranks)[0]


@torch.inference_mode()
def _score(
    model: nn.Module,
    held: Batches,
    *,
    classes: int,
    mean: Tensor,
    std: Tensor,
    ranks: Ranks = ALONE,
) -> tuple[Score, Tensor]:
    """The score, and of each image whether its class is the best of the logits."""
    model.eval()
    seen = torch.zeros(
        3, held.count, device=mean.device
    )  # of each image: right, among the best five, loss
    batch = max(1, min(_BATCH, _PIXELS // held.side**2))
    for part in torch.split(torch.arange(held.count), batch)[ranks.rank :: ranks.count]:
        run = slice(int(part[0]), int(part[-1]) + 1)
        truth = held.labels[run]
        images = normalise(held.take(part.to(truth.device) if held.resident else part), mean, std)
        try:
            logits = in_parts(partial(_logits, model, images), len(images), len(images))
        except OutOfMemory:
            raise OutOfMemory(
                f"out of memory when it scores images of {held.side} pixels; lower the resolution"
            ) from None
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
        seen[:, run] = torch.stack(
            [best[:, 0], best.any(1), F.cross_entropy(logits, truth, reduction="none")]
        )
    right, top5, loss = ranks.sum(seen).cpu().double()
    labels = held.labels.cpu()
    counts = torch.bincount(labels, minlength=classes).clamp(min=1)
    of_class = torch.bincount(labels, weights=right, minlength=classes) / counts
    score = Score(
        float(right.mean()),
        float(top5.mean()),
        float(loss.mean()),
        held.count,
        tuple(of_class.tolist()),
    )
    return score, right.bool()


def _logits(model: nn.Module, images: Tensor, at_a_time: int) -> Tensor:
    return torch.cat([model(part).float() for part in torch.split(images, at_a_time)])


def evaluate_final(
    model: nn.Module, data: PreparedData, *, side: int, mean: Tensor, std: Tensor
) -> Score:
    """Score `model` on the test split, with which images are right: for numbers that are reported,
    never for a choice.
    """
    images, labels = data.test_arrays()
    held = Batches(images, labels, side=side, device=mean.device)
    score, right = _score(model, held, classes=len(data.classes), mean=mean, std=std)
    return replace(score, correct=encode_correct(right.numpy()))
