"""Mixup (Zhang et al., arXiv:1710.09412) and CutMix (Yun et al., arXiv:1905.04899).

An image is mixed with the previous image of its batch, the first image with the last one. The
mixing weight and the box depend on (seed, epoch, sample) only, but the partner depends on the
batch. So a reproducible training must keep the order and the size of the batches that are mixed,
micro-batches included.
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
    """Mix each image and its target with its partner.

    Args:
        images: Float (N, C, S, S).
        targets: Float (N, classes), class probabilities.
        samples: int64 (N,), the indices of the images in the training split.
        mixup: Alpha of the Beta(alpha, alpha) distribution of an image's own weight. 0 disables
            mixup.
        cutmix: Alpha of the Beta(alpha, alpha) distribution of the area that an image keeps. 0
            disables CutMix. If both are on, each image uses one of them with equal probability.
        seed: Random seed.
        epoch: The epoch, or a 0-dim int64 tensor on the device of `samples`.

    Returns:
        The mixed images and targets.
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
    # The mean of the weights is the exact area that CutMix keeps, and the weight of mixup.
    return torch.lerp(_partners(images), images, weight), torch.lerp(
        _partners(targets), targets, weight.mean((1, 2, 3))[:, None]
    )


def one_hot_targets(labels: Tensor, classes: int, label_smoothing: float) -> Tensor:
    """One-hot targets with label smoothing as in `torch.nn.functional.cross_entropy`.

    Args:
        labels: int64 (N,).
        classes: Number of classes.
        label_smoothing: From 0 to 1.

    Returns:
        float32 (N, classes).
    """
    off_value = label_smoothing / classes
    targets = torch.full((len(labels), classes), off_value, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - label_smoothing + off_value)


def _partners(batch: Tensor) -> Tensor:
    # torch.roll would not preserve the channels_last memory format.
    return torch.cat([batch[-1:], batch[:-1]])


def _outside_box(own_area: Tensor, center_x: Tensor, center_y: Tensor, *, size: int) -> Tensor:
    """A mask (N, 1, size, size) that is 0 inside a box and 1 outside.

    The box is a square of area 1 - own_area, clipped at the edges of the image.
    """
    centers = (torch.arange(size, device=own_area.device) + 0.5) / size
    half = (1 - own_area).sqrt_().div_(2)
    inside = ((centers - center_x).abs() < half) & ((centers[:, None] - center_y).abs() < half)
    return (~inside).float()


def _sample_beta(uniforms: Tensor, alpha: float) -> Tensor:
    """Transform uniform random numbers to Beta(alpha, alpha) by a table of its quantiles."""
    table = _beta_quantiles(alpha, uniforms.device)
    position = uniforms * _NUM_QUANTILES
    below = position.long()
    return torch.lerp(table[below], table[below + 1], position.frac())


@lru_cache(maxsize=16)
def _beta_quantiles(alpha: float, device: torch.device) -> Tensor:
    """The quantiles of Beta(alpha, alpha) at even intervals.

    The first call copies them to the device, so it must precede the capture of a CUDA graph.
    """
    from scipy.special import betaincinv

    return torch.from_numpy(
        betaincinv(alpha, alpha, np.linspace(0, 1, _NUM_QUANTILES + 1)).astype(np.float32)
    ).to(device)
