"""Facts about the files of a data set that decoding leaves out: their sizes and damaged bytes."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from phinas.training.data.file_damage import FileDamage, find_damage
from phinas.training.data.source_dataset import ImageContent, SourceSplit

_CHUNK_IMAGES = 256  # between two reports of the progress


@dataclass(frozen=True)
class FileSurvey:
    """The files of one split of a source.

    Attributes:
        names: The name of each image.
        sizes: Width and height in px, int64 (count, 2). 0 where unknown.
        damages: The damage of images by their index. Images without damage are left out.
    """

    names: list[str]
    sizes: np.ndarray
    damages: dict[int, FileDamage]

    def take(self, indices: np.ndarray) -> "FileSurvey":
        """The files with these indices."""
        positions = {int(index): position for position, index in enumerate(indices)}
        return FileSurvey(
            [self.names[index] for index in positions],
            self.sizes[indices],
            {
                positions[index]: damage
                for index, damage in self.damages.items()
                if index in positions
            },
        )


def survey_files(split: SourceSplit, *, on_progress: Callable[[int], None]) -> FileSurvey:
    """Read all files of a split once.

    Args:
        split: The images, which are not decoded.
        on_progress: Called with the number of files that were read.
    """
    names: list[str] = []
    sizes = np.zeros((len(split), 2), np.int64)
    damages: dict[int, FileDamage] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of unusual files
        for index, (name, content) in enumerate(split.iter_images()):
            names.append(name)
            encoded = _read(content)
            if encoded:
                sizes[index] = _read_size(encoded)
                damage = find_damage(encoded)
                if damage is not None:
                    damages[index] = damage
            if index % _CHUNK_IMAGES == 0:
                on_progress(index)
    on_progress(len(names))
    return FileSurvey(names, sizes, damages)


def survey_arrays(count: int, *, split: str) -> FileSurvey:
    """What is known of the images of a source without files."""
    names = [f"{split} row {index}" for index in range(count)]
    return FileSurvey(names, np.zeros((count, 2), np.int64), {})


def _read(content: ImageContent) -> bytes:
    """The encoded image; empty if it cannot be read, or if the source only returns it decoded."""
    if isinstance(content, bytes):
        return content
    if not isinstance(content, Path):
        return b""
    try:
        return content.read_bytes()
    except OSError:
        return b""  # a bad image, which the decoder reports


def _read_size(encoded: bytes) -> tuple[int, int]:
    try:
        with Image.open(BytesIO(encoded)) as image:
            return image.size
    except Exception:  # Pillow's parsers may raise anything; the decoder reports the image.
        return 0, 0
