"""One image as the input of a trained network, as the images of its data set were.

The stored images of a data set went through `decode` and then through `resize` and `normalize`.
`ImageTransform` does the same with one image, for predictions.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from torch import Tensor

from phinas.experiment.artifacts.preprocessing import Preprocessing
from phinas.training.augmentation.transforms import normalize, resize
from phinas.training.data.decoding import Pixels, decode
from phinas.training.data.source_dataset import ImageContent


@dataclass(frozen=True)
class ImageTransform:
    """Makes the input of a network from images. It can be pickled, so data loaders can use it.

    Attributes:
        preprocessing: The steps, with their sizes and statistics.
        normalizes: Whether the result is normalized. False is for an ONNX file that does this, and
            the second resize, by itself.
    """

    preprocessing: Preprocessing
    normalizes: bool = True

    def __call__(self, image: Image.Image | Path | str | bytes) -> Tensor:
        """Preprocess one image.

        Args:
            image: A file, the bytes of a file, or a PIL image, which is left unchanged. A large
                JPEG that PIL has opened and not yet decoded is reduced by its decoder, as in
                training.

        Returns:
            float32 (channels, resolution, resolution), normalized; or uint8 (image_size,
            image_size, channels) if `normalizes` is False.

        Raises:
            BadImage: The image cannot be used.
        """
        return self.make_batch(self.decode(image)[np.newaxis])[0]

    def decode(self, image: Image.Image | Path | str | bytes) -> Pixels:
        """Decode one image to uint8 (image_size, image_size, channels).

        Raises:
            BadImage: The image cannot be used.
        """
        pixels = decode(
            self._content(image),
            image_size=self.preprocessing.image_size,
            resize_mode=self.preprocessing.resize_mode,
        )
        if self.preprocessing.channel_order == "L":
            return np.asarray(Image.fromarray(pixels).convert("L"))[..., np.newaxis]
        return pixels

    def make_batch(self, pixels: np.ndarray) -> Tensor:
        """The input for decoded images.

        Args:
            pixels: uint8 (count, image_size, image_size, channels).

        Returns:
            float32 (count, channels, resolution, resolution), normalized; or `pixels` if
            `normalizes` is False.
        """
        images = torch.from_numpy(np.array(pixels))
        if not self.normalizes:
            return images
        images = images.permute(0, 3, 1, 2)
        mean, std = (
            torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return normalize(resize(images, self.preprocessing.resolution), mean, std)

    def _content(self, image: Image.Image | Path | str | bytes) -> ImageContent:
        """What `decode` reads. It changes the image that it gets, so a PIL image is copied."""
        if isinstance(image, bytes | Path):
            return image
        if isinstance(image, str):
            return Path(image)
        min_size = self.preprocessing.JPEG_DRAFT_FACTOR * self.preprocessing.image_size
        if (
            isinstance(image, JpegImageFile)
            and image.fp is not None
            and min(image.size) >= min_size
        ):
            # from its bytes, the decoder can reduce it
            position = image.fp.tell()
            image.fp.seek(0)
            content = image.fp.read()
            image.fp.seek(position)
            return content
        return image.copy
