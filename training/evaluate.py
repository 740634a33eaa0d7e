"""Accuracy on held-out images. `evaluate_final` is the one place that opens the test split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from experiment.measurement import encode_correct
from training.augment import normalise
from training.batches import Batches
from training.prepared import PreparedData

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Score:
    """accuracy, top5: fractions; loss: mean cross-entropy; images: how many; by_class: accuracy among the images of each class;
    correct: which of them are right, of the test split only (`experiment.measurement`)."""

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


def evaluate(model: nn.Module, held: Batches, *, mean: Tensor, std: Tensor) -> Score:
    """Score `model` in eval mode, which is how it is left. held: images at the network's resolution, on its device."""
    return _score(model, held, mean=mean, std=std)[0]


@torch.inference_mode()
def _score(model: nn.Module, held: Batches, *, mean: Tensor, std: Tensor) -> tuple[Score, Tensor]:
    """The score, and of each image whether its class is the best of the logits."""
    model.eval()
    totals = torch.zeros(2, dtype=torch.float64)
    right = []
    for part in torch.split(torch.arange(held.count), _BATCH):
        truth = held.labels[part[0] : part[-1] + 1]
        chosen = part.to(truth.device) if held.resident else part
        logits = model(normalise(held.take(chosen), mean, std)).float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
        right.append(best[:, 0])
        totals += torch.stack([best.sum(), F.cross_entropy(logits, truth, reduction="sum")]).double().cpu()
    correct = torch.cat(right)
    top5, loss = (totals / held.count).tolist()
    counts = torch.bincount(held.labels, minlength=logits.shape[1]).clamp(min=1)  # every split has images of every class
    of_class = torch.bincount(held.labels, weights=correct.double(), minlength=logits.shape[1]) / counts
    return Score(float(correct.double().mean()), top5, loss, held.count, tuple(of_class.tolist())), correct


def evaluate_final(model: nn.Module, data: PreparedData, *, side: int, mean: Tensor, std: Tensor) -> Score:
    """Score `model` on the test split, with which images are right: for numbers that are reported, never for a choice."""
    images, labels = data.test_arrays()
    held = Batches(images, labels, side=side, device=mean.device)
    score, right = _score(model, held, mean=mean, std=std)
    return replace(score, correct=encode_correct(right.cpu().numpy()))
