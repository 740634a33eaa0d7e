"""Tests of images that look alike, and of dark, bright, blurred and nearly uniform ones."""

import io

import numpy as np
import pytest
from PIL import Image

from phinas.training.data.audit.image_quality import ISSUES, examine_images, join_pairs


def make_scene(seed: int, *, size: int = 48) -> Image.Image:
    """A random arrangement of sharp rectangles."""
    generator = np.random.default_rng(seed)
    pixels = np.full((size, size, 3), generator.integers(60, 200, 3), np.uint8)
    for _ in range(25):
        top, left = generator.integers(0, size - 6, 2)
        height, width = generator.integers(4, 20, 2)
        pixels[top : top + height, left : left + width] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels)


def recompress(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def examine(images: list[Image.Image], *, chunk: int = 64):
    pixels = np.stack([np.asarray(image) for image in images])
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    chunks = [pixels[start : start + chunk] for start in range(0, len(pixels), chunk)]
    return examine_images(chunks, len(images), on_progress=lambda _done, _total: None)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_copies_that_were_compressed_brightened_or_resized_look_alike(mode):
    scenes = [make_scene(seed) for seed in range(40)]
    changed = [
        recompress(scenes[0], 70),
        scenes[1].point(lambda value: min(255, value + 12)),
        scenes[2].resize((40, 40)).resize((48, 48)),
        scenes[3],
    ]
    pairs = examine([image.convert(mode) for image in scenes + changed]).pairs
    assert pairs.tolist() == [[index, 40 + index] for index in range(4)]


def test_pairs_do_not_depend_on_how_images_are_divided_into_chunks():
    images = [make_scene(seed // 2) for seed in range(30)]
    assert np.array_equal(examine(images).pairs, examine(images, chunk=7).pairs)


def test_uniform_images_are_no_near_duplicates():
    images = [Image.new("RGB", (40, 40), (value, value, value)) for value in (90, 91, 92)]
    quality = examine([*images, make_scene(1, size=40)])
    assert len(quality.pairs) == 0
    assert quality.issues["nearly uniform"].tolist() == [True, True, True, False]


def test_dark_bright_and_blurred_images_are_found():
    scene = make_scene(0)
    smooth = np.linspace(30, 95, 48 * 48).astype(np.uint8).reshape(48, 48)
    images = [
        scene,
        scene.point(lambda value: value // 12),
        scene.point(lambda value: 245 + value // 26),
        Image.fromarray(smooth).convert("RGB"),
    ]
    issues = examine(images).issues
    assert set(issues) == set(ISSUES.values())
    assert issues["dark"].tolist() == [False, True, False, False]
    assert issues["bright"].tolist() == [False, False, True, False]
    assert issues["blurred"][3]
    assert not issues["blurred"][0]


def test_nothing_is_printed(capfd):
    examine([make_scene(seed) for seed in range(4)])
    assert capfd.readouterr() == ("", "")


def test_progress_counts_images():
    calls = []
    pixels = np.stack([np.asarray(make_scene(seed)) for seed in range(6)])
    examine_images([pixels[:4], pixels[4:]], 6, on_progress=lambda *call: calls.append(call))
    assert calls == [(4, 6), (6, 6)]


def test_pairs_connect_sets():
    sets = join_pairs(np.array([[0, 2], [2, 4], [5, 6]]), 7)
    assert sets[0] == sets[2] == sets[4]
    assert sets[5] == sets[6] != sets[0]
    assert sets[1] == sets[3] == -1
