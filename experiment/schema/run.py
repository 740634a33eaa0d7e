"""How jobs are executed, and the images."""

import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from phinas.experiment.executors import EXECUTORS
from phinas.experiment.schema.fields import (
    FiniteFloat,
    Fraction,
    Minutes,
    NonEmptyText,
    PositiveFloat,
    PositiveFraction,
    PositiveInt,
    Section,
    option,
)

DEVICES = "auto, cpu, cuda, cuda:N or mps"
ResizeMode = Literal["crop", "squash", "letterbox"]
LatencyRuntime = Literal["torch", "onnxruntime", "onnxruntime-int8"]
RUNTIME_NAMES: dict[LatencyRuntime, str] = {
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-int8": "ONNX Runtime int8",
}

if TYPE_CHECKING:
    ExecutorName = str
else:  # a type checker cannot read the names from the table
    ExecutorName = Literal[tuple(EXECUTORS)]


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
        "CPU threads of each training. auto divides the available CPU cores among the trainings "
        "that run at the same time. phinas fit times its steps with 1, 2, 4, ... threads and uses "
        "the fastest, unless deterministic is set.",
        default="auto",
        on_resume="may change",
    )
    deterministic: bool = option(
        "Make trainings bit-identical from run to run on the same device. On a GPU it costs "
        "speed. On a CPU they always are with the same number of threads.",
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

    time_budget: Minutes | None = option(
        "Time that the run may take. Numbers of training images, trials and epochs are reduced "
        "until its expected duration fits. Those that you set yourself are never changed.",
        default=None,
        values="a duration such as 30m, 2h or 1h30m, or a number of minutes",
        unit="min",
        default_text="no limit",
    )
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
    executor: ExecutorName = option(
        "How jobs are executed. processes starts one subprocess for each worker, inline runs jobs "
        "in the main process for debugging, and ray uses the Ray cluster at RAY_ADDRESS or this "
        "machine.",
        default="processes",
    )
    latency_runtime: LatencyRuntime = option(
        "Runtime of latency measurements, for search.cost: latency and scaling.latency_ms. "
        "onnxruntime and onnxruntime-int8 measure on the CPU and need the extra phinas[onnx]. Each "
        "network is first exported to ONNX, and for int8 quantized with random images.",
        default="torch",
    )
    storage: str | None = option(
        "Optuna RDB storage that records the trials. A password is not stored; set it in "
        "PHINAS_STORAGE_PASSWORD or ~/.pgpass.",
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
    max_paused_gigabytes: Annotated[FiniteFloat, Field(ge=0)] = option(
        "Maximum disk space of paused trainings, for strategies that pause and resume them, such "
        "as asha. Beyond it, the trainings with the lowest rewards lose their state. If such a "
        "training is resumed, it starts from the first epoch and has the same result. 0 stores no "
        "states.",
        default=10.0,
        unit="GB",
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
        default_text="the largest resolution that the run may need, at most the median size of the "
        "images",
    )
    resize_mode: ResizeMode = option(
        "How images that are not square become square. crop keeps the largest centered square, "
        "squash changes the aspect ratio, letterbox adds black edges.",
        default="crop",
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
        values="a column (Parquet, CSV or hf:NAME), a key (.npz), or for class folders a regular "
        "expression with parentheses around the part of the path that names the group, such as "
        r"([^/_]+)_\d+\.jpg$",
        default_text="each image is a group of its own",
    )
    drop_duplicates: bool = option(
        "Remove training images whose pixels are equal to those of another image: copies of "
        "official validation and test images, and all but the first of several copies.",
        default=False,
    )
    image_column: NonEmptyText | None = option(
        "Name of the images among the columns or keys.",
        default=None,
        values="a column (Parquet, CSV or hf:NAME) or a key (.npz)",
        default_text="a common name, such as image, path or x_train",
    )
    label_column: NonEmptyText | None = option(
        "Name of the labels among the columns or keys, where there are several.",
        default=None,
        values="a column (Parquet, CSV or hf:NAME) or a key (.npz), such as fine_label",
        default_text="a common name, such as label, class or y_train",
    )
    min_images_per_class: PositiveInt = option(
        "Drop classes with fewer images than this.", default=1, unit="images"
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
