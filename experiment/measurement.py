"""What one training, or one look-up, says about one network."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from experiment.executors.interface import Conclusive


@dataclass(frozen=True, slots=True)
class Measurement:
    """accuracy: top-1 as a fraction; split: the images it was measured on ("validation" or "test", "table" for a look-up);
    images: how many they were; loss: mean cross-entropy; curve: accuracy after each epoch; train_seconds excludes the
    reading of data; device: what it ran on."""

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

    def __post_init__(self) -> None:
        for name in ("accuracy", "images", "loss", "top5", "seed", "epochs", "train_seconds", "images_per_second"):
            _check_finite(name, getattr(self, name))
        for accuracy in self.curve:
            _check_finite("curve", accuracy)
        if not 0 <= self.accuracy <= 1:
            raise Conclusive(f"accuracy: {self.accuracy!r} is not a fraction from 0 to 1")

    def interval(self) -> tuple[float, float]:
        """The 95% interval of `accuracy` that the finite number of images leaves (Wilson, 1927); (0, 1) for none."""
        return wilson_interval(self.accuracy, self.images)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"curve": list(self.curve)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in known}
        return cls(**values | {"curve": tuple(values.get("curve", ()))})


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Conclusive(f"{name}: {value!r} is not a finite number")


def wilson_interval(fraction: float, count: int, *, z: float = 1.96) -> tuple[float, float]:
    """The score interval of a fraction of `count` independent yes/no results."""
    if count <= 0:
        return (0.0, 1.0)
    centre = (fraction + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(fraction * (1 - fraction) / count + z * z / (4 * count * count))
    return (max(0.0, centre - half), min(1.0, centre + half))
