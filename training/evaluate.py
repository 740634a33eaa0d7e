"""Accuracy on held-out images. `evaluate_final` is the one place that opens the test split."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from experiment.measurement import encode_correct
from training.augment import normalise, resize
from training.prepared import PreparedData

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Score:
    """accuracy, top5: fractions; loss: mean cross-entropy; images: how many; correct: which of them are right, of the test
    split only (`experiment.measurement`)."""

    accuracy: float
    top5: float
    loss: float
    images: int
    correct: str = ""


def to_device(images: np.ndarray, *, side: int, device: torch.device) -> Tensor:
    """uint8 (N, S, S, C) as stored to uint8 (N, C, side, side) on the device."""
    return resize(torch.from_numpy(np.array(images)).to(device).permute(0, 3, 1, 2), side)


def evaluate(model: nn.Module, images: Tensor, labels: Tensor, *, mean: Tensor, std: Tensor) -> Score:
    """Score `model` in eval mode, which is how it is left. images: uint8 at the network's resolution, on its device."""
    return _score(model, images, labels, mean=mean, std=std)[0]


@torch.inference_mode()
def _score(model: nn.Module, images: Tensor, labels: Tensor, *, mean: Tensor, std: Tensor) -> tuple[Score, Tensor]:
    """The score, and of each image whether its class is the best of the logits."""
    model.eval()
    totals = torch.zeros(3, dtype=torch.float64)
    right = []
    for start in range(0, len(images), _BATCH):
        batch = normalise(images[start : start + _BATCH], mean, std)
        truth = labels[start : start + _BATCH]
        logits = model(batch).float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == truth[:, None]
        loss = F.cross_entropy(logits, truth, reduction="sum")
        right.append(best[:, 0])
        totals += torch.stack([best[:, 0].sum(), best.sum(), loss]).double().cpu()
    accuracy, top5, loss = (totals / len(images)).tolist()
    return Score(accuracy, top5, loss, len(images)), torch.cat(right)


def evaluate_final(model: nn.Module, data: PreparedData, *, side: int, mean: Tensor, std: Tensor) -> Score:
    """Score `model` on the test split, with which images are right: for numbers that are reported, never for a choice."""
    images, labels = data.test_arrays()
    tensor = to_device(images, side=side, device=mean.device)
    truth = torch.from_numpy(np.array(labels)).to(mean.device)
    score, right = _score(model, tensor, truth, mean=mean, std=std)
    return replace(score, correct=encode_correct(right.cpu().numpy()))
