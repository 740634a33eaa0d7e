"""Crops have their area and aspect, maps compose in order, and resampling agrees with Pillow."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from phinas.training.augmentation.affine import compose, crop_map, operation_map, resample
from phinas.training.augmentation.randaugment import OPERATIONS
from phinas.training.augmentation.stateless_rng import stateless_uniform

SIDE = 48


def picture(count=1):
    """Smooth, so that neither resampling nor its edges decide."""
    at = torch.arange(SIDE) / SIDE * 2 * math.pi
    pixels = (at.sin()[:, None] * 60 + (2 * at).cos()[None] * 60 + 128).to(torch.uint8)
    return pixels.expand(count, 3, SIDE, SIDE)


def crops(least):
    return crop_map(stateless_uniform(0, 1, torch.arange(20_000), "crop", 4), least)


@pytest.mark.parametrize("least", [0.08, 0.5, 0.9, torch.tensor(0.3)])
def test_crops_lie_inside_the_image_with_areas_from_the_least_to_the_whole(least):
    maps = crops(least)
    width, height = maps[:, 0, 0], maps[:, 1, 1]
    area = width * height
    assert area.min() >= least - 1e-6
    assert area.max() <= 1 + 1e-6
    assert abs(area.mean() - (1 + least) / 2) < 0.01
    aspect = width / height
    assert aspect.min() >= 3 / 4 - 1e-5
    assert aspect.max() <= 4 / 3 + 1e-5
    assert abs(aspect.log().mean()) < 0.01
    for size, place in ((width, maps[:, 0, 2]), (height, maps[:, 1, 2])):
        assert (place.abs() + size).max() <= 1 + 1e-6
        assert abs(place.mean()) < 0.01


def test_a_small_crop_may_be_anywhere_and_of_any_allowed_aspect():
    maps = crops(0.08)
    aspect = maps[:, 0, 0] / maps[:, 1, 1]
    assert aspect.min() < 0.76
    assert aspect.max() > 1.32
    assert maps[:, 0, 2].min() < -0.6
    assert maps[:, 1, 2].max() > 0.6


def test_a_crop_is_what_pillow_enlarges():
    box = (6, 10, 36, 34)
    center = [(box[0] + box[2]) / SIDE - 1, (box[1] + box[3]) / SIDE - 1]
    maps = torch.tensor([[[30 / SIDE, 0, center[0]], [0, 24 / SIDE, center[1]]]])
    enlarged = Image.fromarray(picture()[0].permute(1, 2, 0).numpy()).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR, box=box
    )
    apart = (
        resample(picture(), maps)[0].permute(1, 2, 0)
        - torch.from_numpy(np.array(enlarged).astype(np.float32))
    ).abs()
    assert apart.max() <= 2


def test_the_map_of_no_change_changes_no_pixel():
    images = torch.randint(
        0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    still = torch.eye(2, 3).expand(4, 2, 3)
    assert torch.equal(resample(images, still), images.float())


def turned(name, amount):
    which = torch.tensor([[OPERATIONS.index(name)], [0]])
    return operation_map(which, torch.tensor([[amount], [1.0]]))


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
        ("translate_x", (1, 0, 0.45 * SIDE, 0, 1, 0)),
        ("translate_y", (1, 0, 0, 0, 1, 0.45 * SIDE)),
        ("identity", (1, 0, 0, 0, 1, 0)),
        ("brightness", (1, 0, 0, 0, 1, 0)),
    ],
)
@pytest.mark.parametrize("amount", [1.0, -0.4])
def test_operations_move_pixels_as_pillow_does(name, matrix, amount):
    a, b, c, d, e, f = np.array(matrix, dtype=float)
    if name == "rotate":
        angle = amount * math.pi / 6
        a, b, d, e = math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    else:
        b, c, d, f = (amount * value for value in (b, c, d, f))
    middle = SIDE / 2  # ours turn about the center, Pillow's about the corner
    c, f = c + middle - a * middle - b * middle, f + middle - d * middle - e * middle
    image = Image.fromarray(picture()[0].permute(1, 2, 0).numpy())
    expected = np.array(
        image.transform(
            (SIDE, SIDE), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
        )
    )
    inside = expected[..., 0] > 0  # Pillow paints black what comes from outside
    found = resample(picture(), turned(name, amount))[0].permute(1, 2, 0).numpy()
    assert inside.mean() > 0.5
    assert np.abs(found - expected.astype(float))[inside].max() <= 2


def test_two_operations_follow_one_another():
    first, second = turned("rotate", 0.8), turned("translate_x", 0.5)
    which = torch.tensor([[OPERATIONS.index("rotate")], [OPERATIONS.index("translate_x")]])
    both = operation_map(which, torch.tensor([[0.8], [0.5]]))
    one_by_one = resample(resample(picture(), first).to(torch.uint8), second)
    inner = slice(SIDE // 4, -SIDE // 4)
    assert (resample(picture(), both) - one_by_one)[..., inner, inner].abs().max() <= 3
    assert torch.allclose(both, compose(first, second))
    assert not torch.allclose(both, compose(second, first))


def test_what_comes_from_outside_is_the_edge_repeated():
    images = torch.randint(
        0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    moved = resample(images, turned("translate_x", 1.0))
    outside = round(0.45 * SIDE) - 1
    assert torch.equal(moved[..., -outside:], images[..., -1:].float().expand(1, 3, SIDE, outside))
