"""The measured score of one network, from a training or from a table look-up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from phinas.experiment.executors.interface import NonRetryableError
from phinas.experiment.measurement_arrays import decode_correct, decode_resamples
from phinas.experiment.statistics.intervals import (
    bootstrap_interval,
    normal_interval,
    wilson_interval,
    wilson_standard_error,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from phinas.experiment.statistics.paired_scores import NetworkScore

_UNKNOWN_ERROR = 0.5  # no score from 0 to 1 has a larger standard error
_METRIC_LABELS = {"macro_f1": "macro F1"}
_NUMBER_FIELDS = (
    "score",
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
# fields that `to_dict` leaves out if they have these values
_OMITTED_VALUES: dict[str, object] = {
    "standard_error": None,
    "resampled_scores": "",
    "correct": "",
    "per_class_accuracy": [],
    "stop_reason": "",
    "micro_batch_size": 0,
    "peak_memory_bytes": 0,
    "cuda_graph": "",
}


@dataclass(frozen=True, slots=True)
class Measurement:
    """The score of one network, its uncertainty, and how it was measured.

    The uncertainty of an accuracy follows from the number of images. For other metrics of a
    training it follows from bootstrap replicates. A user's evaluator may state a standard error.

    Args:
        score: score from 0 to 1, which search, scaling and validation maximize.
        split: the split of the scored images: "validation" or "test"; "table" for a look-up.
        images: number of scored images; 0 if unknown.
        metric: the metric of the score: "accuracy" (top-1), "balanced_accuracy", "macro_f1", or a
            name that a user's evaluator chose.
        standard_error: standard error of the score, if the evaluator states one; else None.
        resampled_scores: bootstrap replicates of the score, as text (`encode_resamples`); "" for a
            score without replicates.
        loss: mean cross-entropy.
        top5: top-5 accuracy.
        seed: seed of the training.
        epochs: number of trained epochs.
        train_seconds: time of the training; reading the data is not included.
        images_per_second: training images per second.
        curve: score on the validation images after each epoch, in the same metric.
        device: name of the device.
        correct: which test images are classified correctly, in the order of the split, as text
            (`encode_correct`); "" if not recorded. Only recorded for accuracy.
        per_class_accuracy: accuracy on the images of each class (recall).
        stop_reason: why the training ended before its last epoch: "stopped", "deadline" or
            "paused"; else "".
        micro_batch_size: images in one forward pass if the batch did not fit the memory; else 0.
        peak_memory_bytes: peak of allocated memory on a GPU; 0 on other devices.
        cuda_graph: "captured" if the train steps ran as a CUDA graph, "failed: ..." if they could
            not be captured; "" on other devices.

    Raises:
        NonRetryableError: a field has an invalid value.
    """

    score: float
    split: str = "validation"
    images: int = 0
    metric: str = "accuracy"
    standard_error: float | None = None
    resampled_scores: str = ""
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
    cuda_graph: str = ""

    def __post_init__(self) -> None:
        self._check_numbers()
        for name in ("metric", "split"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise NonRetryableError(f"{name}: {value!r} is not the name of a {name}")
        if self.standard_error is not None:
            _check_finite("standard_error", self.standard_error)
            if self.standard_error < 0:
                raise NonRetryableError(f"standard_error: {self.standard_error!r} is negative")
        if self.resampled_scores != "":
            decode_resamples(self.resampled_scores)
        if self.correct != "":
            self._check_correct()

    def _check_numbers(self) -> None:
        for name in _NUMBER_FIELDS:
            _check_finite(name, getattr(self, name))
        for name in _LIST_FIELDS:
            for score in getattr(self, name):
                _check_finite(name, score)
        if not 0 <= self.score <= 1:
            raise NonRetryableError(f"score: {self.score!r} is not a fraction from 0 to 1")

    def _check_correct(self) -> None:
        if self.split != "test" or self.metric != "accuracy":
            raise NonRetryableError(
                f"correct: recorded for {self.metric} on the split {self.split!r}; it is only "
                "defined for accuracy on the test split"
            )
        correct = decode_correct(self.correct, self.images)
        if not math.isclose(float(correct.mean()), self.score, abs_tol=1e-9):
            raise NonRetryableError(
                f"correct: {int(correct.sum())} of {self.images} images are correct, which "
                f"contradicts the accuracy {self.score!r}"
            )

    @property
    def correct_mask(self) -> "NDArray[np.bool_] | None":
        """(images,): which test images are classified correctly; None if not recorded."""
        return decode_correct(self.correct, self.images) if self.correct else None

    @property
    def resamples(self) -> "NDArray[np.float32] | None":
        """Bootstrap replicates of the score; None if not recorded.

        The replicates of two networks on the same images are paired.
        """
        return decode_resamples(self.resampled_scores) if self.resampled_scores else None

    @property
    def balanced_accuracy(self) -> float:
        """Mean of `per_class_accuracy`, in which all classes have the same weight; NaN if it is not
        recorded.
        """
        if not self.per_class_accuracy:
            return math.nan
        return sum(self.per_class_accuracy) / len(self.per_class_accuracy)

    @property
    def sampling_error(self) -> float | None:
        """Standard error of the score from the sampling of images; None if unknown.

        It is the stated standard error if there is one, else that of the bootstrap replicates, else
        for an accuracy the one that Wilson's interval implies.
        """
        if self.standard_error is not None:
            return self.standard_error
        resamples = self.resamples
        if resamples is not None:
            return float(resamples.std(ddof=1))
        if self.metric == "accuracy" and self.images > 0:
            return wilson_standard_error(self.score, self.images)
        return None

    def interval(self) -> tuple[float, float]:
        """Return the 95% interval of the score from the sampling of images.

        It is a normal interval for a stated standard error, `bootstrap_interval` for replicates,
        Wilson's interval for an accuracy, and (0, 1) if none of them is known.
        """
        if self.standard_error is not None:
            return normal_interval(self.score, self.standard_error)
        resamples = self.resamples
        if resamples is not None:
            return bootstrap_interval(self.score, resamples)
        return wilson_interval(self.score, self.images if self.metric == "accuracy" else 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the measurement as plain data; some fields without a value are left out."""
        data = asdict(self) | {name: list(getattr(self, name)) for name in _LIST_FIELDS}
        return {
            name: value
            for name, value in data.items()
            if name not in _OMITTED_VALUES or value != _OMITTED_VALUES[name]
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Restore a measurement from the data of `to_dict`; unknown keys are ignored.

        Raises:
            NonRetryableError: a field has an invalid value.
        """
        field_names = {field.name for field in fields(cls)}
        values = {name: value for name, value in data.items() if name in field_names}
        return cls(**values | {name: tuple(values.get(name, ())) for name in _LIST_FIELDS})


def combine_seeds(flops: int, measurements: Sequence[Measurement]) -> "NetworkScore":
    """Combine the measurements of one network with several seeds, for comparisons of networks.

    Args:
        flops: multiply-adds of the network.
        measurements: at least one, on the same images, with the same metric and different seeds.
    """
    from phinas.experiment.statistics.paired_scores import NetworkScore

    first = measurements[0]
    correct = {item.seed: item.correct_mask for item in measurements}
    resamples = {item.seed: item.resamples for item in measurements}
    errors = [item.sampling_error for item in measurements if item.sampling_error is not None]
    uses_binomial_error = first.metric == "accuracy" and first.standard_error is None
    return NetworkScore(
        flops,
        {item.seed: item.score for item in measurements},
        first.images,
        {seed: mask for seed, mask in correct.items() if mask is not None},
        resamples_by_seed={seed: row for seed, row in resamples.items() if row is not None},
        standard_error=None if uses_binomial_error else max(errors, default=_UNKNOWN_ERROR),
    )


def metric_label(metric: str) -> str:
    """Return the name of a metric in a sentence, such as "balanced accuracy" or "macro F1"."""
    return _METRIC_LABELS.get(metric, metric.replace("_", " "))


def _check_finite(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise NonRetryableError(f"{name}: {value!r} is not a finite number")
