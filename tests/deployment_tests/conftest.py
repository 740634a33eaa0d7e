"""Image folders that can be learned in seconds, and fits of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import phinas as front
from phinas.space.search_spaces.loading import load_space

CLASSES = ("bars", "dots", "fade")
RESOLUTION = 16
IMAGE_SIZE = 24


def draw(kind: str, width: int, height: int, random: np.random.Generator) -> np.ndarray:
    """A noisy picture of a class, uint8 (height, width, 3)."""
    rows, columns = np.mgrid[:height, :width] / max(width, height)
    phase, angle = random.uniform(0, 6), random.uniform(0, 3)
    along = np.cos(angle) * columns + np.sin(angle) * rows
    across = np.cos(angle) * rows - np.sin(angle) * columns
    pattern = {
        "bars": np.sin(20 * along + phase),
        "dots": np.sin(20 * along + phase) * np.sin(20 * across),
        "fade": 2 * along - 1,
    }[kind]
    color = random.uniform(0.4, 1, 3)
    noise = random.normal(0, 0.9, (height, width, 1))
    levels = 128 + 50 * (pattern[..., None] * color + noise)
    return levels.clip(0, 255).astype(np.uint8)


def write_images(folder: Path, *, channels: int) -> Path:
    """Class folders with train and test: formats, modes and aspect ratios as users have them."""
    random = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        for kind in CLASSES:
            (folder / split / kind).mkdir(parents=True)
            for index in range(count):
                width, height = random.integers(30, 90, 2)
                if index % 10 == 0:  # large: the JPEG decoder reduces it
                    width, height = 4 * width, 4 * height
                image = Image.fromarray(draw(kind, width, height, random))
                if channels == 1:
                    image = image.convert("L")
                suffix = "jpg" if index % 2 == 0 else "png"
                if suffix == "png" and index % 3 == 0 and channels == 3:
                    image = image.quantize(64)
                image.save(folder / split / kind / f"{index:03d}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def gray_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Gray images as arrays for a fit with one channel, and those of test as files."""
    folder = tmp_path_factory.mktemp("gray")
    random = np.random.default_rng(1)
    arrays = {}
    for split, count in (("train", 60), ("test", 30)):
        labels = np.arange(count * len(CLASSES)) % len(CLASSES)
        pixels = np.stack([draw(CLASSES[label], 40, 30, random)[..., 0] for label in labels])
        arrays |= {f"x_{split}": pixels, f"y_{split}": labels}
    np.savez(folder / "gray.npz", **arrays)
    for index, (pixels, label) in enumerate(zip(arrays["x_test"], arrays["y_test"], strict=True)):
        class_folder = folder / "files" / str(label)
        class_folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(class_folder / f"{index:03d}.png")
    return folder / "gray.npz", folder / "files"


@pytest.fixture(scope="session")
def color_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("color"), channels=3)


FitImages = Callable[..., Path]


@pytest.fixture(scope="session")
def fit_images(tmp_path_factory: pytest.TempPathFactory) -> FitImages:
    """Function that fits a small network, once for each of its arguments; returns the directory."""
    fits: dict[tuple[object, ...], Path] = {}

    def fit(data: Path, *, channels: int = 3, resize_mode: str = "crop") -> Path:
        key = (data, channels, resize_mode)
        if key not in fits:
            folder = tmp_path_factory.mktemp("fit")
            spec = load_space("tiny").adapt_to(channels=3, classes=3, resolution=RESOLUTION).base
            (folder / "net.yaml").write_text(replace(spec, channels=channels).to_yaml())
            settings = {
                "recipe.batch_size": 32,
                "data.resize_mode": resize_mode,
                "data.image_size": IMAGE_SIZE,
                "resolution": RESOLUTION,
            }
            front.fit(
                str(folder / "net.yaml"),
                data=str(data),
                out=folder / "out",
                recipe="quick",
                epochs=8,
                threads=1,
                device="cpu",
                settings=settings,
                quiet=True,
            )
            fits[key] = folder / "out"
        return fits[key]

    return fit


@pytest.fixture(scope="session")
def color_fit(fit_images: FitImages, color_images: Path) -> Path:
    """The directory of a finished fit of the color images."""
    return fit_images(color_images)
