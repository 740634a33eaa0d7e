"""What one training, or one look-up, says about one network."""

import base64
import binascii
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from phinas.experiment.executors.interface import NonRetryableError
from phinas.experiment.statistics.intervals import wilson_interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NUMBER_FIELDS = (
    "accuracy",
    "images",
    "loss",
    "top5",
    "seed",
    "epochs",
    "train_seconds",
    "images_per_second",
    "micro_batch_size",
    "peak_memory_bytes",
)
_LIST_FIELDS = ("curve", "per_class_accuracy")
_OMITTED_IF_EMPTY = (
    "correct",
    "per_class_accuracy",
    "stop_reason",
    "micro_batch_size",
    "peak_memory_bytes",
)


@dataclass(frozen=True, slots=True)
class Measurement:
    """accuracy: top-1 as a fraction; split: the images it was measured on ("validation" or "test",
    "table" for a look-up);
    images: how many they were; loss: mean cross-entropy; curve: accuracy after each epoch;
    train_seconds excludes the reading of data; device: what it ran on; correct: which of the test
    images, in the order of the split, are right (`encode_correct`), "" where that is not recorded;
    per_class_accuracy: accuracy among the images of each class; stop_reason: why it ended before
    its last epoch ("stopped", "deadline"), or ""; micro_batch_size: images passed at a time, where
    memory did not hold the batch, else 0; peak_memory_bytes: the most that was allocated on a GPU,
    else 0."""

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
    per_class_accuracy: tuple[float, ...] = ()
    stop_reason: str = ""
    micro_batch_size: int = 0
    peak_memory_bytes: int = 0

    def __post_init__(self) -> None:
        for name in _NUMBER_FIELDS:
            _check_finite(name, getattr(self, name))
        for name in _LIST_FIELDS:
            for accuracy in getattr(self, name):
                _check_finite(name, accuracy)
        if not 0 <= self.accuracy <= 1:
            raise NonRetryableError(f"accuracy: {self.accuracy!r} is not a fraction from 0 to 1")
        if self.correct != "":
            self._check_correct()

    def _check_correct(self) -> None:
        if self.split != "test":
            raise NonRetryableError(f"correct: is of the test split, not of {self.split!r}")
        correct = decode_correct(self.correct, self.images)
        if not math.isclose(float(correct.mean()), self.accuracy, abs_tol=1e-9):
            message = f"{int(correct.sum())} of {self.images} images are right"
            raise NonRetryableError(
                f"correct: {message}, which is not the accuracy {self.accuracy!r}"
            )

    @property
    def correct_mask(self) -> "NDArray[np.bool_] | None":
        """Of each test image whether it was classified rightly; None where that is not recorded."""
        return decode_correct(self.correct, self.images) if self.correct else None

    @property
    def mean_class_accuracy(self) -> float:
        """The mean of the classes' accuracies, in which a rare class counts as much as a common
        one; NaN where not told.
        """
        return (
            sum(self.per_class_accuracy) / len(self.per_class_accuracy)
            if self.per_class_accuracy
            else math.nan
        )

    def interval(self) -> tuple[float, float]:
        """The 95% interval of `accuracy` that the finite number of images leaves (Wilson, 1927);
        (0, 1) for none.
        """
        return wilson_interval(self.accuracy, self.images)

    def to_dict(self) -> dict[str, Any]:
        """Without what came later and is not told, as before there were such fields."""
        data = asdict(self) | {name: list(getattr(self, name)) for name in _LIST_FIELDS}
        return {
            name: value for name, value in data.items() if value or name not in _OMITTED_IF_EMPTY
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        field_names = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in field_names}
        return cls(**values | {name: tuple(values.get(name, ())) for name in _LIST_FIELDS})


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NonRetryableError(f"{name}: {value!r} is not a finite number")


def encode_correct(correct: "NDArray[np.bool_]") -> str:
    """A yes or no for each image as text: eight to a byte (numpy.packbits), base64. 10,000 images
    are 1.7 kB.
    """
    import numpy as np

    return base64.b64encode(np.packbits(correct).tobytes()).decode("ascii")


def decode_correct(text: str, images: int) -> "NDArray[np.bool_]":
    """Decode the text of `encode_correct`. Raises NonRetryableError where it is not of `images`."""
    import numpy as np

    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    except (TypeError, ValueError, binascii.Error):
        raise NonRetryableError(f"correct: {text!r:.40} is not base64") from None
    if images <= 0 or len(packed) != -(-images // 8):
        raise NonRetryableError(
            f"correct: has {len(packed)} bytes, which are not of {images} images"
        )
    bits = np.unpackbits(packed)
    if bits[images:].any():
        raise NonRetryableError(f"correct: says yes beyond the last of {images} images")
    return bits[:images].astype(bool)
