"""Mixing: shares have their distribution, targets follow the pixels, and the partner is the image
before.
"""

import pytest
import torch
from scipy.stats import beta
from torch.nn import functional as F

from phinas.training.augmentation.mixup import mix_images, one_hot_targets

SIDE = 16


def numbered(count):
    """Image and target both say which they are, so that shares can be read off: of image i the
    pixels are 1 in row i.
    """
    targets = torch.eye(count)
    images = (
        targets[:, :, None, None]
        .expand(count, count, SIDE, SIDE)
        .contiguous(memory_format=torch.channels_last)
    )
    return images, targets


def mixed(count=50, *, mixup=0.0, cutmix=0.0, seed=0, epoch=1, samples=None):
    images, targets = numbered(count)
    samples = torch.arange(count) if samples is None else samples
    return mix_images(images, targets, samples, mixup=mixup, cutmix=cutmix, seed=seed, epoch=epoch)


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}])
def test_targets_are_the_mean_of_the_pixels_with_the_image_before_as_partner(alphas):
    images, targets = mixed(**alphas)
    assert torch.allclose(images.mean((2, 3)), targets, atol=1e-6)
    assert torch.allclose(targets.sum(1), torch.ones(50))
    assert torch.allclose(
        targets.diagonal() + targets[torch.arange(50), torch.arange(50) - 1], torch.ones(50)
    )
    assert 0.1 < targets.diagonal().mean() < 0.9
    assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 3.0])
def test_the_share_of_mixup_is_beta_distributed(alpha):
    first = torch.tensor([1.0, 0.0]).repeat(10_000)[:, None]  # of two classes in turn
    own = mix_images(
        torch.zeros(20_000, 1, 1, 1),
        first,
        torch.arange(20_000),
        mixup=alpha,
        cutmix=0.0,
        seed=0,
        epoch=1,
    )[1]
    kept = torch.where(first > 0, own, 1 - own)[:, 0]
    points = torch.linspace(0.01, 0.99, 99)
    below = (kept[:, None] <= points).float().mean(0)
    assert (below - torch.from_numpy(beta(alpha, alpha).cdf(points))).abs().max() < 0.012


def test_mixup_blends_all_pixels_of_an_image_alike():
    images, _ = mixed(mixup=1.0)
    assert torch.equal(images, images[:, :, :1, :1].expand_as(images))


def test_cutmix_takes_a_rectangle_whole_from_the_partner_and_targets_know_its_exact_area():
    images, targets = mixed(200, cutmix=1.0)
    pasted = 1 - images[torch.arange(200), torch.arange(200)]
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    areas = pasted.any(1).sum(1) * pasted.any(2).sum(1)
    assert torch.equal(pasted.sum((1, 2)), areas.float())
    assert torch.equal(targets.diagonal(), (SIDE**2 - areas) / SIDE**2)
    assert pasted.any(0).all()
    assert areas.min() < 10
    assert areas.max() > 0.8 * SIDE**2


def test_boxes_that_lie_inside_have_the_area_that_was_drawn():
    images, _ = mixed(400, cutmix=1.0)
    pasted = (1 - images[torch.arange(400), torch.arange(400)]).bool()
    heights, widths = pasted.any(2).sum(1), pasted.any(1).sum(1)
    inside = ~(
        pasted[:, 0].any(1)
        | pasted[:, -1].any(1)
        | pasted[:, :, 0].any(1)
        | pasted[:, :, -1].any(1)
    )
    assert (heights - widths)[inside].abs().max() <= 1


def test_with_both_each_image_is_mixed_by_one_of_the_two_about_evenly():
    images, _ = mixed(300, mixup=1.0, cutmix=1.0)
    own = images[torch.arange(300), torch.arange(300)]
    blended = ((own > 0) & (own < 1)).flatten(1).all(1)
    cut = ((own == 0) | (own == 1)).flatten(1).all(1)
    assert (blended | cut).all()
    assert 110 < blended.sum() < 190


def test_without_either_nothing_is_mixed():
    images, targets = mixed()
    assert torch.equal(images, numbered(50)[0])
    assert torch.equal(targets, numbered(50)[1])


@pytest.mark.parametrize("alphas", [{"mixup": 0.4}, {"cutmix": 1.0}])
def test_shares_follow_from_seed_epoch_and_sample_alone(alphas):
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    kept = mixed(**alphas)[1].diagonal()
    assert torch.equal(mixed(**alphas, samples=order)[1].diagonal(), kept[order])
    assert torch.equal(mixed(**alphas, epoch=torch.tensor(1))[1].diagonal(), kept)
    assert not torch.equal(mixed(**alphas, epoch=2)[1].diagonal(), kept)
    assert not torch.equal(mixed(**alphas, seed=1)[1].diagonal(), kept)


def test_no_value_of_the_batch_is_read_on_the_host():
    """On torch's meta device there are shapes and no values: whatever depends on a value fails."""
    images, targets, samples, epoch = (
        value.to("meta") for value in (*numbered(8), torch.arange(8), torch.tensor(1))
    )
    found = mix_images(images, targets, samples, mixup=0.2, cutmix=1.0, seed=0, epoch=epoch)
    assert [value.shape for value in found] == [images.shape, targets.shape]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_hot_targets_give_the_loss_that_torch_gives_labels(smoothing):
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
