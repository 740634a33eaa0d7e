"""Tests of RandAugment: agreement of color operations with Pillow, distribution of operations."""

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

SIZE = 24
GEOMETRIC_OPERATIONS = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")


def make_images(count, *, channels=3):
    """Make different images of low contrast, which autocontrast changes."""
    generator = torch.Generator().manual_seed(0)
    low = torch.randint(0, 60, (count, channels, 1, 1), generator=generator)
    return (low + torch.randint(0, 150, (count, channels, SIZE, SIZE), generator=generator)).float()


def apply_pillow(name, image, magnitude):
    enhancers = {
        "brightness": ImageEnhance.Brightness,
        "contrast": ImageEnhance.Contrast,
        "saturation": ImageEnhance.Color,
        "sharpness": ImageEnhance.Sharpness,
    }
    if name in enhancers:
        return enhancers[name](image).enhance(1 + 0.9 * magnitude)
    if name == "posterize":
        return ImageOps.posterize(image, 8 - round(4 * abs(magnitude)))
    if name == "solarize":
        return ImageOps.solarize(image, 256 * (1 - abs(magnitude)))
    functions = {"autocontrast": ImageOps.autocontrast, "equalize": ImageOps.equalize}
    return functions[name](image) if name in functions else image


def apply(pixels, *layers):
    """Apply the same operations to all images; a layer is (operation name, magnitude)."""
    operations = torch.tensor([[OPERATIONS.index(name)] * len(pixels) for name, _ in layers])
    magnitudes = torch.tensor([[magnitude] * len(pixels) for _, magnitude in layers])
    return apply_color_operations(pixels, operations, magnitudes)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("magnitude", [-1.0, -0.37, 0.2, 0.63, 1.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_agrees_with_pillow_within_one_level(name, magnitude, channels):
    pixels = make_images(3, channels=channels)
    for result, image in zip(apply(pixels, (name, magnitude)), pixels, strict=True):
        array = image.to(torch.uint8).permute(1, 2, 0).numpy()
        pil_image = Image.fromarray(array if channels == 3 else array[..., 0])
        expected = np.array(apply_pillow(name, pil_image, magnitude)).reshape(array.shape)
        assert np.abs(result.permute(1, 2, 0).numpy() - expected).max() <= 1


@pytest.mark.parametrize(
    "name", [name for name in OPERATIONS if name not in ("identity", *GEOMETRIC_OPERATIONS)]
)
def test_operation_changes_an_image_except_at_magnitude_zero(name):
    assert (apply(make_images(3), (name, 1.0)) - make_images(3)).abs().mean() > 5
    assert torch.equal(apply(make_images(3), (name, 0.0)), make_images(3))


@pytest.mark.parametrize("name", ["identity", *GEOMETRIC_OPERATIONS])
def test_geometric_operations_do_not_change_colors(name):
    assert torch.equal(apply(make_images(3), (name, 1.0)), make_images(3))


def test_second_operation_is_applied_after_the_first():
    both = apply(make_images(3), ("brightness", -0.5), ("autocontrast", 1.0))
    one_by_one = apply(apply(make_images(3), ("brightness", -0.5)), ("autocontrast", 1.0))
    assert torch.equal(both, one_by_one)
    assert not torch.equal(both, apply(make_images(3), ("autocontrast", 1.0), ("brightness", -0.5)))


def test_operations_of_an_image_do_not_change_other_images():
    pixels = make_images(200)
    operations, magnitudes = sample_operations(
        stateless_uniform(0, 1, torch.arange(200), "color", NUM_DRAWS), 0.8
    )
    batch = apply_color_operations(pixels, operations, magnitudes)
    for index in range(0, 200, 17):
        one = slice(index, index + 1)
        single = apply_color_operations(pixels[one], operations[:, one], magnitudes[:, one])
        assert torch.equal(single, batch[one])


def test_image_of_one_color_remains_of_one_color():
    for name in OPERATIONS:
        result = apply(torch.full((1, 3, SIZE, SIZE), 77.0), (name, 0.5))
        assert result.isfinite().all()
        assert torch.equal(result, result[:, :, :1, :1].expand_as(result))


def test_operations_and_signs_are_uniformly_distributed_in_both_layers():
    count = 26_000
    operations, magnitudes = sample_operations(
        stateless_uniform(0, 1, torch.arange(count), "color", NUM_DRAWS), torch.tensor(0.5)
    )
    assert operations.shape == magnitudes.shape == (NUM_LAYERS, count)
    for layer in operations:
        frequency = torch.bincount(layer, minlength=len(OPERATIONS)) / count * len(OPERATIONS)
        assert (frequency - 1).abs().max() < 0.1
    assert set(magnitudes.flatten().tolist()) == {-0.5, 0.5}
    assert magnitudes.mean().abs() < 0.01
    pairs = torch.bincount(
        operations[0] * len(OPERATIONS) + operations[1], minlength=len(OPERATIONS) ** 2
    )
    assert pairs.min() > 0.6 * count / len(OPERATIONS) ** 2
