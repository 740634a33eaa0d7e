"""The preprocessing inside a graph has the pixels of Pillow."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

from phinas.space.interchange.input_graph import InputGraph

# width and height
SIZES = [(61, 35), (40, 40), (24, 24), (16, 11), (90, 25), (200, 150), (150, 200)]
TALL = (30, 90)  # Pillow 13 resizes it vertically first


@dataclass(frozen=True)
class Steps:
    image_size: int
    resolution: int
    resize_mode: str
    channel_order: str = "RGB"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1 / 255, 1 / 255, 1 / 255)


def picture(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pillow_pixels(levels: np.ndarray, mode: str) -> np.ndarray:
    image, size = Image.fromarray(levels), (24, 24)
    if mode == "crop":
        return np.asarray(ImageOps.fit(image, size, Image.Resampling.BICUBIC))
    if mode == "squash":
        return np.asarray(image.resize(size, Image.Resampling.BICUBIC))
    return np.asarray(ImageOps.pad(image, size, Image.Resampling.BICUBIC, color=0))


def graph_pixels(levels: np.ndarray, steps: Steps) -> np.ndarray:
    graph = InputGraph(nn.Identity(), steps)
    return graph(torch.from_numpy(levels.copy())[None])[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["crop", "squash", "letterbox"])
def test_pixels_are_those_of_pillow(mode, size) -> None:
    levels = picture(*size)
    pixels = graph_pixels(levels, Steps(24, 24, mode))
    assert np.array_equal(pixels.round(), pillow_pixels(levels, mode))


@pytest.mark.parametrize("mode", ["crop", "squash", "letterbox"])
def test_pixels_of_tall_images_hardly_differ(mode) -> None:
    smooth = Image.fromarray(64 + picture(6, 18) // 2).resize(TALL, Image.Resampling.BICUBIC)
    levels = np.asarray(smooth)
    difference = graph_pixels(levels, Steps(24, 24, mode)) - pillow_pixels(levels, mode)
    assert np.abs(difference).max() < 2.5
    assert np.abs(difference).mean() < 0.5


@pytest.mark.parametrize("resolution", [16, 30])
def test_second_resize_is_that_of_torch(resolution) -> None:
    levels = picture(24, 24)
    images = torch.from_numpy(levels.copy()).permute(2, 0, 1)[None].float()
    expected = nn.functional.interpolate(
        images, (resolution, resolution), mode="bilinear", antialias=True
    )
    pixels = graph_pixels(levels, Steps(24, resolution, "crop"))
    difference = np.abs(pixels - expected.round()[0].permute(1, 2, 0).numpy())
    assert (difference > 0.5).mean() < 0.01  # of numbers that end in one half
    assert difference.max() < 1.5


def test_pixels_are_normalized() -> None:
    levels = picture(24, 24)
    steps = Steps(24, 24, "crop", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = (levels / 255 - np.array(steps.mean)) / np.array(steps.std)
    assert np.allclose(graph_pixels(levels, steps), expected, atol=1e-5)
