"""Tests of mixup and CutMix: distribution of the weights, partner images, targets."""

import pytest
import torch
from scipy.stats import beta
from torch.nn import functional as F

from phinas.training.augmentation.mixup import mix_images, one_hot_targets

SIZE = 16


def indicator_images(count):
    """Make images and targets from which mixing weights can be read.

    Image i is 1 in channel i and 0 elsewhere, and its target is one-hot at index i.
    """
    targets = torch.eye(count)
    images = (
        targets[:, :, None, None]
        .expand(count, count, SIZE, SIZE)
        .contiguous(memory_format=torch.channels_last)
    )
    return images, targets


def mix(count=50, *, mixup=0.0, cutmix=0.0, seed=0, epoch=1, samples=None):
    images, targets = indicator_images(count)
    samples = torch.arange(count) if samples is None else samples
    return mix_images(images, targets, samples, mixup=mixup, cutmix=cutmix, seed=seed, epoch=epoch)


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_match_pixels_mixed_with_the_previous_image(alphas):
    images, targets = mix(**alphas)
    assert torch.allclose(images.mean((2, 3)), targets, atol=1e-6)
    assert torch.allclose(targets.sum(1), torch.ones(50))
    assert torch.allclose(
        targets.diagonal() + targets[torch.arange(50), torch.arange(50) - 1], torch.ones(50)
    )
    assert 0.1 < targets.diagonal().mean() < 0.9
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 3.0])
def test_mixup_weight_is_beta_distributed(alpha):
    # two classes alternate; targets are the probability of the first one
    targets = torch.tensor([1.0, 0.0]).repeat(10_000)[:, None]
    mixed_targets = mix_images(
        torch.zeros(20_000, 1, 1, 1),
        targets,
        torch.arange(20_000),
        mixup=alpha,
        cutmix=0.0,
        seed=0,
        epoch=1,
    )[1]
    weights = torch.where(targets > 0, mixed_targets, 1 - mixed_targets)[:, 0]
    points = torch.linspace(0.01, 0.99, 99)
    empirical_cdf = (weights[:, None] <= points).float().mean(0)
    assert (empirical_cdf - torch.from_numpy(beta(alpha, alpha).cdf(points))).abs().max() < 0.012


def test_mixup_has_one_weight_for_all_pixels_of_an_image():
    images, _ = mix(mixup=1.0)
    assert torch.equal(images, images[:, :, :1, :1].expand_as(images))


def test_cutmix_pastes_a_rectangle_and_targets_have_its_exact_area():
    images, targets = mix(200, cutmix=1.0)
    pasted = 1 - images[torch.arange(200), torch.arange(200)]
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    areas = pasted.any(1).sum(1) * pasted.any(2).sum(1)
    assert torch.equal(pasted.sum((1, 2)), areas.float())
    assert torch.equal(targets.diagonal(), (SIZE**2 - areas) / SIZE**2)
    assert pasted.any(0).all()
    assert areas.min() < 10
    assert areas.max() > 0.8 * SIZE**2


def test_cutmix_boxes_inside_the_image_are_square():
    images, _ = mix(400, cutmix=1.0)
    pasted = (1 - images[torch.arange(400), torch.arange(400)]).bool()
    heights, widths = pasted.any(2).sum(1), pasted.any(1).sum(1)
    inside = ~(
        pasted[:, 0].any(1)
        | pasted[:, -1].any(1)
        | pasted[:, :, 0].any(1)
        | pasted[:, :, -1].any(1)
    )
    assert (heights - widths)[inside].abs().max() <= 1


def test_each_image_uses_mixup_or_cutmix_with_equal_probability():
    images, _ = mix(300, mixup=1.0, cutmix=1.0)
    own_weight = images[torch.arange(300), torch.arange(300)]
    blended = ((own_weight > 0) & (own_weight < 1)).flatten(1).all(1)
    cut = ((own_weight == 0) | (own_weight == 1)).flatten(1).all(1)
    assert (blended | cut).all()
    assert 110 < blended.sum() < 190


def test_no_image_is_mixed_if_both_are_disabled():
    images, targets = mix()
    assert torch.equal(images, indicator_images(50)[0])
    assert torch.equal(targets, indicator_images(50)[1])


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_weights_depend_on_seed_epoch_and_sample_only(alphas):
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    own_weights = mix(**alphas)[1].diagonal()
    assert torch.equal(mix(**alphas, samples=order)[1].diagonal(), own_weights[order])
    assert torch.equal(mix(**alphas, epoch=torch.tensor(1))[1].diagonal(), own_weights)
    assert not torch.equal(mix(**alphas, epoch=2)[1].diagonal(), own_weights)
    assert not torch.equal(mix(**alphas, seed=1)[1].diagonal(), own_weights)


def test_no_tensor_value_is_read_on_the_host():
    """Tensors on torch's meta device have no values, so reading one fails."""
    images, targets, samples, epoch = (
        value.to("meta") for value in (*indicator_images(8), torch.arange(8), torch.tensor(1))
    )
    result = mix_images(images, targets, samples, mixup=0.2, cutmix=1.0, seed=0, epoch=epoch)
    assert [value.shape for value in result] == [images.shape, targets.shape]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_one_hot_targets_equals_the_loss_of_labels(smoothing):
    generator = torch.Generator().manual_seed(0)
    logits, labels = (
        torch.randn(20, 7, generator=generator),
        torch.randint(0, 7, (20,), generator=generator),
    )
    targets = one_hot_targets(labels, 7, smoothing)
    assert torch.allclose(
        F.cross_entropy(logits, targets), F.cross_entropy(logits, labels, label_smoothing=smoothing)
    )
    assert torch.allclose(targets.sum(1), torch.ones(20))
