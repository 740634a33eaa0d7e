"""What one training, or one look-up, says about one network."""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from phinas.experiment.executors.interface import Conclusive

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NUMBERS = (
    "accuracy",
    "images",
    "loss",
    "top5",
    "seed",
    "epochs",
    "train_seconds",
    "images_per_second",
    "micro_batch",
    "peak_bytes",
)
_LISTS = ("curve", "by_class")
_LATER = ("correct", "by_class", "ended", "micro_batch", "peak_bytes")


@dataclass(frozen=True, slots=True)
class Measurement:
    """accuracy: top-1 as a fraction; split: the images it was measured on ("validation" or "test",
    "table" for a look-up);
    images: how many they were; loss: mean cross-entropy; curve: accuracy after each epoch;
    train_seconds excludes the reading of data; device: what it ran on; correct: which of the test
    images, in the order of the split, are right (`encode_correct`), "" where that is not recorded;
    by_class: accuracy among the images of each class; ended: why it ended before its last epoch
    ("stopped", "deadline"), or ""; micro_batch: images passed at a time, where memory did not hold
    the batch, else 0; peak_bytes: the most that was allocated on a GPU, else 0."""

    accuracy: float
    split: str = "validation"
    images: int = 0
    loss: float = 0.0
    top5: float = 0.0
    seed: int = 0
    epochs: int = 0
    train_seconds: float = 0.0
    images_per_second: float = 0.0
    curve: tuple[float, ...] = ()
    device: str = ""
    correct: str = ""
    by_class: tuple[float, ...] = ()
    ended: str = ""
    micro_batch: int = 0
    peak_bytes: int = 0

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            _check_finite(name, getattr(self, name))
        for name in _LISTS:
            for accuracy in getattr(self, name):
                _check_finite(name, accuracy)
        if not 0 <= self.accuracy <= 1:
            raise Conclusive(f"accuracy: {self.accuracy!r} is not a fraction from 0 to 1")
        if self.correct != "":
            self._check_correct()

    def _check_correct(self) -> None:
        if self.split != "test":
            raise Conclusive(f"correct: is of the test split, not of {self.split!r}")
        right = decode_correct(self.correct, self.images)
        if not math.isclose(float(right.mean()), self.accuracy, abs_tol=1e-9):
            told = f"{int(right.sum())} of {self.images} images are right"
            raise Conclusive(f"correct: {told}, which is not the accuracy {self.accuracy!r}")

    @property
    def right(self) -> "NDArray[np.bool_] | None":
        """Of each test image whether it was classified rightly; None where that is not recorded."""
        return decode_correct(self.correct, self.images) if self.correct else None

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of the classes' accuracies, in which a rare class counts as much as a common
        one; NaN where not told.
        """
        return sum(self.by_class) / len(self.by_class) if self.by_class else math.nan

    def interval(self) -> tuple[float, float]:
        """The 95% interval of `accuracy` that the finite number of images leaves (Wilson, 1927);
        (0, 1) for none.
        """
        return wilson_interval(self.accuracy, self.images)

    def to_dict(self) -> dict[str, Any]:
        """Without what came later and is not told, as before there were such fields."""
        data = asdict(self) | {name: list(getattr(self, name)) for name in _LISTS}
        return {name: value for name, value in data.items() if value or name not in _LATER}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**values | {name: tuple(values.get(name, ())) for name in _LISTS})


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Conclusive(f"{name}: {value!r} is not a finite number")


def encode_correct(right: "NDArray[np.bool_]") -> str:
    """A yes or no for each image as text: eight to a byte (numpy.packbits), base64. 10,000 images
    are 1.7 kB.
    """
    import numpy as np

    return base64.b64encode(np.packbits(right).tobytes()).decode("ascii")


def decode_correct(text: str, images: int) -> "NDArray[np.bool_]":
    """What `encode_correct` was given. Conclusive for what it can't have made of so many images."""
    import numpy as np

    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (TypeError, ValueError, binascii.Error):
        raise Conclusive(f"correct: {text!r:.40} is not base64") from None
    if images <= 0 or len(packed) != -(-images // 8):
        raise Conclusive(f"correct: has {len(packed)} bytes, which are not of {images} images")
    bits = np.unpackbits(packed)
    if bits[images:].any():
        raise Conclusive(f"correct: says yes beyond the last of {images} images")
    return bits[:images].astype(bool)


def wilson_interval(fraction: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """The score interval of a fraction of `count` independent yes/no results."""
    if count <= 0:
        return (0.0, 1.0)
    centre = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half = (
        z
        / (1 + z * z / count)
        * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    )
    return (max(0.0, centre - half), min(1.0, centre + half))
