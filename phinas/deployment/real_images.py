"""Real images on which an exported file is compared with its network.

Random numbers would not do: a network that was trained on images saturates on them, or is constant.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.training.data.prepared_dataset import read_prepared

NUM_IMAGES = 8


def validation_images(directory: Path, count: int = NUM_IMAGES) -> np.ndarray:
    """Validation images of a data set, at even intervals, uint8 (count, size, size, channels).

    Args:
        directory: The directory of the prepared images.
        count: Their number, at most.
    """
    _, _, images, _ = read_prepared(directory, verify_sha256=False).train_val_arrays()
    return np.array(images[evenly_spaced(len(images), count)])


def evenly_spaced(total: int, count: int) -> np.ndarray:
    """The indices of `count` of `total` images, or of all where there are fewer."""
    return np.linspace(0, total - 1, min(total, count)).round().astype(np.int64)


def sample_photos(channels: int) -> np.ndarray:
    """Two photos of scikit-learn, uint8 (2, 427, 640, channels)."""
    from sklearn.datasets import load_sample_images

    photos = np.stack(load_sample_images().images)
    if channels == 1:
        return np.stack([np.asarray(Image.fromarray(photo).convert("L")) for photo in photos])[
            ..., np.newaxis
        ]
    return photos[..., np.arange(channels) % 3]


def photo_inputs(channels: int, resolution: int) -> Tensor:
    """Parts of the photos as the input of a network whose preprocessing is unknown.

    Returns:
        float32 (8, channels, resolution, resolution), in about -2 to 2.
    """
    photos = sample_photos(channels)
    height, width = photos.shape[1:3]
    starts = np.linspace(0, width - height, NUM_IMAGES // 2).astype(int)
    squares = np.concatenate([photos[:, :, start : start + height] for start in starts])
    images = torch.from_numpy(squares).permute(0, 3, 1, 2).float()
    images = torch.nn.functional.interpolate(
        images, size=(resolution, resolution), mode="bilinear", antialias=True
    )
    return (images / 255 - 0.5) / 0.25


def as_pil(pixels: np.ndarray) -> list[Image.Image]:
    """PIL images of uint8 (count, height, width, 1 or 3)."""
    return [Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in pixels]


def image_batches(preprocessing: Preprocessing, data: Path | None) -> Sequence[np.ndarray]:
    """Batches of images of one size each: photos, and validation images where they are there.

    Returns:
        uint8 (count, height, width, channels).
    """
    photos = sample_photos(preprocessing.channels)
    return [photos] if data is None else [validation_images(data), photos]
