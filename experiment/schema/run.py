"""How a run is carried out, and its images."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from phinas.experiment.schema.fields import Fraction, PositiveFloat, PositiveInt, Section


def check_device(value: str) -> str:
    """`value` where it may name a device. Whether that is there is asked when it is used."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
        raise ValueError("is none of auto, cpu, cuda, cuda:0 (or another number), mps")
    return value


class RunSection(Section):
    """How the run is carried out."""

    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="decides splits, proposals, initial weights and data order",
    )
    device: Annotated[str, AfterValidator(check_device)] = Field(
        default="auto", description="auto: a GPU if there is one"
    )
    workers: int | Literal["auto"] = Field(
        default="auto", description="trainings at a time; auto: one a core, or one a GPU"
    )
    threads: int | Literal["auto"] = Field(
        default="auto", description="CPU threads of a training; auto: cores over workers"
    )
    trials_per_gpu: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1,
        description="trainings that share a GPU, as processes, where workers is auto; small "
        "networks leave it idle",
    )
    deterministic: bool = Field(
        default=False,
        description="the same bits run to run on one device; it slows a GPU, and a CPU gives them "
        "in any case",
    )
    executor: Literal["processes", "inline", "ray"] = Field(
        default="processes",
        description="inline: in the driver, for debugging; ray: this machine, or RAY_ADDRESS",
    )
    storage: str | None = Field(
        default=None,
        description="URL of an Optuna RDB storage; none: study.db in the run directory",
    )
    trial_timeout_minutes: PositiveFloat = Field(
        default=60.0, description="a training is ended, and failed, after this long"
    )
    checkpoint_minutes: PositiveFloat = Field(
        default=5.0,
        description="a training leaves its state every so often, and goes on from there where it "
        "is begun again",
    )
    max_retries: int = Field(
        default=2,
        ge=0,
        le=100,
        description="a training that failed is begun again so many times, if",
    )
    retry_on: list[Literal["crash", "exception", "timeout"]] = Field(
        default=["crash"],
        description="it died with its process (`inline` can't survive that), raised an error, "
        "hung beyond trial_timeout_minutes; a "
        "result that is no accuracy, such as NaN, is never tried again",
    )

    @model_validator(mode="after")
    def _check_worker_counts(self) -> Self:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value != "auto" and not 1 <= value <= 256:
                raise ValueError(f"{name}: {value} is not from 1 to 256, nor auto")
        return self


class DataSection(Section):
    """The images."""

    source: str = Field(
        min_length=1,
        description="digits, a path (class folders, Parquet, an .npz), hf:NAME or "
        "torchvision:NAME[:ROOT]",
    )
    image_size: PositiveInt | None = Field(
        default=None,
        description="pixels of a side that images are stored at; none: their median, 224 at most",
    )
    upsample: bool = Field(
        default=False, description="networks may see images enlarged beyond their stored side"
    )
    validation_fraction: Fraction = Field(
        default=0.2, gt=0, description="of the training images, held out to steer the search"
    )
    test_fraction: Fraction = Field(
        default=0.2, gt=0, description="of all images, where the data brings no test split"
    )
    group_by: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="images of one group are in one split: a column (Parquet, hf:NAME), a key "
        "(.npz), or for class folders a "
        r"regular expression that captures it in the path, ([^/_]+)_\d+\.jpg$",
    )
    max_train_images: PositiveInt | None = Field(
        default=None, description="use this many training images at most (drawn evenly by class)"
    )
    max_validation_images: PositiveInt | None = Field(
        default=None, description="use this many proxy-validation images at most"
    )
    horizontal_flip: bool | Literal["auto"] = Field(
        default="auto", description="mirror images left to right; auto: yes but for digits"
    )
    max_shift: Fraction = Field(
        default=0.125, le=0.5, description="shift images by up to this fraction of their side"
    )
    skip_bad_images: bool = Field(
        default=False,
        description="leave unreadable images out and count them; else they are an error",
    )
