"""How jobs are executed, and the images."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from phinas.experiment.schema.fields import (
    Fraction,
    NonEmptyText,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Section,
    option,
)

DEVICES = "auto, cpu, cuda, cuda:N or mps"


def check_device(value: str) -> str:
    """`value` where it names a device. Whether the machine has it is checked when it is used."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", value):
        raise ValueError(f"is not a device; use {DEVICES}")
    return value


class HardwareSection(Section):
    """Keys that `phinas run` and `phinas fit` share: the seed and how a device is used."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = option(
        "Random seed of all random choices, such as the data splits, the initial weights and the "
        "augmentation.",
        default=0,
    )
    device: Annotated[str, AfterValidator(check_device)] = option(
        "Device for training and timing. auto selects a GPU where there is one.",
        default="auto",
        values=DEVICES,
        on_resume="may change",
    )
    threads: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = option(
        "CPU threads of each training. auto divides the CPU cores among the trainings that run at "
        "the same time.",
        default="auto",
        on_resume="may change",
    )
    deterministic: bool = option(
        "Make trainings on a GPU bit-identical from run to run on the same device, at lower "
        "speed. Trainings on a CPU always are.",
        default=False,
        on_resume="may change",
    )
    checkpoint_minutes: PositiveFloat = option(
        "Interval between two checkpoints of a training. An interrupted training resumes from the "
        "last one.",
        default=5.0,
        unit="min",
        on_resume="may change",
    )


class RunSection(HardwareSection):
    """How the jobs of a run are executed."""

    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = option(
        "Number of jobs, such as trainings, that run at the same time. auto runs one job for each "
        "CPU core, or run.trials_per_gpu jobs for each GPU.",
        default="auto",
        on_resume="may change",
    )
    trials_per_gpu: Annotated[int, Field(ge=1, le=64)] = option(
        "Number of trainings that share a GPU, where run.workers is auto. Small networks do not "
        "use a whole GPU.",
        default=1,
        on_resume="may change",
    )
    executor: Literal["processes", "inline", "ray"] = option(
        "How jobs are executed. processes starts one subprocess for each worker, inline runs jobs "
        "in the main process for debugging, and ray uses the Ray cluster at RAY_ADDRESS or this "
        "machine.",
        default="processes",
    )
    storage: str | None = option(
        "Optuna RDB storage that records the trials.",
        default=None,
        values="a database URL such as postgresql://HOST/NAME",
        default_text="study.db in the run directory",
    )
    trial_timeout_minutes: PositiveFloat = option(
        "Maximum duration of one job. A longer one is stopped and recorded as failed.",
        default=60.0,
        unit="min",
        on_resume="may change",
    )
    max_retries: Annotated[int, Field(ge=0, le=100)] = option(
        "Number of times that a failed job is repeated. run.retry_on says after which failures.",
        default=2,
        on_resume="may change",
    )
    retry_on: list[Literal["crash", "exception", "timeout"]] = option(
        "Failures after which a job is repeated. crash: its process ended. exception: it raised "
        "an error. timeout: it exceeded run.trial_timeout_minutes. A result that is not a finite "
        "number is never repeated.",
        default=["crash"],
        on_resume="may change",
    )


class DataSection(Section):
    """The images and their splits."""

    source: NonEmptyText = option(
        "Images and their labels. A folder has one folder of images for each class.",
        values="{sources}",
    )
    image_size: PositiveInt | None = option(
        "Height and width at which the images are stored.",
        default=None,
        unit="px",
        default_text="the median size of the images, at most 224",
    )
    upsample: bool = option(
        "Allow networks with a resolution above the stored image size. The images are enlarged for "
        "them.",
        default=False,
    )
    validation_fraction: PositiveFraction = option(
        "Fraction of the training images that is split off as validation images, for model "
        "selection.",
        default=0.2,
    )
    test_fraction: PositiveFraction = option(
        "Fraction of all images that is split off as test images, where the data set has no test "
        "split.",
        default=0.2,
    )
    group_by: NonEmptyText | None = option(
        "Keep all images of a group, such as one patient, in the same split.",
        default=None,
        values="a column (Parquet or hf:NAME), a key (.npz), or for class folders a regular "
        "expression with parentheses around the part of the path that names the group, such as "
        r"([^/_]+)_\d+\.jpg$",
        default_text="each image is a group of its own",
    )
    max_train_images: PositiveInt | None = option(
        "Maximum number of training images. The subset has the same class proportions.",
        default=None,
        default_text="all",
    )
    max_validation_images: PositiveInt | None = option(
        "Maximum number of validation images.",
        default=None,
        default_text="all",
    )
    horizontal_flip: bool | Literal["auto"] = option(
        "Mirror training images at random from left to right. auto does so for all data sets "
        "except digits.",
        default="auto",
    )
    max_shift: Annotated[Fraction, Field(le=0.5)] = option(
        "Maximum random shift of a training image, as a fraction of the image size.",
        default=0.125,
    )
    skip_bad_images: bool = option(
        "Skip images that cannot be read, and count them. Otherwise they are an error.",
        default=False,
    )
