"""How an image file becomes the input of a trained network.

`Preprocessing` is in the files of a fit and of a run, in the metadata of an ONNX file, in a
stand-alone Python file and in the model card. `phinas.training.data.decoding` and
`phinas.training.augmentation.transforms` do the same for the training images.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from phinas.experiment.artifacts.artifact import Record
from phinas.experiment.artifacts.prepared_data import DatasetSummary
from phinas.experiment.schema.run import ResizeMode

Size = Annotated[int, Field(ge=1)]
_MODES = {
    "crop": "Crop the largest centered square, and resize it to {size} x {size} px",
    "squash": "Resize the image to {size} x {size} px, whatever its aspect ratio",
    "letterbox": "Resize the image so that its longer edge has {size} px, and pad it with black to "
    "{size} x {size} px, the image in the center",
}


class Preprocessing(Record):
    """How an image file becomes the input of a network: two resizes and a normalization.

    The images of a data set are stored at `image_size`. A network gets them at its resolution.
    """

    # A JPEG whose shorter edge has at least this many times `image_size` is scaled by its decoder
    # to a half, a quarter or an eighth (Pillow's `Image.draft`).
    JPEG_DRAFT_FACTOR: ClassVar[int] = 4

    image_size: Size = Field(
        description="Height and width in px to which an image file is resized first"
    )
    resolution: Size = Field(description="Height and width of the network's input in px")
    resize_mode: ResizeMode = Field(
        description="How an image that is not square becomes square: crop, squash or letterbox"
    )
    interpolation: Literal["bicubic"] = Field(
        default="bicubic",
        description="Interpolation from the file to image_size, antialiased, rounded to 8 bits",
    )
    resolution_interpolation: Literal["bilinear"] = Field(
        default="bilinear",
        description="Interpolation from image_size to resolution, antialiased, rounded to 8 bits",
    )
    channel_order: Literal["RGB", "L"] = Field(
        description="Channels of the input: RGB, or L (one channel of luminance)"
    )
    mean: tuple[float, ...] = Field(
        description="Mean of each channel, in 0 to 1, which is subtracted from pixel / 255"
    )
    std: tuple[float, ...] = Field(
        description="Standard deviation of each channel, in 0 to 1, which then divides"
    )

    @model_validator(mode="after")
    def _check_channels(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"mean and std must have one number for each channel of {self.channel_order}"
            )
        if min(self.std) <= 0:
            raise ValueError("std must be positive")
        return self

    @classmethod
    def of_data(
        cls,
        data: DatasetSummary,
        *,
        resolution: int,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
    ) -> Self:
        """The preprocessing of prepared images.

        Args:
            data: The prepared images.
            resolution: Height and width of the network's input in px.
            mean: Mean of each channel. None: of the training images.
            std: Standard deviation of each channel. None: of the training images.
        """
        return cls(
            image_size=data.image_size,
            resolution=resolution,
            resize_mode=data.resize_mode,
            channel_order="L" if data.channels == 1 else "RGB",
            mean=data.mean if mean is None else mean,
            std=data.std if std is None else std,
        )

    @property
    def channels(self) -> int:
        """Channels of the input: 3 or 1."""
        return len(self.channel_order)

    def steps(self) -> tuple[str, ...]:
        """The steps from a decoded image to the input, as sentences."""
        resize = _MODES[self.resize_mode].format(size=self.image_size)
        steps = [
            "Turn the image upright (EXIF) and convert it to 8-bit RGB, with transparent pixels on "
            "white and 16 bits scaled to 8",
            f"{resize} ({self.interpolation}, antialiased)",
        ]
        if self.channel_order == "L":
            steps.append(
                "Convert it to luminance, one channel (an image that stays gray in step 1 gives "
                "the same)"
            )
        if self.resolution != self.image_size:
            size = f"{self.resolution} x {self.resolution} px"
            steps.append(f"Resize it to {size} ({self.resolution_interpolation}, antialiased)")
        mean, std = (
            ", ".join(f"{value:.6g}" for value in values) for values in (self.mean, self.std)
        )
        steps.append(
            f"Divide by 255, subtract the mean ({mean}), divide by the standard deviation ({std})"
        )
        return tuple(steps)
