"""Tests of affine augmentation: distribution of crops, order of maps, agreement with Pillow."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from phinas.training.augmentation.affine import compose, crop_map, operation_map, resample
from phinas.training.augmentation.randaugment import OPERATIONS
from phinas.training.augmentation.stateless_rng import stateless_uniform

SIZE = 48


def smooth_image(count=1):
    """An image without edges, so that resampling methods hardly differ."""
    angle = torch.arange(SIZE) / SIZE * 2 * math.pi
    pixels = (angle.sin()[:, None] * 60 + (2 * angle).cos()[None] * 60 + 128).to(torch.uint8)
    return pixels.expand(count, 3, SIZE, SIZE)


def sample_crops(min_area):
    return crop_map(stateless_uniform(0, 1, torch.arange(20_000), "crop", 4), min_area)


@pytest.mark.parametrize("min_area", [0.08, 0.5, 0.9, torch.tensor(0.3)])
def test_crops_are_inside_the_image_with_uniform_area_and_log_aspect_ratio(min_area):
    maps = sample_crops(min_area)
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    area = width * height
    assert area.min() >= min_area - 1e-6
    assert area.max() <= 1 + 1e-6
    assert abs(area.mean() - (1 + min_area) / 2) < 0.01
    aspect = width / height
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    assert abs(aspect.log().mean()) < 0.01
    for size, center in ((width, maps[:, 0, 2]), (height, maps[:, 1, 2])):
        assert (center.abs() + size).max() <= 1 + 1e-6
        assert abs(center.mean()) < 0.01


def test_small_crops_have_any_position_and_any_allowed_aspect_ratio():
    maps = sample_crops(0.08)
    aspect = maps[:, 0, 0] / maps[:, 1, 1]
    assert aspect.min() < 0.76
    assert aspect.max() > 1.32
    assert maps[:, 0, 2].min() < -0.6
    assert maps[:, 1, 2].max() > 0.6


def test_crop_agrees_with_pillow():
    box = (6, 10, 36, 34)
    center = [(box[0] + box[2]) / SIZE - 1, (box[1] + box[3]) / SIZE - 1]
    maps = torch.tensor([[[30 / SIZE, 0, center[0]], [0, 24 / SIZE, center[1]]]])
    enlarged = Image.fromarray(smooth_image()[0].permute(1, 2, 0).numpy()).resize(
        (SIZE, SIZE), Image.Resampling.BILINEAR, box=box
    )
    difference = (
        resample(smooth_image(), maps)[0].permute(1, 2, 0)
        - torch.from_numpy(np.array(enlarged).astype(np.float32))
    ).abs()
    assert difference.max() <= 2


def test_identity_map_changes_no_pixel():
    images = torch.randint(
        0, 256, (4, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    identity = torch.eye(2, 3).expand(4, 2, 3)
    assert torch.equal(resample(images, identity), images.float())


def map_of(name, magnitude):
    """Return the map of an operation, followed by the identity."""
    operations = torch.tensor([[OPERATIONS.index(name)], [0]])
    return operation_map(operations, torch.tensor([[magnitude], [1.0]]))


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        (
            "rotate",
            (
                math.cos(math.pi / 6),
                -math.sin(math.pi / 6),
                0,
                math.sin(math.pi / 6),
                math.cos(math.pi / 6),
                0,
            ),
        ),
        ("shear_x", (1, 0.3, 0, 0, 1, 0)),
        ("shear_y", (1, 0, 0, 0.3, 1, 0)),
        ("translate_x", (1, 0, 0.45 * SIZE, 0, 1, 0)),
        ("translate_y", (1, 0, 0, 0, 1, 0.45 * SIZE)),
        ("identity", (1, 0, 0, 0, 1, 0)),
        ("brightness", (1, 0, 0, 0, 1, 0)),
    ],
)
@pytest.mark.parametrize("magnitude", [1.0, -0.4])
def test_operation_map_agrees_with_pillow(name, matrix, magnitude):
    a, b, c, d, e, f = np.array(matrix, dtype=float)
    if name == "rotate":
        angle = magnitude * math.pi / 6
        a, b, d, e = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    else:
        b, c, d, f = (magnitude * value for value in (b, c, d, f))
    half = SIZE / 2  # the origin is the center of the image in phinas, and the corner in Pillow
    c, f = c + half - a * half - b * half, f + half - d * half - e * half
    image = Image.fromarray(smooth_image()[0].permute(1, 2, 0).numpy())
    expected = np.array(
        image.transform(
            (SIZE, SIZE), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
        )
    )
    inside = expected[..., 0] > 0  # Pillow fills areas outside the image with black
    moved = resample(smooth_image(), map_of(name, magnitude))[0].permute(1, 2, 0).numpy()
    assert inside.mean() > 0.5
    assert np.abs(moved - expected.astype(float))[inside].max() <= 2


def test_second_operation_is_applied_after_the_first():
    first, second = map_of("rotate", 0.8), map_of("translate_x", 0.5)
    operations = torch.tensor([[OPERATIONS.index("rotate")], [OPERATIONS.index("translate_x")]])
    both = operation_map(operations, torch.tensor([[0.8], [0.5]]))
    one_by_one = resample(resample(smooth_image(), first).to(torch.uint8), second)
    inner = slice(SIZE // 4, -SIZE // 4)
    assert (resample(smooth_image(), both) - one_by_one)[..., inner, inner].abs().max() <= 3
    assert torch.allclose(both, compose(first, second))
    assert not torch.allclose(both, compose(second, first))


def test_edge_is_repeated_outside_the_image():
    images = torch.randint(
        0, 256, (1, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    translated = resample(images, map_of("translate_x", 1.0))
    outside = round(0.45 * SIZE) - 1
    assert torch.equal(
        translated[..., -outside:], images[..., -1:].float().expand(1, 3, SIZE, outside)
    )
