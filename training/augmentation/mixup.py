"""Mixup (Zhang et al., arXiv:1710.09412) and cutmix (Yun et al., arXiv:1905.04899): images and
targets of two mixed.

The one decision to know: an image is mixed with the one before it in its batch (the first with the
last). The share and the box follow from (seed, epoch, sample) alone, as all draws do, but the
partner follows from the batch by its nature: a training that is to be repeated must keep the order
and the size of what is mixed, micro-batches included.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from phinas.training.augmentation.stateless_rng import stateless_uniform

_NUM_QUANTILES = 4096


def mix_images(
    images: Tensor,
    targets: Tensor,
    samples: Tensor,
    *,
    mixup: float,
    cutmix: float,
    seed: int,
    epoch: Tensor | int,
) -> tuple[Tensor, Tensor]:
    """Float (N, C, S, S) and (N, K), each mixed with its partner; samples: int64 (N,), their
    indices in the training split.

    mixup, cutmix: alpha of the Beta(alpha, alpha) that an image keeps of itself in its pixels, or
    of its area (0: not used); with both, each image draws one of the two, evenly.
    """
    if not mixup and not cutmix:
        return images, targets
    choice, quantile, center_x, center_y = stateless_uniform(seed, epoch, samples, "mixing", 4)[
        :, :, None, None, None
    ]
    if cutmix:
        weight = _outside_box(
            _sample_beta(quantile, cutmix), center_x, center_y, size=images.shape[-1]
        )
        if mixup:
            weight = torch.where(choice < 0.5, _sample_beta(quantile, mixup), weight)
    else:
        weight = _sample_beta(quantile, mixup)
    # The mean of what is kept is the exact share of the area, and of a blend its weight.
    return torch.lerp(_partners(images), images, weight), torch.lerp(
        _partners(targets), targets, weight.mean((1, 2, 3))[:, None]
    )


def one_hot_targets(labels: Tensor, classes: int, label_smoothing: float) -> Tensor:
    """float32 (N, classes) of int64 (N,): as `torch.nn.functional.cross_entropy` smooths labels."""
    off_value = label_smoothing / classes
    targets = torch.full((len(labels), classes), off_value, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - label_smoothing + off_value)


def _partners(batch: Tensor) -> Tensor:
    # a roll, which would forget that channels are last in memory
    return torch.cat([batch[-1:], batch[:-1]])


def _outside_box(kept_area: Tensor, center_x: Tensor, center_y: Tensor, *, size: int) -> Tensor:
    """1 outside and 0 inside of a square of the area 1 - share, centered anywhere and cut at the
    edges: (N, 1, side, side).
    """
    centers = (torch.arange(size, device=kept_area.device) + 0.5) / size
    half = (1 - kept_area).sqrt_().div_(2)
    inside = ((centers - center_x).abs() < half) & ((centers[:, None] - center_y).abs() < half)
    return (~inside).float()


def _sample_beta(uniforms: Tensor, alpha: float) -> Tensor:
    """Beta(alpha, alpha) of uniform numbers, by a table of its quantiles."""
    table = _beta_quantiles(alpha, uniforms.device)
    position = uniforms * _NUM_QUANTILES
    below = position.long()
    return torch.lerp(table[below], table[below + 1], position.frac())


@lru_cache(maxsize=16)
def _beta_quantiles(alpha: float, device: torch.device) -> Tensor:
    """Made once and copied to the device: let the first call come before a CUDA graph is
    captured.
    """
    from scipy.special import betaincinv

    return torch.from_numpy(
        betaincinv(alpha, alpha, np.linspace(0, 1, _NUM_QUANTILES + 1)).astype(np.float32)
    ).to(device)
