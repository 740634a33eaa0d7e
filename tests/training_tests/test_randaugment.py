"""Operations on color agree with Pillow's, image by image, whatever the others of the batch have
drawn.
"""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from phinas.training.augmentation.randaugment import (
    NUM_DRAWS,
    NUM_LAYERS,
    OPERATIONS,
    apply_color_operations,
    sample_operations,
)
from phinas.training.augmentation.stateless_rng import stateless_uniform

SIDE = 24
MOVED = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def pictures(count, *, channels=3):
    """Of limited contrast, so that a stretch changes them; each its own."""
    generator = torch.Generator().manual_seed(0)
    low = torch.randint(0, 60, (count, channels, 1, 1), generator=generator)
    return (low + torch.randint(0, 150, (count, channels, SIDE, SIDE), generator=generator)).float()


def pillow(name, image, amount):
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(1 + 0.9 * amount)
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * abs(amount)))
    if name == "solarize":
        return ImageOps.solarize(image, 256 * (1 - abs(amount)))
    whole = {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}
    return whole[name](image) if name in whole else image


def apply(pixels, *named):
    """The same operations, (name, amount) each, on all images."""
    which = torch.tensor([[OPERATIONS.index(name)] * len(pixels) for name, _ in named])
    return apply_color_operations(
        pixels, which, torch.tensor([[amount] * len(pixels) for _, amount in named])
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("amount", [-1.0, -0.37, 0.2, 0.63, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_pillows_to_one_level(name, amount, channels):
    pixels = pictures(3, channels=channels)
    for found, image in zip(apply(pixels, (name, amount)), pixels, strict=True):
        plain = image.to(torch.uint8).permute(1, 2, 0).numpy()
        picture = Image.fromarray(plain if channels == 3 else plain[..., 0])
        expected = np.array(pillow(name, picture, amount)).reshape(plain.shape)
        assert np.abs(found.permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in ("identity", *MOVED)])
def test_an_operation_changes_a_picture_and_at_magnitude_zero_does_not(name):
    assert (apply(pictures(3), (name, 1.0)) - pictures(3)).abs().mean() > 5
    assert torch.equal(apply(pictures(3), (name, 0.0)), pictures(3))


@pytest.mark.parametrize("name", ["identity", *MOVED])
def test_what_moves_pixels_leaves_their_color(name):
    assert torch.equal(apply(pictures(3), (name, 1.0)), pictures(3))


def test_the_second_operation_works_on_what_the_first_has_made():
    both = apply(pictures(3), ("brightness", -0.5), ("autocontrast", 1.0))
    one_by_one = apply(apply(pictures(3), ("brightness", -0.5)), ("autocontrast", 1.0))
    assert torch.equal(both, one_by_one)
    assert not torch.equal(both, apply(pictures(3), ("autocontrast", 1.0), ("brightness", -0.5)))


def test_an_image_is_changed_by_its_own_operations_alone():
    pixels = pictures(200)
    which, amounts = sample_operations(
        stateless_uniform(0, 1, torch.arange(200), "color", NUM_DRAWS), 0.8
    )
    whole = apply_color_operations(pixels, which, amounts)
    for image in range(0, 200, 17):
        one = slice(image, image + 1)
        assert torch.equal(
            apply_color_operations(pixels[one], which[:, one], amounts[:, one]), whole[one]
        )


def test_a_picture_of_one_color_survives_every_operation():
    for name in OPERATIONS:
        found = apply(torch.full((1, 3, SIDE, SIDE), 77.0), (name, 0.5))
        assert found.isfinite().all()
        assert torch.equal(found, found[:, :, :1, :1].expand_as(found))


def test_every_operation_is_as_frequent_in_both_places_and_of_either_sign():
    count = 26_000
    which, amounts = sample_operations(
        stateless_uniform(0, 1, torch.arange(count), "color", NUM_DRAWS), torch.tensor(0.5)
    )
    assert which.shape == amounts.shape == (NUM_LAYERS, count)
    for place in which:
        frequency = torch.bincount(place, minlength=len(OPERATIONS)) / count * len(OPERATIONS)
        assert (frequency - 1).abs().max() < 0.1
    assert set(amounts.flatten().tolist()) == {-0.5, 0.5}
    assert amounts.mean().abs() < 0.01
    pairs = torch.bincount(which[0] * len(OPERATIONS) + which[1], minlength=len(OPERATIONS) ** 2)
    assert pairs.min() > 0.6 * count / len(OPERATIONS) ** 2
